"""Open Inference Protocol V2 over gRPC: the bytes of a ModelInferRequest to a tensor call, outputs to those of the
answer.

Raw tensors are never copied out of the message: its top-level fields are walked here, arrays lie over the bytes of
``raw_input_contents``, and only what remains (names, shapes, parameters) is given to protobuf. Clients repeat that
part byte for byte, so what was read of it is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tiffin.errors import CallError, DecodeError, PredictError, TiffinError
from tiffin.protocol import tensor_binary, tensor_json
from tiffin.protocol.grpc_messages import INFERENCE, Message, message, parsed
from tiffin.protocol.tensor_errors import GENERAL, unexpected_output
from tiffin.protocol.tensors import Array, TensorCall
from tiffin.types import DATATYPES, datatype_of

REQUEST = message(f"{INFERENCE}.ModelInferRequest")
RESPONSE = message(f"{INFERENCE}.ModelInferResponse")
STREAM_RESPONSE = message(f"{INFERENCE}.ModelStreamInferResponse")

NamedArrays = Sequence[tuple[str, Array]]

_RAW_FIELD = 7
_RAW_OUTPUT_TAG = b"\x32"
_MAX_KEPT = 64
_MAX_KEPT_BYTES = 4096
_CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""The field of each datatype; FP16 has none."""

FINAL = "triton_final_response"
WANTS_FINAL = "triton_enable_empty_final_response"
"""Triton's parameters of streams: whether an answer is the last, and whether an empty one should say so."""


class Asked(NamedTuple):
    """The context of a call: its id, the outputs wanted (``None``: all), how they go back, and parameters."""

    id: str = ""
    wanted: tuple[str, ...] | None = None
    raw: bool = False
    parameters: dict[str, Any] = {}


class Inference(NamedTuple):
    """A request: whom it is for, and the call."""

    model: str
    version: str
    call: TensorCall


class _Plan(NamedTuple):
    """How to read the tensors behind a known rest of a message: (dtype, elements, shape, bytes) each."""

    model: str
    version: str
    names: list[str]
    parts: list[tuple[np.dtype[Any], int, tuple[int, ...], int]]
    asked: Asked


