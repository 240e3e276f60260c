"""``kserve.protocol.infer_type``: requests and responses of the Open Inference Protocol V2 as objects."""

from __future__ import annotations

import struct
import uuid
from typing import Any

import numpy as np
import orjson

from ..errors import InferenceError, InvalidInput
from ..utils.numpy_codec import from_np_dtype, to_np_dtype


def serialize_byte_tensor(input_tensor: Any) -> Any:
    """BYTES in row-major order, each after its length (4 bytes, little-endian): an object array of one element."""
    if input_tensor.size == 0:
        return np.empty([0], dtype=np.object_)
    if input_tensor.dtype.kind not in "OS":
        raise InferenceError("cannot serialize bytes tensor: invalid datatype")
    parts = []
    for item in input_tensor.ravel().tolist():
        data = item if isinstance(item, bytes) else str(item).encode()
        parts += [struct.pack("<I", len(data)), data]
    return np.asarray(b"".join(parts), dtype=np.object_)


def deserialize_bytes_tensor(encoded_tensor: bytes) -> Any:
    """The elements of BYTES as sent, in an object array of one dimension."""
    found, offset = [], 0
    while offset < len(encoded_tensor):
        (length,) = struct.unpack_from("<I", encoded_tensor, offset)
        offset += 4
        if offset + length > len(encoded_tensor):
            raise InvalidInput("expected a whole element, found the end of the tensor")
        found.append(bytes(encoded_tensor[offset : offset + length]))
        offset += length
    array = np.empty(len(found), dtype=np.object_)
    array[:] = found
    return array


class _Tensor:
    """Name, shape, datatype, and the data: a list (or array), or the bytes of the binary extension."""

    def __init__(
        self,
        name: str,
        shape: list[int],
        datatype: str,
        data: Any = None,
        parameters: dict[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.shape = shape
        self.datatype = datatype.upper()
        self.parameters = parameters
        self.data = data
        self._raw_data: bytes | None = None

    def as_numpy(self) -> Any:
        """The tensor as an array of its shape; raises InvalidInput when datatype, shape and data disagree."""
        dtype = to_np_dtype(self.datatype)
        if dtype is None:
            raise InvalidInput(f"invalid datatype {self.datatype} in the tensor {self.name}")
        try:
            if self._raw_data is None:
                array = np.array(self.data, dtype=dtype)
            elif self.datatype == "BYTES":
                array = deserialize_bytes_tensor(self._raw_data)
            else:
                array = np.frombuffer(self._raw_data, dtype=dtype)
            return array.reshape(self.shape)
        except (ValueError, TypeError, OverflowError, struct.error) as error:
            raise InvalidInput(
                f"the data of {self.name} is not {self.datatype} of shape {self.shape}: {error}"
            ) from error

    def set_data_from_numpy(self, tensor: Any, binary_data: bool = True) -> None:
        """Take an array of this datatype and shape, as bytes or (``binary_data=False``) as a flat list."""
        if not isinstance(tensor, np.ndarray):
            raise InferenceError("input_tensor must be a numpy array")
        found = from_np_dtype(tensor.dtype)
        if found != self.datatype:
            raise InferenceError(f"got unexpected datatype {found} from numpy array, expected {self.datatype}")
        if list(tensor.shape) != list(self.shape):
            raise InferenceError(
                f"got unexpected numpy array shape {list(tensor.shape)}, expected {list(self.shape)}"
            )
        if not binary_data:
            if self.parameters:
                self.parameters.pop("binary_data_size", None)
            self._raw_data = None
            self.data = (
                [_text(item) for item in tensor.ravel().tolist()] if found == "BYTES" else tensor.ravel().tolist()
            )
            return
        self.data = None
        if found == "BYTES":
            self._raw_data = serialize_byte_tensor(tensor.astype(np.object_)).item() if tensor.size else b""
        else:
            self._raw_data = tensor.tobytes()
        self.parameters = {**(self.parameters or {}), "binary_data_size": len(self._raw_data or b"")}

    def to_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return {
            "name": self.name,
            "shape": self.shape,
            "datatype": self.datatype,
            "data": self.data,
            "parameters": self.parameters,
        }

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.to_dict()})"


class InferInput(_Tensor):
    """An input of a request."""

    def as_string(self) -> list[str]:
        """The elements of a BYTES input as text; raises InvalidInput for other datatypes."""
        if self.datatype != "BYTES":
            raise InvalidInput(f"invalid datatype {self.datatype} in the input")
        return [_text(item) for item in self.as_numpy().ravel().tolist()]


class InferOutput(_Tensor):
    """An output of a response."""


class RequestedOutput:
    """An output that was asked for, with its parameters."""

    def __init__(self, name: str, parameters: dict[str, Any] | None = None) -> None:
        self.name = name
        self.parameters = parameters

    @property
    def binary_data(self) -> bool | None:
        """Whether it is wanted in binary; None when nothing was said."""
        return (self.parameters or {}).get("binary_data")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RequestedOutput) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"RequestedOutput(name={self.name}, parameters={self.parameters})"


