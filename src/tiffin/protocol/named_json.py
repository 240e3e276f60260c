"""Named JSON endpoints: how a service's calls and answers look on the wire, byte for byte as BentoML's.

A request is decoded by its Content-Type: JSON (also when the type is unknown or missing), a form, or, for an
endpoint whose parameter is the whole body, that body. Answers take their media type from the annotation. Errors:

======================================================  ======  ==========================================
what happened                                           status  body
======================================================  ======  ==========================================
the input does not fit the signature                    400     ``{"error": ..., "detail": [...]}``
an exception with a status below 500, not 401 or 403    its     ``[{"error": message}]``, an array
one with 401 or 403                                     its     ``{"error": "Authorization error"}``
one with 500 or more; any other exception               500     ``{"error": ...}``, one general sentence
too slow; too many at once                              504;429  ``{"error": ...}``
no such path; another method                            404;405  plain text
======================================================  ======  ==========================================
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tiffin.codec import ranges
from tiffin.codec.files import Scratch
from tiffin.codec.forms import parse_multipart, parse_urlencoded
from tiffin.codec.jsontext import is_nested_deeper
from tiffin.errors import (
    CallError,
    DeadlineExceeded,
    DecodeError,
    MethodNotAllowed,
    NotReady,
    TooManyCalls,
    UnknownRoute,
)
from tiffin.protocol.head import Head
from tiffin.protocol.reply import JSON, TEXT, Reply
from tiffin.service.context import Response
from tiffin.service.endpoint import Endpoint
from tiffin.service.exceptions import status_of

if TYPE_CHECKING:
    from tiffin.codec.inputs import Arguments

PICKLE = b"application/vnd.bentoml+pickle"
MAX_DETAILS = 100
"""Most mistakes of one input that are told one by one."""

UNEXPECTED = "An unexpected error has occurred, please check the server log."


class PickleRefused(CallError):
    """415: pickles are not taken from callers."""

    status = 415


def decode(endpoint: Endpoint, head: Head, body: bytes, scratch: Scratch, *, max_nesting: int) -> Arguments:
    """The arguments of a call.

    Args:
        endpoint: Whose signature the input must fit.
        head: The request's head.
        body: The whole body.
        scratch: Where files of the request are put.
        max_nesting: Deepest JSON taken.

    Raises:
        CallError: the body cannot be read.
        pydantic.ValidationError: it was read and does not fit; ``error_reply`` knows what to do with it.
    """
    content_type = head.headers.get(b"content-type", b"")
    media_type = content_type.partition(b";")[0].strip().lower()
    if media_type == b"multipart/form-data":
        return endpoint.input.from_form(parse_multipart(content_type, body), scratch)
    # ``curl -d '{...}'`` calls its body a form unless told otherwise; no form begins so.
    if media_type == b"application/x-www-form-urlencoded" and not body.startswith((b"{", b"[")):
        return endpoint.input.from_form(parse_urlencoded(body), scratch)
    if media_type == PICKLE:
        raise PickleRefused("application/vnd.bentoml+pickle is not allowed in main server")
    if endpoint.input.root_kind not in ("text", "file") and is_nested_deeper(body, max_nesting):
        raise DecodeError(f"expected JSON of at most {max_nesting} levels, found more")
    return endpoint.input.from_json(body, scratch)


def encode(endpoint: Endpoint, value: Any, response: Response | None = None) -> Reply:
    """The answer for what a method gave back.

    Args:
        endpoint: Whose return annotation the value must fit.
        value: What the method returned.
        response: Status, headers and cookies the method set on its context.

    Raises:
        PredictError: the value is not what the annotation says.
    """
    if _is_response(value):
        reply = _from_response(value)
    else:
        content_type, body, headers = endpoint.output.encode(value)
        reply = Reply(200, body, content_type, headers)
    return reply if response is None else with_response(reply, response)


def in_part(reply: Reply, head: Head) -> Reply:
    """The part of a file a caller asked for with ``Range``: 206, or 416 beyond its end; else the whole."""
    asked = head.headers.get(b"range")
    if asked is None or reply.status != 200:
        return reply
    lines = dict(reply.headers)
    if b"accept-ranges" not in lines:
        return reply
    if not ranges.still_valid(head.headers, lines.get(b"etag", b""), lines.get(b"last-modified", b"")):
        return reply
    size = len(reply.body)
    found = ranges.portion(asked, size)
    if found is None:
        return reply
    if found.start == found.end:
        return Reply(416, b"", TEXT, ((b"content-range", b"bytes */%d" % size),))
    place = (b"content-range", b"bytes %d-%d/%d" % (found.start, found.end - 1, size))
    return Reply(206, reply.body[found.start : found.end], reply.content_type, (*reply.headers, place))


def stream_head(endpoint: Endpoint, response: Response | None = None) -> Reply:
    """The beginning of a streamed answer."""
    reply = Reply(200, b"", endpoint.output.content_type)
    return reply if response is None else with_response(reply, response)


def with_response(reply: Reply, response: Response) -> Reply:
    """The reply with what a method set on ``ctx.response``."""
    content_type = reply.content_type
    lines = dict(reply.headers)
    extra = []
    for name, value in response.headers.lines():
        if name == "content-type":
            content_type = _line(value)
        elif name not in ("content-length", "transfer-encoding", "connection"):
            lines.pop(name.encode("latin-1", "replace"), None)
            extra.append((_line(name), _line(value)))
    extra.extend((b"set-cookie", _line(cookie.line())) for cookie in response.cookies)
    return Reply(_status(response.status_code), reply.body, content_type, (*lines.items(), *extra))


def _status(code: Any) -> int:
    status = int(code)
    return status if 200 <= status <= 599 else 500


def _line(text: str) -> bytes:
    """A header's text without line breaks, which would begin a header of their own."""
    return text.replace("\r", " ").replace("\n", " ").encode("latin-1", "replace")


