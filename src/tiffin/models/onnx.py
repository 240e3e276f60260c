"""ONNX graphs, run by onnxruntime, with the names, datatypes and shapes they declare."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import onnxruntime

from tiffin.errors import DecodeError, ModelError, PredictError, TiffinError
from tiffin.models import table
from tiffin.models.model import Label, ModelInfo
from tiffin.types import ANY, DATATYPES, TensorSpec

Array = npt.NDArray[Any]

_DATATYPES = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}
_MAPS = {
    "seq(map(int64,tensor(float)))": "FP32",
    "seq(map(string,tensor(float)))": "FP32",
    "seq(map(int64,tensor(double)))": "FP64",
    "seq(map(string,tensor(double)))": "FP64",
}
"""What converters of classifiers give as probabilities: one map of class to probability a row."""


def load(file: Path, *, method: str = "predict", trust: bool = False, threads: int = 1) -> OnnxModel:
    """Load a graph; see ``loading.load``. Its files hold no code, so ``trust`` changes nothing."""
    if method != "predict":
        raise ModelError(f"an ONNX graph has no {method}", hint="ask for its outputs by name instead")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Threads that spin while they wait take the core from the event loop.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ModelError(
            f"{file.name} cannot be opened by onnxruntime {onnxruntime.__version__}: {error}"
        ) from error
    return OnnxModel(session, file.name)


class OnnxModel:
    """A graph; ``batchable`` when the first dimension of every input and output is free."""

    fork_safe = False

    def __init__(self, session: Any, file: str) -> None:
        self._session = session
        self._specs = tuple(_input(node, file) for node in session.get_inputs())
        self._dtypes = tuple(np.dtype(DATATYPES[spec.datatype].numpy) for spec in self._specs)
        self._inputs = tuple(spec.name for spec in self._specs)
        nodes = [node for node in session.get_outputs() if node.type in _DATATYPES or node.type in _MAPS]
        if not nodes:
            raise ModelError(f"{file} has no output that is a tensor")
        self._outputs = [node.name for node in nodes]
        self._maps = tuple(node.type in _MAPS for node in nodes)
        self._keys: list[Label] = []
        outputs = tuple(_output(node) for node in nodes)
        # Some converters leave outputs without a shape; those the trial below looks at.
        declared = [spec for spec in outputs if spec.shape]
        self.batchable = all(spec.shape[:1] == (ANY,) for spec in (*self._specs, *declared))
        self._single = self._specs[0] if len(self._specs) == 1 else None
        self._example = self._try_out()
        outputs = tuple(
            msgspec.structs.replace(spec, shape=(ANY, len(self._keys))) if is_map and self._keys else spec
            for spec, is_map in zip(outputs, self._maps, strict=True)
        )
        meta = session.get_modelmeta()
        self.info = ModelInfo(
            format="onnx",
            framework_version=onnxruntime.__version__,
            artefact_version="",
            estimator=meta.graph_name or meta.producer_name or "graph",
            file=file,
            inputs=self._specs,
            outputs=outputs,
            classes=tuple(self._keys),
            engine="onnxruntime",
        )

    def conform(self, names: Sequence[str], arrays: Sequence[Array]) -> tuple[Array, ...]:
        """See ``SavedModel.conform``."""
        if self._single is not None:
            if len(arrays) != 1:
                raise DecodeError(f"expected 1 tensor, {self._single.name}, found {len(arrays)}", at="inputs")
            return (self._fit(arrays[0], 0, 0),)
        if len(names) != len(self._inputs) or set(names) != set(self._inputs):
            raise DecodeError(
                f"expected the tensors {', '.join(self._inputs)}, found {', '.join(names) or 'none'}", at="inputs"
            )
        places = [names.index(name) for name in self._inputs]
        fitted = tuple(self._fit(arrays[place], index, place) for index, place in enumerate(places))
        if self.batchable:
            for place, array in zip(places, fitted, strict=True):
                if array.shape[0] != fitted[0].shape[0]:
                    raise DecodeError(
                        f"expected {fitted[0].shape[0]} rows as in {self._inputs[0]}, found {array.shape[0]}",
                        at=f"inputs[{place}].shape",
                    )
        return fitted

    def predict(self, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
        """See ``SavedModel.predict``."""
        try:
            found = self._session.run(self._outputs, dict(zip(self._inputs, arrays, strict=True)))
        except Exception as error:
            if type(error).__name__ == "InvalidArgument":
                raise DecodeError("the graph does not take values or shapes like these", at="inputs") from error
            raise PredictError(f"onnxruntime raised {type(error).__name__}: {error}") from error
        if True not in self._maps:
            return tuple(found)
        return tuple(
            self._spread(item) if is_map else item for item, is_map in zip(found, self._maps, strict=True)
        )

    def example(self) -> tuple[Array, ...] | None:
        """See ``SavedModel.example``."""
        return self._example

    def _fit(self, array: Array, index: int, place: int) -> Array:
        spec, dtype = self._specs[index], self._dtypes[index]
        shape = spec.shape
        if len(array.shape) != len(shape) or any(
            want not in (ANY, have) for want, have in zip(shape, array.shape, strict=True)
        ):
            raise DecodeError(_wrong_shape(shape, array.shape), at=f"inputs[{place}].shape")
        if self.batchable and not array.shape[0]:
            raise DecodeError("expected at least one row, found none", at=f"inputs[{place}].shape")
        if array.dtype is dtype and dtype.kind != "O":
            return array
        if dtype.kind == "O":
            if array.dtype.kind not in "OUS":
                raise DecodeError(f"expected BYTES, found {array.dtype}", at=f"inputs[{place}].datatype")
            return table.text(array, f"inputs[{place}]")
        return table.number(array, dtype, f"inputs[{place}]")

    def _try_out(self) -> tuple[Array, ...] | None:
        """An input of zeros that the graph takes; also shows the classes, and whether rows stay apart."""
        rows = 2 if self.batchable else 1
        trial = tuple(
            np.full(
                tuple((rows if axis == 0 else 1) if size == ANY else size for axis, size in enumerate(spec.shape)),
                "" if dtype.kind == "O" else 0,
                dtype,
            )
            for spec, dtype in zip(self._specs, self._dtypes, strict=True)
        )
        try:
            answers = self.predict(trial)
        except TiffinError:
            return None
        if self.batchable:
            self.batchable = all(answer.shape[:1] == (rows,) for answer in answers)
        return tuple(array[:1] for array in trial) if self.batchable else trial

    def _spread(self, maps: list[dict[Any, float]]) -> Array:
        """One column per class, in the order of the first row's map."""
        if not self._keys:
            self._keys = list(maps[0])
        return np.array([[row[key] for key in self._keys] for row in maps], dtype=np.float32)


def _input(node: Any, file: str) -> TensorSpec:
    if node.type not in _DATATYPES:
        raise ModelError(f"the input {node.name} of {file} is a {node.type}, which Tiffin does not serve")
    return TensorSpec(node.name, _DATATYPES[node.type], _shape(node.shape))


def _output(node: Any) -> TensorSpec:
    if node.type in _MAPS:
        return TensorSpec(node.name, "FP32", (ANY, ANY))
    return TensorSpec(node.name, _DATATYPES[node.type], _shape(node.shape))


def _shape(shape: Sequence[Any]) -> tuple[int, ...]:
    return tuple(size if isinstance(size, int) and size >= 0 else ANY for size in shape)


def _wrong_shape(wanted: tuple[int, ...], found: tuple[int, ...]) -> str:
    shown = "[" + ", ".join("?" if size == ANY else str(size) for size in wanted) + "]"
    message = f"expected {shown}, found {list(found)}"
    if len(found) == len(wanted) - 1 and all(a in (ANY, b) for a, b in zip(wanted[1:], found, strict=True)):
        message += f"; add the batch dimension: {[1, *found]}"
    return message
