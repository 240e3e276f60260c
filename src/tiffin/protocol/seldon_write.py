"""A result in, a SeldonMessage out; and ``meta``, and errors."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from tiffin.errors import AuthorError, CallError, PredictError, TiffinError
from tiffin.protocol.reply import Reply
from tiffin.protocol.seldon_message import Message, brief

Array = npt.NDArray[Any]


class UnknownResult(CallError):
    """The class gave back something that has no place in a SeldonMessage; Seldon answers 400 to that."""

    code = "unknown-result"


def write(result: Any, *, request: Message | None, names: list[str] | None = None, meta: dict[str, Any]) -> bytes:
    """Encode a result as the answer to ``request`` (None: there was no payload to mirror).

    ``names`` None means ``t:0``, ``t:1``, ... for each of ``shape[1]`` when there are two or more dimensions.

    Raises:
        UnknownResult: the result is neither an array, a list, a dict, text nor bytes.
        PredictError: the result holds something JSON cannot say.
    """
    try:
        return _write(result, request, names, meta)
    except (TypeError, ValueError, RecursionError, OverflowError) as error:
        raise PredictError(f"expected a result that can be written as JSON, found {error}") from error


def _write(result: Any, request: Message | None, names: list[str] | None, meta: dict[str, Any]) -> bytes:
    meta_text = dumps(meta)
    if isinstance(result, dict):
        return b'{"jsonData":%b,"meta":%b}\n' % (dumps(result), meta_text)
    if isinstance(result, bytes):
        return b'{"binData":"%b","meta":%b}\n' % (base64.b64encode(result), meta_text)
    if isinstance(result, str):
        return b'{"meta":%b,"strData":%b}\n' % (meta_text, dumps(result))
    array, listed = _array_and_list(result)
    columns = array.shape[1] if array is not None and array.ndim > 1 else 0
    names_text = _default_names(columns) if names is None else dumps(names)
    # Keys in order: names, ndarray | tensor; shape, values.
    if array is not None and array.dtype.kind in "iufc":
        if request is None or request.kind != "ndarray":
            shape = dumps(list(array.shape))
            payload = b'"tensor":{"shape":%b,"values":%b}' % (shape, _numbers(array.reshape(-1)))
        else:
            payload = b'"ndarray":' + (_numbers(array) if listed is None else dumps(listed))
    else:
        payload = b'"ndarray":' + dumps(listed if array is None or listed is not None else array.tolist())
    return b'{"data":{"names":%b,%b},"meta":%b}\n' % (names_text, payload, meta_text)


def write_feedback(result: Any, *, meta: dict[str, Any]) -> bytes:
    """The answer to feedback: like ``write`` to an ndarray, without empty names."""
    if result is None:
        return b'{"data":{"ndarray":[]},"meta":%b}\n' % dumps(meta)
    return write(result, request=Message("ndarray", None, [], None, {}), meta=meta)


@lru_cache(maxsize=64)
def _default_names(count: int) -> bytes:
    """``t:i`` for each column, as JSON; kept, because hundreds of them take longer to write than the numbers."""
    return dumps([f"t:{i}" for i in range(count)])


def dimensions(result: Any) -> int:
    """How many dimensions a result has once it is an array; 0 for what is none."""
    if isinstance(result, np.ndarray):
        return result.ndim
    if not isinstance(result, list):
        return 0
    array, _ = _array_and_list(result)
    return 1 if array is None else array.ndim


def dumps(value: Any) -> bytes:
    """JSON as Seldon writes it, without the newline."""
    return _ENCODER.encode(value).encode("ascii")


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"a {type(value).__name__}")


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=_plain)


def _array_and_list(result: Any) -> tuple[Array | None, list[Any] | None]:
    """An array, and the list it came from; no array for a list numpy cannot take (ragged)."""
    if isinstance(result, np.ndarray):
        return result, None
    if not isinstance(result, list):
        raise UnknownResult(f"Unknown data type returned as payload (must be list or np array):{brief(result)}")
    try:
        return np.array(result), result
    except ValueError:
        return None, result


# orjson writes 0.00001 and 1e-7 where Python writes 1e-05 and 1e-07; everything else is equal.
# Both patterns begin with a literal, which the regular expression engine looks for many times as fast.
_LONG_SMALL = re.compile(rb"0\.0000\d+")
_SHORT_EXPONENT = re.compile(rb"e-\d(?!\d)")


def _shorten(match: re.Match[bytes]) -> bytes:
    # The tail of 10.00001 looks the same, and stays.
    before = match.string[match.start() - 1 : match.start()]
    return match[0] if before.isdigit() else repr(float(match[0])).encode()


def _two_digits(match: re.Match[bytes]) -> bytes:
    return b"e-0" + match[0][2:]


def _numbers(array: Array) -> bytes:
    """Numbers as ``json.dumps(array.tolist())`` has them, some ten times as fast."""
    if array.ndim == 0:
        return dumps(array.tolist())
    if array.dtype.kind == "f":
        # tolist() widens: 0.1 as float32 is 0.10000000149011612.
        array = array.astype(np.float64, copy=False)
    elif array.dtype.kind == "c":
        raise TypeError("complex numbers")
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    text = orjson.dumps(np.ascontiguousarray(array), option=orjson.OPT_SERIALIZE_NUMPY)
    if array.dtype.kind == "f":
        if b"null" in text:
            return dumps(array.tolist())
        if b"0.0000" in text:
            text = _LONG_SMALL.sub(_shorten, text)
        if b"e-" in text:
            text = _SHORT_EXPONENT.sub(_two_digits, text)
    return text


def reply_meta(
    *requests: Message,
    unit: str,
    image: str,
    tags: Iterable[dict[str, Any]] = (),
    metrics: Iterable[list[Any]] = (),
) -> dict[str, Any]:
    """The ``meta`` of a reply to one message, to none, or (``aggregate``) to several.

    Tags: those of the requests, then each of ``tags`` (the last wins). Metrics are strung together. The
    request path gains this unit; ``puid`` is that of the first request; ``routing`` is dropped.
    """
    meta: dict[str, Any] = {}
    if requests and requests[0].meta and requests[0].meta.get("puid"):
        meta["puid"] = requests[0].meta["puid"]
    path: dict[str, Any] = {unit: image} if unit else {}
    all_tags: dict[str, Any] = {}
    all_metrics: list[Any] = []
    for request in requests:
        if request.meta:
            all_tags.update(request.tags)
            all_metrics.extend(request.metrics)
            path.update(request.meta.get("requestPath") or {})
    for more_tags in tags:
        all_tags.update(more_tags)
    for more_metrics in metrics:
        all_metrics.extend(more_metrics)
    parts = {"tags": all_tags, "metrics": all_metrics, "requestPath": path}
    return meta | {field: value for field, value in parts.items() if value}


def write_error(info: str, reason: str) -> bytes:
    """The body of every error."""
    return dumps({"status": {"code": -1, "info": info, "reason": reason, "status": 1}}) + b"\n"


def render_error(error: TiffinError) -> Reply:
    """An error as a reply. Only a CallError's own text is shown; the rest is in the log.

    An error may carry its ``reason``; otherwise it is the caller's data below 500, and ours from there.
    """
    told = isinstance(error, CallError)
    fallback = "MICROSERVICE_BAD_DATA" if error.status < 500 else "MICROSERVICE_INTERNAL_ERROR"
    reason = getattr(error, "reason", fallback)
    if told:
        info = str(error)
    elif isinstance(error, AuthorError):
        info = "the model failed on this call; its log says why"
    else:
        info = "the server could not answer this call; its log says why"
    return Reply(status=error.status, body=write_error(info, reason))
