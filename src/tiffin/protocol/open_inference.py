"""Open Inference Protocol V2 over REST: requests to tensor calls, outputs to replies; JSON and binary tensors.

Sources: the protocol's REST specification and its binary tensor data extension. The JSON of replies has the
key order and explicit nulls of KServe's own servers, so that what parses those parses these.
"""

from __future__ import annotations

import itertools
import os
import uuid
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import orjson

from tiffin.errors import CallError, DecodeError, PredictError
from tiffin.protocol import tensor_binary, tensor_json
from tiffin.protocol.head import Head
from tiffin.protocol.reply import Reply
from tiffin.protocol.tensor_errors import error as error
from tiffin.protocol.tensor_errors import error_reply as error_reply
from tiffin.protocol.tensor_errors import unexpected_output
from tiffin.protocol.tensors import Array, TensorCall
from tiffin.types import DATATYPES, TensorSpec, datatype_of

HEADER_LENGTH = b"inference-header-content-length"
_OCTETS = b"application/octet-stream"

Parameters = dict[str, str | int | float | bool | None]


class _Wanted(msgspec.Struct, gc=False):
    name: str
    parameters: Parameters | None = None


class _FloatTensor(msgspec.Struct, gc=False):
    name: str
    shape: list[int]
    datatype: str
    data: list[float]
    parameters: Parameters | None = None


class _AnyTensor(msgspec.Struct, gc=False):
    name: str
    shape: list[int]
    datatype: str
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    parameters: Parameters | None = None


class _FloatRequest(msgspec.Struct, gc=False):
    inputs: list[_FloatTensor]
    id: str | None = None
    parameters: Parameters | None = None
    outputs: list[_Wanted] | None = None


class _AnyRequest(msgspec.Struct, gc=False):
    inputs: list[_AnyTensor]
    id: str | None = None
    parameters: Parameters | None = None
    outputs: list[_Wanted] | None = None


class _Context(msgspec.Struct, gc=False):
    """What the reply needs to know of the request. ``wanted``: output names to binary or not; None is all."""

    id: str | None
    wanted: dict[str, bool] | None
    binary: bool


class _Plan(msgspec.Struct, gc=False):
    """How to read the tensors behind a known JSON part: (dtype, elements, shape) each, ``size`` bytes in all."""

    names: Sequence[str]
    parts: list[tuple[np.dtype[Any], int, tuple[int, ...]]]
    context: Any
    size: int


_MAX_PLANS = 64
_MAX_PLANNED_BYTES = 4096

_FLOATS = msgspec.json.Decoder(_FloatRequest)
_ANY = msgspec.json.Decoder(_AnyRequest)
_FP32: np.dtype[Any] = np.dtype("<f4")
_FP64: np.dtype[Any] = np.dtype("<f8")
_DATA_NAMES: dict[np.dtype[Any], bytes] = {}
_BINARY_NAMES: dict[np.dtype[Any], bytes] = {}
_INTEGERS: set[bytes] = set()

# Ids for requests without one: unique and shaped like a UUID, at a tenth of the price of uuid4().
_ID_PREFIX = str(uuid.uuid4())[:24].encode("ascii")
_ID_COUNTER = itertools.count(1)


def _renew_ids() -> None:
    global _ID_PREFIX
    _ID_PREFIX = str(uuid.uuid4())[:24].encode("ascii")


# Workers forked after this was imported must not give out the same ids.
os.register_at_fork(after_in_child=_renew_ids)


