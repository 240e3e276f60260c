"""What a kserve.Model is given and what it gives, from and to the bytes of KServe's V1 and V2."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
import orjson

from tiffin.errors import CallError, DeadlineExceeded, DecodeError, NotReady, PredictError, TiffinError, TooLarge
from tiffin.protocol.head import Head
from tiffin.protocol.reply import JSON, Reply
from tiffin.service.kserve_compat.upstream import Answered

_LENGTH = "inference-header-content-length"
_JSON_TYPES = ("", "application/json", "application/cloudevents+json", "application/ld+json")
_FORM = "application/x-www-form-urlencoded"
_EVENT_FIELDS = ("id", "source", "specversion", "type", "time", "data")
_EVENT_HEADERS = ("ce-id", "ce-source", "ce-specversion", "ce-type")


class Event(NamedTuple):
    """A call that came as a CloudEvent: its answer is one too. ``binary``: its attributes are headers."""

    attributes: dict[str, Any]
    binary: bool


class Refused(CallError):
    """The model refused the call with one of kserve's errors (or FastAPI's): its status and text go out."""

    code = "refused"

    def __init__(self, message: str, status: int, key: str = "error") -> None:
        super().__init__(message)
        self.status = status
        self.key = key


def headers_of(head: Head) -> dict[str, str]:
    """The headers as text, names in lower case."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers.items()}


def read_v1(headers: Mapping[str, str], body: bytes) -> tuple[Any, Event | None]:
    """The payload of a V1 call: JSON as it is, other content as bytes, a CloudEvent's data.

    Raises:
        DecodeError: not JSON where it should be.
    """
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if all(name in headers for name in _EVENT_HEADERS):
        attributes = {name[3:]: value for name, value in headers.items() if name.startswith("ce-")}
        return _event_data(body, kind), Event(attributes, binary=True)
    if kind == _FORM and body[:1] in (b"{", b"["):
        kind = ""  # What curl says of ``-d`` unless told otherwise.
    if kind not in _JSON_TYPES:
        return body, None
    found = _json(body)
    if isinstance(found, dict) and all(name in found for name in _EVENT_FIELDS):
        data = found.pop("data")
        return data, Event(found, binary=False)
    return found, None


def _json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise DecodeError(f"Unrecognized request format: {error}") from None


def _event_data(body: bytes, kind: str) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if kind in _JSON_TYPES[1:3]:
            raise DecodeError(f"Failed to decode or parse binary json cloudevent: {error}") from None
        return body


def read_v2(headers: Mapping[str, str], body: bytes, model: str, max_bytes: int) -> Any:
    """A V2 call as kserve's InferRequest, every tensor's data of its datatype and shape.

    Raises:
        DecodeError: malformed. TooLarge: a tensor over the limit.
    """
    from kserve.protocol.infer_type import InferRequest

    length = headers.get(_LENGTH, "")
    if length and not (length.isdigit() and int(length) <= len(body)):
        raise DecodeError(f"expected at most {len(body)}, found {length[:20]!r}", at=_LENGTH)
    try:
        request = InferRequest.from_bytes(body, int(length) if length else len(body), model)
        for tensor in request.inputs:
            if tensor.as_numpy().nbytes > max_bytes:
                raise TooLarge(f"expected a tensor of at most {max_bytes} bytes", at=str(tensor.name))
    except TiffinError:
        raise
    except KeyError as error:
        raise DecodeError(
            f"expected inputs with name, shape, datatype and data, found none for {error}"
        ) from error
    except Exception as error:
        # Whatever kserve's own reader says of bytes it cannot read is the caller's.
        raise DecodeError(str(getattr(error, "reason", None) or error)) from error
    return request


def write(result: Any, event: Event | None, model: str, headers: Mapping[str, str]) -> Reply:
    """What the last hook gave as a reply.

    Raises:
        PredictError: JSON cannot say it.
    """
    extra = tuple(
        (name.lower().encode("latin-1"), str(value).encode("latin-1", "replace"))
        for name, value in headers.items()
        if name.lower() not in ("content-length", "content-type", "transfer-encoding", "connection")
    )
    kind = next((str(v).encode("latin-1") for n, v in headers.items() if n.lower() == "content-type"), JSON)
    if hasattr(result, "to_rest"):
        result, length = _rest(result)
        if length is not None:
            return Reply(200, result, b"application/octet-stream", (*extra, (_LENGTH.encode(), b"%d" % length)))
    if isinstance(result, str | bytes) and event is None:
        text = result.encode() if isinstance(result, str) else result
        return Reply(200, text, b"" if kind is JSON else kind, extra)
    if event is None:
        return Reply(200, _dumps(result), kind, extra)
    return _event_reply(result, event, model, extra)