class InferRequest:
    """A request: inputs, parameters, and which outputs are wanted."""

    def __init__(
        self,
        model_name: str,
        infer_inputs: list[InferInput],
        request_id: str | None = None,
        raw_inputs: list[bytes] | None = None,
        from_grpc: bool | None = False,
        parameters: dict[str, Any] | None = None,
        request_outputs: list[RequestedOutput] | None = None,
        model_version: str | None = None,
    ) -> None:
        self.id = request_id
        self.model_name = model_name
        self.inputs = infer_inputs
        self.parameters = parameters
        self.from_grpc = from_grpc
        self.request_outputs = request_outputs
        self.model_version = model_version
        for tensor, raw in zip(infer_inputs, raw_inputs or (), strict=False):
            tensor._raw_data = raw

    @property
    def use_binary_outputs(self) -> bool:
        """Whether all outputs are wanted in binary."""
        return bool((self.parameters or {}).get("binary_data_output", False))

    @classmethod
    def from_bytes(cls, req_bytes: bytes, json_length: int, model_name: str) -> InferRequest:
        """From the bytes of a REST request, of which ``json_length`` are JSON; raises InvalidInput."""
        found = _document(req_bytes, json_length, "inputs")
        outputs = found.get("outputs")
        return cls(
            model_name=model_name,
            request_id=found.get("id"),
            parameters=found.get("parameters"),
            infer_inputs=_tensors(InferInput, found["inputs"], req_bytes, json_length, "input", model_name),
            request_outputs=[RequestedOutput(o["name"], o.get("parameters")) for o in outputs]
            if outputs
            else None,
        )

    def to_rest(self) -> tuple[Any, int | None]:
        """A dict and None; or, with binary inputs, bytes and the length of the JSON they begin with."""
        inputs, raw = [], []
        for tensor in self.inputs:
            written, tail = _written(tensor, None, "input", self.model_name)
            inputs.append(written)
            raw += tail
        body: dict[str, Any] = {
            "id": self.id or str(uuid.uuid4()),
            "model_name": self.model_name,
            "inputs": inputs,
        }
        if self.request_outputs:
            body["outputs"] = [
                {"name": o.name} | ({"parameters": o.parameters} if o.parameters else {})
                for o in self.request_outputs
            ]
        return _joined(body, self.parameters, raw)

    def as_dataframe(self) -> Any:
        """A DataFrame with a column for each input."""
        import pandas as pd

        columns = {tensor.name: tensor.as_numpy().reshape(-1) for tensor in self.inputs}
        return pd.DataFrame(
            {name: [_text(v) for v in c] if c.dtype.kind == "O" else c for name, c in columns.items()}
        )

    def get_input_by_name(self, name: str) -> InferInput | None:
        """The input of that name; None without it."""
        return next((tensor for tensor in self.inputs if tensor.name == name), None)

    def to_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return {
            "id": self.id,
            "model_name": self.model_name,
            "inputs": [tensor.to_dict() for tensor in self.inputs],
            "parameters": self.parameters,
            "from_grpc": self.from_grpc,
        }

    def __eq__(self, other: object) -> bool:
        return isinstance(other, InferRequest) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"InferRequest({self.to_dict()})"


class InferResponse:
    """A response: outputs and parameters."""

    def __init__(
        self,
        response_id: str | None,
        model_name: str,
        infer_outputs: list[InferOutput],
        model_version: str | None = None,
        raw_outputs: list[bytes] | None = None,
        from_grpc: bool | None = False,
        parameters: dict[str, Any] | None = None,
        use_binary_outputs: bool | None = False,
        requested_outputs: list[RequestedOutput] | None = None,
    ) -> None:
        self.id = response_id
        self.model_name = model_name
        self.model_version = model_version
        self.outputs = infer_outputs
        self.parameters = parameters
        self.from_grpc = from_grpc
        self._requested_outputs = requested_outputs
        self._use_binary_outputs = bool(use_binary_outputs)
        for tensor, raw in zip(infer_outputs, raw_outputs or (), strict=False):
            tensor._raw_data = raw

    @classmethod
    def from_rest(cls, response: dict[str, Any]) -> InferResponse:
        """From the JSON of a REST response."""
        return cls(
            response_id=response.get("id"),
            model_name=response.get("model_name", ""),
            model_version=response.get("model_version"),
            infer_outputs=_tensors(InferOutput, response["outputs"], b"", 0, "output", ""),
            parameters=response.get("parameters"),
        )

    @classmethod
    def from_bytes(cls, res_bytes: bytes, json_length: int) -> InferResponse:
        """From the bytes of a REST response, of which ``json_length`` are JSON; raises InvalidInput."""
        found = _document(res_bytes, json_length, "outputs")
        name = found.get("model_name", "")
        return cls(
            response_id=found.get("id"),
            model_name=name,
            model_version=found.get("model_version"),
            infer_outputs=_tensors(InferOutput, found["outputs"], res_bytes, json_length, "output", name),
            parameters=found.get("parameters"),
        )

    def to_rest(self) -> tuple[Any, int | None]:
        """A dict and None; or, with binary outputs, bytes and the length of the JSON they begin with."""
        chosen: list[tuple[InferOutput, bool]] = [(output, self._use_binary_outputs) for output in self.outputs]
        if self._requested_outputs:
            chosen = []
            for wanted in self._requested_outputs:
                output = self.get_output_by_name(wanted.name)
                if output is None:
                    raise InvalidInput(
                        f"Unexpected inference output '{wanted.name}' for model '{self.model_name}'"
                    )
                chosen.append((output, bool(wanted.binary_data)))
        outputs, raw = [], []
        for output, binary in chosen:
            written, tail = _written(output, binary, "output", self.model_name)
            outputs.append(written)
            raw += tail
        body = {
            "id": self.id,
            "model_name": self.model_name,
            "model_version": self.model_version,
            "outputs": outputs,
        }
        return _joined(body, self.parameters, raw)

    def get_output_by_name(self, name: str) -> InferOutput | None:
        """The output of that name; None without it."""
        return next((tensor for tensor in self.outputs if tensor.name == name), None)

    def to_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return {
            "id": self.id,
            "model_name": self.model_name,
            "outputs": [tensor.to_dict() for tensor in self.outputs],
            "parameters": self.parameters,
            "from_grpc": self.from_grpc,
        }

    def __eq__(self, other: object) -> bool:
        return isinstance(other, InferResponse) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"InferResponse({self.to_dict()})"


