"""A SeldonMessage in, a value out.

Messages about the content of a call start with its place, for example ``data.tensor.shape``.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable
from itertools import chain
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson

from tiffin.errors import DecodeError, TooLarge
from tiffin.protocol.seldon_message import Feedback, Kind, Message, brief

Array = npt.NDArray[Any]

# Below this a list of strings cannot grow into an array of more than some 16 MB (see _check_text).
_SMALL_BODY: Final = 4096


class Bounds(NamedTuple):
    """Limits on one message: levels of nesting, bytes of an array once decoded.

    ``small`` says that the whole text is short, so that no array of it can grow large.
    """

    max_nesting: int = 32
    max_bytes: int = 1_073_741_824
    small: bool = False


BOUNDS: Final = Bounds()


def read(body: bytes, bounds: Bounds = BOUNDS) -> Message:
    """Decode one message.

    Raises:
        DecodeError: it is not JSON, or not a SeldonMessage; the text says where.
        TooLarge: an array would take more than ``bounds.max_bytes``.
    """
    return message_of(parse(body), _bounds_for(body, bounds))


def read_list(body: bytes, bounds: Bounds = BOUNDS) -> list[Message]:
    """Decode what ``/aggregate`` takes: ``{"seldonMessages": [...]}`` or a bare list."""
    return messages_of(parse(body), _bounds_for(body, bounds))


def read_feedback(body: bytes, bounds: Bounds = BOUNDS) -> Feedback:
    """Decode feedback; its numbers become floats, a part that is missing an empty array."""
    return feedback_of(parse(body), _bounds_for(body, bounds))


def parse(body: bytes) -> Any:
    """JSON text to Python values; also takes the bare ``NaN`` and ``Infinity`` that Python clients write."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    if b"NaN" in body or b"Infinity" in body:
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            pass
    raise DecodeError("Can't find JSON in data")


def _bounds_for(body: bytes, bounds: Bounds) -> Bounds:
    return Bounds(bounds.max_nesting, bounds.max_bytes, True) if len(body) <= _SMALL_BODY else bounds


def message_of(document: Any, bounds: Bounds = BOUNDS, *, at: str = "") -> Message:
    """A message from its parsed JSON. ``at`` is where it stands in a larger document, ending in a dot."""
    if not isinstance(document, dict):
        raise _not_a_message(document)
    meta = document.get("meta")
    if meta is not None:
        _check_meta(meta, f"{at}meta", bounds)
    data = document.get("data")
    if data is not None:
        kind, value, names = _read_data(data, f"{at}data", bounds)
        return Message(kind, value, names, meta, document)
    if "jsonData" in document:
        _check_nesting(document["jsonData"], f"{at}jsonData", bounds)
        return Message("jsonData", document["jsonData"], [], meta, document)
    if document.get("strData") is not None:
        text = _expect(document["strData"], str, "a string", f"{at}strData")
        return Message("strData", text, [], meta, document)
    if document.get("binData") is not None:
        return Message("binData", _read_base64(document["binData"], f"{at}binData"), [], meta, document)
    if "customData" in document:
        raise DecodeError(
            "customData is not served here, expected data, jsonData, strData or binData", at=at + "customData"
        )
    raise _not_a_message(document)


def messages_of(document: Any, bounds: Bounds = BOUNDS) -> list[Message]:
    """The messages of a list, or of ``{"seldonMessages": [...]}``; at least one."""
    listed = document.get("seldonMessages") if isinstance(document, dict) else document
    if not isinstance(listed, list):
        raise DecodeError(f"Invalid request data type: {brief(document)}")
    if not listed:
        raise DecodeError("expected at least one message, found an empty list", at="seldonMessages")
    return [message_of(item, bounds, at=f"seldonMessages[{i}].") for i, item in enumerate(listed)]