class GrpcTensors:
    """Reads and writes calls.

    Args:
        max_tensor_bytes: bound on one tensor, whatever its shape says.
    """

    def __init__(self, *, max_tensor_bytes: int) -> None:
        self._most_bytes = max_tensor_bytes
        self._plans: dict[bytes, _Plan] = {}
        self._heads: dict[tuple[Any, ...], bytes] = {}

    # -- requests ------------------------------------------------------------------------------------------

    def read(self, data: bytes) -> Inference:
        """Decode a ModelInferRequest.

        Raises:
            DecodeError: with the place, such as ``inputs[0].contents``.
            TooLarge: a tensor over ``max_tensor_bytes``.
        """
        rest, raw = split(data)
        plan = self._plans.get(rest)
        if plan is not None and [size for _, size in raw] == [part[3] for part in plan.parts]:
            arrays: list[Array] = [
                np.frombuffer(data, dtype, count, start).reshape(shape)
                for (dtype, count, shape, _), (start, _) in zip(plan.parts, raw, strict=True)
            ]
            return Inference(plan.model, plan.version, TensorCall(plan.names, arrays, plan.asked))
        return self._read_new(data, rest, raw)

    def _read_new(self, data: bytes, rest: bytes, raw: list[tuple[int, int]]) -> Inference:
        request = parsed(REQUEST, rest)
        if raw and len(raw) != len(request.inputs):
            raise DecodeError(
                f"expected an entry for each of {len(request.inputs)} inputs, found {len(raw)}",
                at="raw_input_contents",
            )
        names: list[str] = []
        arrays: list[Array] = []
        for index, tensor in enumerate(request.inputs):
            names.append(tensor.name)
            arrays.append(
                self._raw(data, tensor, index, *raw[index]) if raw else self._typed(tensor, f"inputs[{index}]")
            )
        if len(set(names)) != len(names):
            raise DecodeError("expected input tensors of different names", at="inputs")
        parameters = {name: _value(choice) for name, choice in request.parameters.items()}
        wanted = tuple(output.name for output in request.outputs) or None
        # Of a request without tensors nobody knows; raw is what every client reads.
        asked = Asked(request.id, wanted, bool(raw) or not names, parameters)
        call = TensorCall(names, arrays, asked)
        kinds = {tensor.datatype for tensor in request.inputs}
        # BYTES have lengths, and BOOL values, that have to be looked at each time; an id comes once.
        if raw and not request.id and not kinds & {"BYTES", "BOOL"} and len(rest) <= _MAX_KEPT_BYTES:
            if len(self._plans) >= _MAX_KEPT:
                self._plans.clear()
            parts = [(array.dtype, array.size, array.shape, array.nbytes) for array in arrays]
            self._plans[rest] = _Plan(request.model_name, request.model_version, names, parts, asked)
        return Inference(request.model_name, request.model_version, call)

    def _raw(self, data: bytes, tensor: Message, index: int, start: int, size: int) -> Array:
        at = f"inputs[{index}]"
        kind = tensor_json.datatype(tensor.datatype, at)
        if tensor.HasField("contents") and tensor.contents.ByteSize():
            raise DecodeError("expected no contents beside raw_input_contents, found some", at=f"{at}.contents")
        return tensor_binary.decode(
            data, start, size, tensor.shape, kind, at, max_bytes=self._most_bytes,
            size_at=f"raw_input_contents[{index}]",
        )  # fmt: skip

    def _typed(self, tensor: Message, at: str) -> Array:
        kind = tensor_json.datatype(tensor.datatype, at)
        shape = list(tensor.shape)
        count = tensor_json.elements(shape, at, size=kind.size, max_bytes=self._most_bytes)
        name = _CONTENTS.get(kind.name)
        if name is None:
            raise DecodeError(f"expected {kind.name} in raw_input_contents, found none", at=at)
        for field, _ in tensor.contents.ListFields():
            if field.name != name:
                raise DecodeError(f"expected the elements of {kind.name} in {name}, found {field.name}", at=at)
        array = tensor_json.array_of(list(getattr(tensor.contents, name)), kind, at)
        if array.size != count:
            raise DecodeError(
                f"expected {count} elements for shape {shape}, found {array.size}", at=f"{at}.contents.{name}"
            )
        return array.reshape(shape)

    # -- answers -------------------------------------------------------------------------------------------

    def write(
        self, model: str, asked: Asked, outputs: NamedArrays, parameters: dict[str, bool] | None = None
    ) -> bytes:
        """Encode what a model gave for one call, as a ModelInferResponse.

        Raises:
            DecodeError: an output was asked for that there is not.
            PredictError: an output of a dtype the protocol lacks.
        """
        if asked.wanted is not None:
            outputs = chosen(asked.wanted, outputs, model)
        kinds = [_datatype(array) for _, array in outputs]
        # Raw in, raw out; and FP16 has no other way.
        if not asked.raw and "FP16" not in kinds:
            return self._head(model, asked.id, outputs, kinds, parameters, typed=True)
        parts = [self._known_head(model, asked.id, outputs, kinds, parameters)]
        for kind, (_, array) in zip(kinds, outputs, strict=True):
            datatype = DATATYPES[kind]
            body = (
                array.tobytes()
                if array.dtype == tensor_json.dtype(kind) and datatype.size
                else tensor_binary.encode(array, datatype)
            )
            parts += (_RAW_OUTPUT_TAG, _varint(len(body)), body)
        return b"".join(parts)

    def _known_head(
        self, model: str, id_: str, outputs: NamedArrays, kinds: list[str], parameters: dict[str, bool] | None
    ) -> bytes:
        if id_ or parameters:
            return self._head(model, id_, outputs, kinds, parameters, typed=False)
        key = (model, *kinds, *[(name, array.shape) for name, array in outputs])
        head = self._heads.get(key)
        if head is None:
            if len(self._heads) >= _MAX_KEPT:
                self._heads.clear()
            head = self._heads[key] = self._head(model, id_, outputs, kinds, parameters, typed=False)
        return head

    def _head(
        self,
        model: str,
        id_: str,
        outputs: NamedArrays,
        kinds: list[str],
        parameters: dict[str, bool] | None,
        *,
        typed: bool,
    ) -> bytes:
        response = RESPONSE(model_name=model, id=id_)
        for name, value in (parameters or {}).items():
            response.parameters[name].bool_param = value
        for kind, (name, array) in zip(kinds, outputs, strict=True):
            tensor = response.outputs.add(name=name, datatype=kind, shape=array.shape)
            if typed:
                getattr(tensor.contents, _CONTENTS[kind]).extend(_elements(array, kind))
        data: bytes = response.SerializeToString()
        return data


