"""A plain class behind the Open Inference Protocol V2: tensors to ``predict``, its result to a tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tiffin.errors import DecodeError, PredictError
from tiffin.protocol import seldon
from tiffin.protocol.head import Head
from tiffin.protocol.open_inference import OpenInference
from tiffin.protocol.reply import Reply
from tiffin.protocol.tensors import Array, TensorCall
from tiffin.service.plain_class import NOT_WRITTEN, PlainClass
from tiffin.types import ANY, DATATYPES, TensorSpec

OUTPUT = "predict"
"""The name of the one output, as MLServer calls it."""


class ClassTensors:
    """The protocol for one class.

    Args:
        model: its name in paths and replies.
        served: the class.
        max_tensor_bytes: bound on one tensor.
    """

    def __init__(self, model: str, served: PlainClass, *, max_tensor_bytes: int) -> None:
        self._served = served
        self._protocol = OpenInference(model, (OUTPUT,), max_tensor_bytes=max_tensor_bytes)

    def infer(self, head: Head, body: bytes) -> Reply:
        """One call. A single input is ``X``; several columns of equal length become one array with their names.

        Raises:
            DecodeError: malformed, or inputs that are no columns.
            PredictError: the class raised, or gave something that is no tensor.
        """
        call = self._protocol.read(head, body)
        return self._protocol.write(call, (self.predict(call),))

    def predict(self, call: TensorCall) -> Array:
        """The one output for a call; blocking. Raises as ``infer``."""
        value, names = _argument(call)
        result = self._served.call("predict", X=value, names=names, meta=None).data
        return _tensor([] if result is NOT_WRITTEN else result)

    def ready(self) -> Reply:
        """``GET /v2/models/{model}/ready``."""
        return self._protocol.ready(True)

    def metadata(self, node: Mapping[str, Any]) -> Reply:
        """``GET /v2/models/{model}``, from what the class says of itself."""
        return self._protocol.metadata(*self.described(node))

    @staticmethod
    def described(node: Mapping[str, Any]) -> tuple[str, list[TensorSpec], list[TensorSpec]]:
        """Platform, inputs and outputs, from what the class says of itself."""
        return str(node.get("platform", "")), _specs(node.get("inputs")), _specs(node.get("outputs"))


def _argument(call: TensorCall) -> tuple[Array, list[str]]:
    arrays = [_text(array) for array in call.arrays]
    if len(arrays) == 1:
        return arrays[0], []
    columns = [array.reshape(-1) if array.ndim == 2 and array.shape[1] == 1 else array for array in arrays]
    if any(column.ndim != 1 or column.shape != columns[0].shape for column in columns):
        shapes = ", ".join(str(list(array.shape)) for array in arrays)
        raise DecodeError(f"expected one input, or columns of one length, found shapes {shapes}", at="inputs")
    return np.stack(columns, axis=1), list(call.names)


def _text(array: Array) -> Array:
    """BYTES as the text that Python classes expect; what is no UTF-8 stays bytes."""
    if array.dtype.kind != "O":
        return array
    try:
        texts = [item.decode("utf-8") if isinstance(item, bytes) else item for item in array.flat]
    except UnicodeDecodeError:
        return array
    decoded = np.empty(array.shape, dtype=object)
    decoded.reshape(-1)[:] = texts
    return decoded


def _tensor(result: Any) -> Array:
    if isinstance(result, dict):
        result = [seldon.dumps(result).decode("ascii")]
    elif isinstance(result, str | bytes):
        result = [result]
    if isinstance(result, list):
        try:
            array = (
                np.array(result, dtype=object) if any(isinstance(x, bytes) for x in result) else np.array(result)
            )
        except ValueError as error:
            raise PredictError(f"expected rows of one length: {error}", at="predict()") from error
    elif isinstance(result, np.ndarray):
        array = result
    else:
        raise seldon.UnknownResult(f"expected an array, a list, a dict or text, found {type(result).__name__}")
    return array.reshape(1) if array.ndim == 0 else array


def _specs(described: Sequence[Mapping[str, Any]] | None) -> list[TensorSpec]:
    """The entries that are written in V2's way; Seldon's own ``{messagetype, schema}`` has no place there."""
    found = []
    for item in described or ():
        name, datatype, shape = item.get("name"), item.get("datatype"), item.get("shape")
        if isinstance(name, str) and datatype in DATATYPES and isinstance(shape, list):
            sizes = tuple(size if isinstance(size, int) and size >= 0 else ANY for size in shape)
            found.append(TensorSpec(name, str(datatype), sizes))
    return found