def feedback_of(document: Any, bounds: Bounds = BOUNDS) -> Feedback:
    """Feedback from its parsed JSON. Unknown fields are refused, as Seldon does."""
    if not isinstance(document, dict):
        raise DecodeError(f"Invalid request data type: {brief(document)}")
    unknown = sorted(set(document) - {"request", "response", "reward", "truth"})
    if unknown:
        raise DecodeError(f"expected request, response, reward and truth, found {brief(unknown[0])}")
    reward = document.get("reward")
    if reward is None:
        reward = 0.0
    if isinstance(reward, bool) or not isinstance(reward, int | float):
        raise DecodeError(f"expected a number, found {_name(reward)}", at="reward")
    parts = {}
    for part in ("request", "truth"):
        given = document.get(part)
        message = message_of(given or {"data": {}}, bounds, at=f"{part}.")
        if isinstance(message.value, np.ndarray) and message.value.dtype.kind in "iub":
            message.value = message.value.astype(np.float64)
        parts[part] = message
    try:
        reward = float(reward)
    except OverflowError:
        raise DecodeError("expected a number that a float can hold", at="reward") from None
    return Feedback(parts["request"], parts["truth"], reward, _routing_of(document.get("response")), document)


def _routing_of(response: Any) -> dict[str, int]:
    if not response:
        return {}
    meta = _expect(response, dict, "an object", "response").get("meta") or {}
    routing = _expect(meta, dict, "an object", "response.meta").get("routing") or {}
    for node, branch in _expect(routing, dict, "an object", "response.meta.routing").items():
        if isinstance(branch, bool) or not isinstance(branch, int):
            raise DecodeError(
                f"expected a whole number, found {_name(branch)}", at=f"response.meta.routing.{brief(node)}"
            )
    return dict(routing)


def _read_data(data: Any, at: str, bounds: Bounds) -> tuple[Kind, Array, list[str]]:
    if not isinstance(data, dict):
        raise DecodeError(f"expected an object with tensor or ndarray, found {_name(data)}", at=at)
    names = _read_names(data.get("names"), f"{at}.names")
    if data.get("tensor") is not None:
        return "tensor", _read_tensor(data["tensor"], f"{at}.tensor", bounds), names
    if data.get("ndarray") is not None:
        listed = _expect(data["ndarray"], list, "an array", f"{at}.ndarray")
        return "ndarray", _array_of(listed, f"{at}.ndarray", bounds), names
    if "tftensor" in data:
        raise DecodeError(
            "expected tensor or ndarray; TensorFlow's own tensors are not served here", at=f"{at}.tftensor"
        )
    return "ndarray", np.empty(0), names


def _read_names(names: Any, at: str) -> list[str]:
    if names is None:
        return []
    for i, name in enumerate(_expect(names, list, "an array of strings", at)):
        if not isinstance(name, str):
            raise DecodeError(f"expected a string, found {_name(name)}", at=f"{at}[{i}]")
    return list(names)


def _read_tensor(tensor: Any, at: str, bounds: Bounds) -> Array:
    _expect(tensor, dict, "an object with shape and values", at)
    values = _expect(tensor.get("values", []), list, "an array of numbers", f"{at}.values")
    array = _array_of(values, f"{at}.values", bounds)
    shape = _expect(tensor.get("shape"), list, "an array of whole numbers", f"{at}.shape")
    if len(shape) > bounds.max_nesting:
        raise DecodeError(
            f"expected at most {bounds.max_nesting} dimensions, found {len(shape)}", at=f"{at}.shape"
        )
    elements, free = 1, 0
    for i, size in enumerate(shape):
        if type(size) is not int or size < -1:
            raise DecodeError(f"expected a whole number from 0, found {brief(size)}", at=f"{at}.shape[{i}]")
        # -1 stands for "whatever is left", as in numpy: Seldon takes it too.
        free += size == -1
        elements *= 1 if size == -1 else size
    fits = elements == array.size if free == 0 else free == 1 and elements > 0 and array.size % elements == 0
    if not fits:
        raise DecodeError(
            f"expected {'a multiple of ' if free else ''}{elements} values for shape {brief(shape)},"
            f" found {array.size}",
            at=f"{at}.values",
        )
    try:
        return array.reshape(shape)
    except ValueError as error:  # No elements, and yet more than numpy has room for: [0, 2**62, 2**62].
        raise DecodeError(f"expected smaller dimensions, found {brief(shape)}", at=f"{at}.shape") from error