def _rest(response: Any) -> tuple[Any, int | None]:
    """In the key order of KServe's own servers, which write out what is null."""
    try:
        body, length = response.to_rest()
    except Exception as error:
        if type(error).__name__ == "InvalidInput":
            raise Refused(str(error), 400) from error
        raise PredictError(f"the InferResponse cannot be written: {type(error).__name__}: {error}") from error
    if length is not None:
        return body, length
    outputs = [
        {
            "name": output["name"],
            "shape": output["shape"],
            "datatype": output["datatype"],
            "parameters": output.get("parameters"),
            "data": output["data"],
        }
        for output in body["outputs"]
    ]
    written = {
        "model_name": body.get("model_name"),
        "model_version": body.get("model_version"),
        "id": body.get("id") or str(uuid.uuid4()),
        "parameters": body.get("parameters"),
        "outputs": outputs,
    }
    return written, None


def _dumps(value: Any) -> bytes:
    try:
        return orjson.dumps(value, default=_plain, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)
    except TypeError as error:
        raise PredictError(f"expected an answer that JSON can say: {error}") from error


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, set | tuple):
        return list(value)
    raise TypeError(f"found a {type(value).__name__}")


def _event_reply(result: Any, event: Event, model: str, extra: tuple[tuple[bytes, bytes], ...]) -> Reply:
    attributes = dict(event.attributes) if os.environ.get("CE_MERGE", "").lower() == "true" else {}
    attributes |= {
        "specversion": "1.0",
        "id": str(uuid.uuid4()),
        "type": os.environ.get("CE_TYPE", "io.kserve.inference.response"),
        "source": os.environ.get("CE_SOURCE", f"io.kserve.inference.{model}"),
        "time": datetime.now(UTC).isoformat(),
    }
    if event.binary:
        lines = tuple((f"ce-{name}".encode("latin-1"), str(v).encode("utf-8")) for name, v in attributes.items())
        body = result if isinstance(result, bytes) else _dumps(result)
        return Reply(200, body, JSON, (*extra, *lines))
    data = result.decode("utf-8", "replace") if isinstance(result, bytes) else result
    return Reply(200, _dumps(attributes | {"data": data}), b"application/cloudevents+json", extra)


def failure(error: Exception, where: str) -> TiffinError:
    """What a hook raised, by who can fix it: kserve's and FastAPI's errors choose their answer."""
    if isinstance(error, TiffinError):
        return error
    names = {base.__name__ for base in type(error).__mro__}
    answered = getattr(error, "response", None)
    if "HTTPStatusError" in names and answered is not None:
        kind = answered.headers.get("content-type", "")
        return Answered(answered.status_code, answered.content, kind, answered.headers.get("retry-after", ""))
    if {"ConnectError", "ConnectTimeout"} & names:
        return NotReady(f"the predictor cannot be reached: {error}")
    if "TimeoutException" in names:
        return DeadlineExceeded("the predictor did not answer in time")
    if names & _STATUS.keys():
        status = next(_STATUS[base.__name__] for base in type(error).__mro__ if base.__name__ in _STATUS)
        return Refused(str(error), status)
    chosen = getattr(error, "status_code", None)
    if "HTTPException" in names and isinstance(chosen, int) and 400 <= chosen <= 599:
        return Refused(str(getattr(error, "detail", error)), chosen, "detail")
    return PredictError(f"{where} raised {type(error).__name__}: {error}")


_STATUS = {
    "InvalidInput": 400,
    "ModelNotFound": 404,
    "ModelNotReady": 503,
    "ServerNotReady": 503,
    "ServerNotLive": 503,
    "UnsupportedProtocol": 501,
    "NotImplementedError": 501,
    "InferenceError": 500,
}


def error_reply(error: TiffinError) -> Reply:
    """``{"error": ...}``; a predictor's own answer as it was."""
    if isinstance(error, Answered):
        retry = ((b"retry-after", error.retry_after.encode("latin-1")),) if error.retry_after else ()
        return Reply(error.status, error.body, error.content_type.encode("latin-1"), retry)
    text = str(error) if isinstance(error, CallError) else "The model could not answer; see the server's log."
    key = error.key if isinstance(error, Refused) else "error"
    return Reply(error.status, msgspec.json.encode({key: text}))