class OpenInference:
    """The protocol for one model.

    Args:
        model: its name in paths and replies.
        outputs: names of what the model gives, in order; none when they are known only with an answer.
        max_tensor_bytes: bound on one tensor, whatever its shape says.
    """

    needs_inputs = True
    """Whether a request without tensors is refused."""

    def __init__(self, model: str, outputs: Sequence[str], *, max_tensor_bytes: int) -> None:
        self.model = model
        self.max_tensor_bytes = max_tensor_bytes
        self._outputs = tuple(outputs)
        self._prefers_floats = True
        self._plans: dict[bytes, _Plan] = {}
        name = orjson.dumps(model)
        self._opening = b'{"model_name":' + name + b',"model_version":null,"id":'
        self._openings = {output: b'{"name":' + orjson.dumps(output) + b',"shape":[' for output in outputs}
        self._single = self._openings[self._outputs[0]] if len(self._outputs) == 1 else b""

    # -- requests ------------------------------------------------------------------------------------------

    def read(self, head: Head, body: bytes) -> TensorCall:
        """Decode an infer request.

        Raises:
            DecodeError: with the place, such as ``inputs[0].data``.
            TooLarge: a tensor over ``max_tensor_bytes``.
        """
        length = head.headers.get(HEADER_LENGTH)
        if length is not None:
            call = self._read_planned(body, length)
            if call is not None:
                return call
        elif self._prefers_floats:
            try:
                request = _FLOATS.decode(body)
            except msgspec.ValidationError:
                self._prefers_floats = False
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise DecodeError(f"expected a JSON object, found: {error}") from None
            else:
                call = self._read_floats(request)
                if call is not None:
                    return call
        return self._read_any(body, length)

    def _read_planned(self, body: bytes, length: bytes) -> TensorCall | None:
        """A binary request whose JSON part was read before, as clients repeat it. None if it was not."""
        if len(length) > 4 or not length.isdigit():
            return None
        offset = int(length)
        plan = self._plans.get(body[:offset])
        if plan is None or len(body) - offset != plan.size:
            return None
        arrays: list[Array] = []
        for dtype, count, shape in plan.parts:
            arrays.append(np.frombuffer(body, dtype, count, offset).reshape(shape))
            offset += arrays[-1].nbytes
        return TensorCall(plan.names, arrays, plan.context)

    def _remember(self, text: bytes, request: _AnyRequest, call: TensorCall, size: int) -> None:
        """Plan for the next request with this JSON part, when nothing in it but tensors' bytes can differ."""
        kinds = {tensor.datatype for tensor in request.inputs}
        whole = all((tensor.parameters or {}).get("binary_data_size") is not None for tensor in request.inputs)
        # BYTES have lengths, and BOOL values, that have to be looked at each time; an id comes once.
        if request.id is not None or not whole or kinds & {"BYTES", "BOOL"} or len(text) > _MAX_PLANNED_BYTES:
            return
        if len(self._plans) >= _MAX_PLANS:
            self._plans.clear()
        parts = [(array.dtype, array.size, array.shape) for array in call.arrays]
        self._plans[text] = _Plan(call.names, parts, call.context, size)

    def _read_floats(self, request: _FloatRequest) -> TensorCall | None:
        """The commonest request: flat lists of FP32 or FP64. None when it is anything else."""
        names: list[str] = []
        arrays: list[Array] = []
        index = -1
        for tensor in request.inputs:
            index += 1
            shape = tensor.shape
            data = tensor.data
            packing = tensor_json.packing(tensor.datatype, len(data))
            if packing is None:
                self._prefers_floats = False
                return None
            if (len(shape) == 2 and shape[0] == 1 and shape[1] == len(data)) or self._fits(shape, data, index):
                names.append(tensor.name)
                arrays.append(tensor_json.packed(packing, data, shape, index))
        if not arrays and self.needs_inputs:
            raise DecodeError("expected at least one input tensor, found none", at="inputs")
        if len(names) > 1 and len(set(names)) != len(names):
            raise DecodeError("expected input tensors of different names", at="inputs")
        if request.outputs is None and request.parameters is None:
            return TensorCall(names, arrays, request.id)
        return TensorCall(names, arrays, self._context(request))

    def _fits(self, shape: list[int], data: list[float], index: int) -> bool:
        at = f"inputs[{index}]"
        count = tensor_json.elements(shape, at, size=8, max_bytes=self.max_tensor_bytes)
        if count != len(data):
            raise DecodeError(f"expected {count} elements for shape {shape}, found {len(data)}", at=f"{at}.data")
        return True

    def _read_any(self, body: bytes, length: bytes | None) -> TensorCall:
        head, offset = self._split(body, length)
        try:
            request = _ANY.decode(head)
        except msgspec.ValidationError as error:
            raise DecodeError(f"expected an inference request, found: {error}") from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise DecodeError(f"expected a JSON object, found: {error}") from None
        if not request.inputs and self.needs_inputs:
            raise DecodeError("expected at least one input tensor, found none", at="inputs")
        names: list[str] = []
        arrays: list[Array] = []
        for index, tensor in enumerate(request.inputs):
            at = f"inputs[{index}]"
            kind = tensor_json.datatype(tensor.datatype, at)
            parameters = tensor.parameters or {}
            size = parameters.get("binary_data_size")
            if size is not None:
                array, offset = self._read_binary(tensor, body, offset, size, length, at)
            elif isinstance(tensor.data, msgspec.UnsetType):
                raise DecodeError("expected data, or binary_data_size in parameters", at=at)
            else:
                raw = bytes(tensor.data)
                array = tensor_json.decode(
                    raw,
                    tensor.shape,
                    kind,
                    at,
                    max_bytes=self.max_tensor_bytes,
                    base64_text=parameters.get("content_type") == "base64",
                )
                self._prefers_floats = kind.kind == "float" and not raw.startswith(b"[[")
            names.append(tensor.name)
            arrays.append(array)
        if offset != len(body):
            raise DecodeError(f"expected no bytes after the last tensor, found {len(body) - offset}")
        if len(set(names)) != len(names):
            raise DecodeError("expected input tensors of different names", at="inputs")
        call = TensorCall(names, arrays, self._context(request))
        if length is not None:
            self._remember(head, request, call, len(body) - len(head))
        return call

    def _split(self, body: bytes, length: bytes | None) -> tuple[bytes, int]:
        if length is None:
            return body, len(body)
        if not length.isdigit() or len(length) > 15 or not 0 < int(length) <= len(body):
            raise DecodeError(
                f"expected a JSON length of 1 to {len(body)} bytes in Inference-Header-Content-Length, "
                f"found {length[:32].decode('latin-1')!r}"
            )
        return body[: int(length)], int(length)

    def _read_binary(
        self, tensor: _AnyTensor, body: bytes, offset: int, size: Any, length: bytes | None, at: str
    ) -> tuple[Array, int]:
        if length is None:
            raise DecodeError(
                "expected an Inference-Header-Content-Length header with binary tensors, found none",
                at=f"{at}.parameters.binary_data_size",
            )
        if not isinstance(tensor.data, msgspec.UnsetType):
            raise DecodeError("expected either data or binary_data_size, found both", at=at)
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(body) - offset:
            raise DecodeError(
                f"expected a size of 0 to {len(body) - offset} bytes", at=f"{at}.parameters.binary_data_size"
            )
        kind = DATATYPES[tensor.datatype]
        array = tensor_binary.decode(body, offset, size, tensor.shape, kind, at, max_bytes=self.max_tensor_bytes)
        return array, offset + size

    def _context(self, request: _FloatRequest | _AnyRequest) -> _Context | str | None:
        parameters = request.parameters or {}
        binary = parameters.get("binary_data_output") is True
        if not request.outputs:
            return _Context(request.id, None, binary) if binary else request.id
        wanted: dict[str, bool] = {}
        for index, output in enumerate(request.outputs):
            if self._outputs and output.name not in self._openings:
                raise unexpected_output(output.name, self.model, self._outputs, f"outputs[{index}].name")
            choice = (output.parameters or {}).get("binary_data")
            wanted[output.name] = choice if isinstance(choice, bool) else binary
        return _Context(request.id, wanted, any(wanted.values()))

    @staticmethod
    def wanted(call: TensorCall) -> Sequence[str]:
        """The outputs a call asks for by name; empty means all."""
        return tuple(call.context.wanted or ()) if isinstance(call.context, _Context) else ()

    # -- replies -------------------------------------------------------------------------------------------

    def write(self, call: TensorCall, outputs: Sequence[Array]) -> Reply:
        """Encode what the model gave for one call.

        Raises:
            CallError: FP16 asked for as JSON, which has no exact form there.
            PredictError: an output of a dtype the protocol lacks.
        """
        context = call.context
        if isinstance(context, _Context):
            return self._write_chosen(context, outputs)
        if context is None:
            identifier = b'"%b%012x"' % (_ID_PREFIX, next(_ID_COUNTER))
        else:
            identifier = orjson.dumps(context)
        if self._single:
            data = self._json_output(self._single, outputs[0])
        else:
            openings = self._openings
            data = b",".join(
                [self._json_output(openings[n], a) for n, a in zip(self._outputs, outputs, strict=True)]
            )
        return Reply(200, b'%b%b,"parameters":null,"outputs":[%b]}' % (self._opening, identifier, data))

    def _write_chosen(self, context: _Context, outputs: Sequence[Array]) -> Reply:
        texts: list[bytes] = []
        tails: list[bytes] = []
        by_name = dict(zip(self._outputs, outputs, strict=True))
        for name, binary in (context.wanted or dict.fromkeys(self._outputs, True)).items():
            array = by_name[name]
            if not binary:
                texts.append(self._json_output(self._openings[name], array))
                continue
            middle = _BINARY_NAMES.get(array.dtype)
            if middle is None:
                kind = DATATYPES[_datatype(array)]
                middle = _binary_name(kind.name)
                tails.append(tensor_binary.encode(array, kind))
            else:
                tails.append(array.tobytes())
            texts.append(b"%b%b%b%d}}" % (self._openings[name], _dimensions(array), middle, len(tails[-1])))
        identifier = (
            orjson.dumps(context.id) if context.id is not None else b'"%b%012x"' % (_ID_PREFIX, next(_ID_COUNTER))
        )
        text = b'%b%b,"parameters":null,"outputs":[%b]}' % (self._opening, identifier, b",".join(texts))
        if not context.binary:
            return Reply(200, text)
        length = str(len(text)).encode("ascii")
        return Reply(200, b"".join([text, *tails]), _OCTETS, ((HEADER_LENGTH, length),))

    def _json_output(self, opening: bytes, array: Array) -> bytes:
        middle = _DATA_NAMES.get(array.dtype)
        if middle is None:
            return self._json_objects(opening, array)
        shape = array.shape
        if len(shape) == 1:
            # A list of a few integers is encoded twice as fast as an array; floats have to keep their width.
            data = orjson.dumps(array.tolist()) if shape[0] < 8 and middle in _INTEGERS else _json_flat(array)
            return b"%b%d%b%b}" % (opening, shape[0], middle, data)
        return b"%b%b%b%b}" % (opening, _dimensions(array), middle, _json_flat(array.ravel()))

    def _json_objects(self, opening: bytes, array: Array) -> bytes:
        name = _datatype(array)
        if name == "FP16":
            raise CallError(
                "Sending FP16 data via JSON is not supported; ask for binary_data in the request's outputs"
            )
        if name == "BYTES":
            values = [v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in array.flat]
            data = orjson.dumps(values)
        else:  # A byte order or padding of its own.
            data = _json_flat(np.ascontiguousarray(array.ravel(), dtype=tensor_json.dtype(name)))
        return opening + b'%b],"datatype":"%b","parameters":null,"data":%b}' % (
            _dimensions(array),
            name.encode("ascii"),
            data,
        )

    # -- the rest ------------------------------------------------------------------------------------------

    def metadata(self, platform: str, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Reply:
        """``GET /v2/models/{model}``."""
        described = {
            "name": self.model,
            "versions": None,
            "platform": platform,
            "inputs": [_described(spec) for spec in inputs],
            "outputs": [_described(spec) for spec in outputs],
        }
        return Reply(200, orjson.dumps(described))

    def ready(self, is_ready: bool) -> Reply:
        """``GET /v2/models/{model}/ready``; 503 while not ready."""
        if is_ready:
            return Reply(200, orjson.dumps({"name": self.model, "ready": True}))
        return error_reply(503, f"Model with name {self.model} is not ready.")


def _described(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}


def _datatype(array: Array) -> str:
    try:
        return datatype_of(array.dtype.str)
    except KeyError:
        raise PredictError(f"expected an output of a protocol datatype, found dtype {array.dtype}") from None


def _dimensions(array: Array) -> bytes:
    return ",".join(map(str, array.shape)).encode("ascii")


def _json_flat(array: Array) -> bytes:
    if not array.flags.c_contiguous:
        array = np.ascontiguousarray(array)
    return orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY)


def _binary_name(datatype: str) -> bytes:
    return b'],"datatype":"' + datatype.encode("ascii") + b'","parameters":{"binary_data_size":'


for _datatype_name in DATATYPES:
    if _datatype_name != "BYTES":
        _BINARY_NAMES[tensor_json.dtype(_datatype_name)] = _binary_name(_datatype_name)
    if _datatype_name not in ("BYTES", "FP16"):
        _DATA_NAMES[tensor_json.dtype(_datatype_name)] = (
            b'],"datatype":"' + _datatype_name.encode("ascii") + b'","parameters":null,"data":'
        )

_INTEGERS.update(_DATA_NAMES[tensor_json.dtype(name)] for name in DATATYPES if "INT" in name)