def _array_of(values: list[Any], at: str, bounds: Bounds) -> Array:
    if not bounds.small:
        _check_text(values, at, bounds)
    try:
        array = np.array(values)
    except (ValueError, OverflowError, MemoryError) as error:
        _check_nesting(values, at, bounds)
        raise DecodeError(f"expected rows of one length, found {_ragged(values)}", at=at) from error
    if array.ndim > bounds.max_nesting:
        raise DecodeError(f"expected at most {bounds.max_nesting} levels, found {array.ndim}", at=at)
    if array.dtype.kind == "O":
        _check_nesting(values, at, bounds)
    return array


def _check_text(values: list[Any], at: str, bounds: Bounds) -> None:
    """Refuse text that would explode: numpy gives every element room for the longest, 4 bytes a character."""
    level: Iterable[Any] = values
    for _ in range(bounds.max_nesting):
        items = level if isinstance(level, list) else list(level)
        found = set(map(type, items))
        if str in found:
            longest = max(len(item) for item in items if type(item) is str)
            if longest * 4 * len(items) > bounds.max_bytes:
                raise TooLarge(
                    f"expected an array of at most {bounds.max_bytes} bytes, found {len(items)} elements"
                    f" of up to {longest} characters",
                    at=at,
                )
        if found != {list}:
            return
        level = chain.from_iterable(items)
    raise DecodeError(f"expected at most {bounds.max_nesting} levels, found more", at=at)


def _check_nesting(value: Any, at: str, bounds: Bounds) -> None:
    level = [value]
    for _ in range(bounds.max_nesting + 1):
        level = [
            child
            for item in level
            if isinstance(item, dict | list)
            for child in (item.values() if isinstance(item, dict) else item)
            if isinstance(child, dict | list)
        ]
        if not level:
            return
    raise DecodeError(f"expected at most {bounds.max_nesting} levels, found more", at=at)


def _check_meta(meta: Any, at: str, bounds: Bounds) -> None:
    _expect(meta, dict, "an object", at)
    for field, kind, said in (
        ("tags", dict, "an object"),
        ("requestPath", dict, "an object"),
        ("metrics", list, "an array"),
    ):
        if meta.get(field) is not None:
            _expect(meta[field], kind, said, f"{at}.{field}")
    _check_nesting(meta, at, bounds)


def _read_base64(text: Any, at: str) -> bytes:
    try:
        return base64.b64decode(_expect(text, str, "a base64 string", at), validate=True)
    except (binascii.Error, ValueError) as error:
        raise DecodeError("expected base64 text (RFC 4648, with padding), found something else", at=at) from error


def _expect(value: Any, kind: type, said: str, at: str) -> Any:
    if not isinstance(value, kind):
        raise DecodeError(f"expected {said}, found {_name(value)}", at=at)
    return value


def _name(value: Any) -> str:
    """The JSON name of what was found."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "nothing"
    names = {dict: "an object", list: "an array", str: "a string", int: "a number", float: "a number"}
    return names.get(type(value), type(value).__name__)


def _ragged(values: list[Any]) -> str:
    for i, row in enumerate(values):
        if isinstance(row, list) != isinstance(values[0], list):
            return f"{_name(values[0])} at [0] and {_name(row)} at [{i}]"
        if isinstance(row, list) and len(row) != len(values[0]):
            return f"{len(values[0])} at [0] and {len(row)} at [{i}]"
    return "different lengths deeper down"


def _not_a_message(document: Any) -> DecodeError:
    return DecodeError(f"Invalid request data type: {brief(document)}")