def stream_answer(response: bytes) -> bytes:
    """A ModelStreamInferResponse around an answer."""
    return b"".join((b"\x12", _varint(len(response)), response))


def stream_error(text: str, model: str = "", id_: str = "") -> bytes:
    """A ModelStreamInferResponse for a call that failed; the stream goes on."""
    answer = STREAM_RESPONSE(error_message=text)
    answer.infer_response.model_name = model
    answer.infer_response.id = id_
    answer.infer_response.parameters[FINAL].bool_param = True
    data: bytes = answer.SerializeToString()
    return data


def chosen(wanted: Sequence[str], outputs: NamedArrays, model: str) -> NamedArrays:
    """The outputs a caller wants, in its order; raises DecodeError for one that there is not."""
    found = dict(outputs)
    for index, name in enumerate(wanted):
        if name not in found:
            raise unexpected_output(name, model, found, f"outputs[{index}].name")
    return [(name, found[name]) for name in dict.fromkeys(wanted)]


def split(data: bytes) -> tuple[bytes, list[tuple[int, int]]]:
    """A message without its ``raw_input_contents``, and where those are: (start, bytes) each.

    Raises:
        DecodeError: it is cut off, or has fields of no known kind.
    """
    kept: list[bytes] = []
    raw: list[tuple[int, int]] = []
    position, since, end = 0, 0, len(data)
    while position < end:
        began = position
        tag, position = _read_varint(data, position, end)
        kind = tag & 7
        if kind == 2:
            size, position = _read_varint(data, position, end)
            if tag >> 3 == _RAW_FIELD:
                kept.append(data[since:began])
                raw.append((position, size))
                since = position + size
            position += size
        elif kind == 0:
            _, position = _read_varint(data, position, end)
        elif kind == 1:
            position += 8
        elif kind == 5:
            position += 4
        else:
            position = end + 1
        if position > end or not tag >> 3:
            raise DecodeError("expected a ModelInferRequest message, found other bytes or only a part of it")
    if not raw:
        return data, raw
    kept.append(data[since:])
    return b"".join(kept), raw


def _read_varint(data: bytes, position: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while position < end and shift < 64:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise DecodeError("expected a ModelInferRequest message, found other bytes or only a part of it")


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def _value(choice: Message) -> Any:
    name = choice.WhichOneof("parameter_choice")
    return None if name is None else getattr(choice, name)


def _elements(array: Array, kind: str) -> list[Any]:
    if kind != "BYTES":
        elements: list[Any] = array.ravel().tolist()
        return elements
    return [item if isinstance(item, bytes) else str(item).encode("utf-8", "replace") for item in array.flat]


def _datatype(array: Array) -> str:
    try:
        return datatype_of(array.dtype.str)
    except KeyError:
        raise PredictError(f"expected an output of a protocol datatype, found dtype {array.dtype}") from None


# -- errors ----------------------------------------------------------------------------------------------------

_CODES = {
    400: 3, 401: 16, 403: 7, 404: 5, 408: 4, 409: 10, 413: 3, 415: 3, 422: 3, 429: 8, 499: 1, 501: 12, 502: 14,
    503: 14, 504: 4,
}  # fmt: skip
"""gRPC's numbers of status codes, by those of HTTP: 3 is INVALID_ARGUMENT, 5 NOT_FOUND, 14 UNAVAILABLE, ..."""
INTERNAL = 13


def status_of(error: TiffinError) -> tuple[int, str]:
    """GRPC's number of the status of an error, and the text the caller may see."""
    code = _CODES.get(error.status, 3 if 400 <= error.status < 500 else INTERNAL)
    return code, str(error) if isinstance(error, CallError) else GENERAL