def _text(item: Any) -> str:
    if not isinstance(item, bytes):
        return str(item)
    try:
        return item.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InferenceError(
            f'Failed to encode "{item!r}" using UTF-8. Please use binary_data=True for bytes.'
        ) from error


def _document(body: bytes, json_length: int, key: str) -> dict[str, Any]:
    try:
        found = orjson.loads(body[:json_length])
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"Unrecognized request format: {error}") from error
    if not isinstance(found, dict) or not isinstance(found.get(key), list):
        raise InvalidInput(f'Expected "{key}" to be a list')
    return found


def _tensors(kind: Any, found: list[Any], body: bytes, start: int, what: str, model: str) -> list[Any]:
    """The tensors of a document; binary ones are read, in order, from what follows its JSON."""
    tensors = []
    for item in found:
        try:
            tensor = kind(item["name"], list(item["shape"]), item["datatype"], None, item.get("parameters"))
        except (KeyError, TypeError, AttributeError) as error:
            raise InvalidInput(f"expected {what}s with name, shape and datatype: {error}") from error
        size = (tensor.parameters or {}).get("binary_data_size")
        if item.get("data") is not None:
            if tensor.datatype == "FP16":
                raise InvalidInput(
                    f"Receiving FP16 data via JSON is not supported; {tensor.name} has to be binary"
                )
            tensor.data = item["data"]
        elif isinstance(size, int) and 0 <= size <= len(body) - start:
            tensor._raw_data = body[start : start + size]
            if tensor.datatype != "BYTES" or _is_text(tensor._raw_data):
                tensor.set_data_from_numpy(tensor.as_numpy(), binary_data=False)
            start += size
        else:
            raise InvalidInput(f"'data' field is missing for {what} '{tensor.name}' for model '{model}'")
        tensors.append(tensor)
    return tensors


def _is_text(raw: bytes) -> bool:
    try:
        for item in deserialize_bytes_tensor(raw):
            item.decode("utf-8")
    except (UnicodeDecodeError, struct.error):
        return False
    return True


def _written(tensor: Any, binary: bool | None, what: str, model: str) -> tuple[dict[str, Any], list[bytes]]:
    """A tensor as JSON and what follows it; ``binary`` None leaves it as it is."""
    if tensor.data is None and tensor._raw_data is None:
        raise InvalidInput(f"'data' field is missing for {what} '{tensor.name}' for model '{model}'")
    if binary is None:
        binary = tensor._raw_data is not None
        if isinstance(tensor.data, np.ndarray):
            tensor.set_data_from_numpy(tensor.data, binary_data=False)
    elif isinstance(tensor.data, np.ndarray):
        tensor.set_data_from_numpy(tensor.data, binary_data=binary)
    elif tensor._raw_data is not None or binary or _is_nested(tensor.data):
        tensor.set_data_from_numpy(tensor.as_numpy(), binary_data=binary)
    if not binary and tensor.datatype == "FP16":
        raise InvalidInput(f"Sending FP16 data via JSON is not supported; {what} {tensor.name} has to be binary")
    written: dict[str, Any] = {"name": tensor.name, "shape": list(tensor.shape), "datatype": tensor.datatype}
    if tensor.parameters:
        written["parameters"] = dict(tensor.parameters)
    if binary:
        return written, [tensor._raw_data or b""]
    return written | {"data": tensor.data}, []


def _is_nested(data: Any) -> bool:
    return bool(data) and isinstance(data[0], list | tuple | bytes)


def _joined(body: dict[str, Any], parameters: dict[str, Any] | None, raw: list[bytes]) -> tuple[Any, int | None]:
    if parameters:
        body["parameters"] = dict(parameters)
    if not raw:
        return body, None
    text = orjson.dumps(body)
    return b"".join([text, *raw]), len(text)