def _is_response(value: Any) -> bool:
    """Whether the method made its own answer: a Starlette Response, without importing Starlette."""
    return any(b.__name__ == "Response" and b.__module__ == "starlette.responses" for b in type(value).__mro__)


def _from_response(value: Any) -> Reply:
    if not hasattr(value, "body") or getattr(value, "background", None) is not None:
        raise OwnAnswer(value)
    lines = [(name.lower(), line) for name, line in value.raw_headers]
    content_type = dict(lines).get(b"content-type", b"")
    headers = tuple(line for line in lines if line[0] not in (b"content-type", b"content-length"))
    return Reply(value.status_code, bytes(value.body), content_type, headers)


class OwnAnswer(Exception):
    """A method gave back a Response that sends itself, as ASGI: a stream, a file, or one with work behind it."""

    def __init__(self, response: Any) -> None:
        super().__init__(type(response).__name__)
        self.response = response


def error_reply(error: BaseException) -> Reply:
    """The answer for anything raised while a call was decoded, made or encoded."""
    match error:
        case MethodNotAllowed():
            return Reply(405, b"Method Not Allowed", TEXT)  # the wire adds ``allow``
        case UnknownRoute():
            return Reply(404, b"Not Found", TEXT)
        case PickleRefused():
            return _reply(415, [{"error": str(error)}])
        case TooManyCalls():
            return _reply(429, {"error": "Too many requests"})
        case DecodeError():
            detail = {"type": "decode_error", "loc": [error.at] if error.at else [], "msg": error.message}
            return _reply(400, {"error": str(error), "detail": [detail]})
        case NotReady():
            reply = _reply(503, {"error": str(error)})
            reply.headers = ((b"retry-after", b"1"),)
            return reply
        case CallError():
            return _reply(error.status, {"error": str(error)})
    status = status_of(error)
    if status is not None:
        return _author_chose(status, str(error))
    if is_validation_error(error):
        return _not_valid(error)
    return _reply(500, {"error": UNEXPECTED})


def deadline(seconds: float) -> DeadlineExceeded:
    """What is raised when a call took longer than it may; its text is the body."""
    return DeadlineExceeded(f"Not able to process the request in {seconds:g} seconds")


def is_validation_error(error: BaseException) -> bool:
    """Whether pydantic found that values do not fit."""
    return type(error).__name__ == "ValidationError" and type(error).__module__.startswith("pydantic")


def _author_chose(status: int, message: str) -> Reply:
    if status in (401, 403):
        return _reply(status, {"error": "Authorization error"})
    if status >= 500:
        return _reply(status, {"error": UNEXPECTED})
    # An array of one: what BentoML has always sent, and its clients take apart.
    return _reply(status, [{"error": message}])


def _not_valid(error: Any) -> Reply:
    # A thousand wrong numbers are told by their count: the answer must not outgrow the question.
    detail = error.errors(include_context=False, include_input=False)[:MAX_DETAILS]
    return _reply(400, {"error": f"{error.error_count()} validation error for {error.title}", "detail": detail})


def _reply(status: int, body: Any) -> Reply:
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return Reply(status, text.encode("utf-8", "replace"), JSON)
