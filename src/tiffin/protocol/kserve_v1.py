"""KServe's V1 protocol: ``{"instances": [...]}`` in, ``{"predictions": [...]}`` out.

``inputs`` is taken for ``instances``, as TensorFlow Serving does. An instance is a list (one row), a number or
a text (one row of one value), or an object of named values (each name becomes an input of one column).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import orjson

from tiffin.errors import CallError, DecodeError, TiffinError, TooLarge
from tiffin.protocol.head import Head
from tiffin.protocol.reply import Reply
from tiffin.protocol.tensors import Array, TensorCall

_FLOAT_ROWS = msgspec.json.Decoder(dict[str, list[list[float]]])
_ANY = msgspec.json.Decoder(dict[str, Any])


class KServeV1:
    """The protocol for one model.

    Args:
        model: its name in paths.
        input_name: the name given to the one tensor that unnamed instances make.
        outputs: names of what the model gives, in order.
        max_tensor_bytes: bound on the tensor the instances make.
    """

    def __init__(self, model: str, input_name: str, outputs: Sequence[str], *, max_tensor_bytes: int) -> None:
        self.model = model
        self.max_tensor_bytes = max_tensor_bytes
        self._input_names = (input_name,)
        self._outputs = tuple(outputs)

    def read(self, head: Head, body: bytes) -> TensorCall:
        """Decode a predict request.

        Raises:
            DecodeError: not a JSON object with a list of instances of equal shape.
        """
        try:
            # Rows of floats are the usual request; integers beyond 2**53 and everything else take the long way.
            found: dict[str, Any] = _FLOAT_ROWS.decode(body)
            floats = True
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            found = self._decode(body)
            floats = False
        instances = found.get("instances", found.get("inputs"))
        if not isinstance(instances, list):
            raise DecodeError('Expected "instances" to be a list')
        if not instances:
            raise DecodeError("expected at least one instance, found none", at="instances")
        if isinstance(instances[0], dict):
            return self._columns(instances)
        return TensorCall(self._input_names, (self._array(instances, "instances", floats=floats),))

    def _decode(self, body: bytes) -> dict[str, Any]:
        try:
            return _ANY.decode(body)
        except msgspec.ValidationError as error:
            raise DecodeError(f"expected a JSON object with instances, found: {error}") from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise DecodeError(f"Unrecognized request format: {error}") from None

    def _columns(self, instances: list[Any]) -> TensorCall:
        names = list(instances[0])
        for index, instance in enumerate(instances):
            if not isinstance(instance, dict) or instance.keys() != instances[0].keys():
                raise DecodeError(f"expected an object with the names {names}", at=f"instances[{index}]")
        if not names:
            raise DecodeError("expected objects with at least one name", at="instances[0]")
        columns = [self._array([instance[name] for instance in instances], name) for name in names]
        return TensorCall(names, columns)

    def _array(self, values: list[Any], at: str, *, floats: bool = False) -> Array:
        try:
            # Texts as objects: numpy's own give every element the room of the longest, 4 bytes a character.
            array = _texts(values, at) if not floats and _holds_text(values) else np.asarray(values)
        except (ValueError, OverflowError):
            raise DecodeError("expected instances of equal shape, found ragged ones", at=at) from None
        if array.nbytes > self.max_tensor_bytes:
            raise TooLarge(f"expected a tensor of at most {self.max_tensor_bytes} bytes", at=at)
        if array.dtype.kind == "O":
            array = _texts(values, at)
        return array

    def write(self, call: TensorCall, outputs: Sequence[Array]) -> Reply:
        """Encode what the model gave for one call; several outputs become one object per row."""
        if len(outputs) == 1:
            return Reply(200, b'{"predictions":%b}' % _rows(outputs[0]))
        columns = [_plain(array) for array in outputs]
        rows = [dict(zip(self._outputs, row, strict=True)) for row in zip(*columns, strict=True)]
        return Reply(200, orjson.dumps({"predictions": rows}))

    def status(self, is_ready: bool) -> Reply:
        """``GET /v1/models/{model}``; 503 while not ready."""
        if is_ready:
            return Reply(200, orjson.dumps({"name": self.model, "ready": True}))
        return Reply(503, orjson.dumps({"error": f"Model with name {self.model} is not ready."}))


def _holds_text(values: list[Any]) -> bool:
    """Whether a text is among the elements, however deep; looks no deeper than the first uneven level."""
    level: list[Any] = values
    while True:
        kinds = set(map(type, level))
        if str in kinds:
            return True
        if kinds != {list}:
            return False
        level = list(itertools.chain.from_iterable(level))


def _texts(values: list[Any], at: str) -> Array:
    """An object array of texts, when that is all there is: numbers are never taken for texts, nor back."""
    array = np.array(values, dtype=object)
    for element in array.flat:
        if not isinstance(element, str):
            found = "null" if element is None else type(element).__name__
            raise DecodeError(f"expected instances of one type and equal shape, found {found} among them", at=at)
    return array


def _plain(array: Array) -> list[Any]:
    values = array.tolist()
    return [v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in values]


def _rows(array: Array) -> bytes:
    if array.dtype.kind in "iufb" and array.dtype.itemsize != 2:
        return orjson.dumps(np.ascontiguousarray(array), option=orjson.OPT_SERIALIZE_NUMPY)
    return orjson.dumps(_plain(array))


def error(problem: TiffinError) -> Reply:
    """``{"error": ...}`` with the status of the error; what is not the caller's to fix stays general."""
    text = str(problem) if isinstance(problem, CallError) else "The model could not answer; see the server's log."
    return Reply(problem.status, orjson.dumps({"error": text}))
