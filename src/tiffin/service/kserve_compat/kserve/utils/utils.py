"""``kserve.utils.utils``: the helpers model code uses."""

from __future__ import annotations

import os
import uuid
from typing import Any

import numpy as np

from ..errors import InvalidInput
from ..protocol.infer_type import InferOutput, InferRequest, InferResponse
from .numpy_codec import from_np_dtype

_TRUE = ("y", "yes", "t", "true", "on", "1")
_FALSE = ("n", "no", "f", "false", "off", "0")


def strtobool(val: str) -> bool:
    """``yes``, ``true``, ``1`` ... and their opposites; raises ValueError for anything else."""
    word = val.lower()
    if word not in _TRUE + _FALSE:
        raise ValueError(f"expected one of {', '.join(_TRUE + _FALSE)}, found {val!r}")
    return word in _TRUE


def generate_uuid() -> str:
    """A new identifier for a request."""
    return str(uuid.uuid4())


def cpu_count() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def get_predict_input(payload: Any, columns: list[str] | None = None) -> Any:
    """The rows of a V1 or V2 request: an array, a list of texts, or a DataFrame for rows of named values."""
    if isinstance(payload, InferRequest):
        if (payload.parameters or {}).get("content_type") == "pd":
            return payload.as_dataframe()
        first = payload.inputs[0]
        if (
            first.datatype == "BYTES"
            and first.data is not None
            and len(first.data)
            and isinstance(first.data[0], str)
        ):
            return first.data
        return first.as_numpy()
    if not isinstance(payload, dict):
        raise InvalidInput(f"unsupported payload type {type(payload)}")
    instances = payload["inputs"] if "inputs" in payload else payload["instances"]
    if len(instances) == 0:
        return np.array(instances)
    first_row = instances[0]
    if isinstance(first_row, dict) or (
        isinstance(first_row, list) and first_row and isinstance(first_row[0], dict)
    ):
        import pandas as pd

        rows = [row for instance in instances for row in (instance if isinstance(instance, list) else [instance])]
        return pd.DataFrame(rows, columns=columns)
    return instances if isinstance(first_row, str) else np.array(instances)


def get_predict_response(payload: Any, result: Any, model_name: str) -> Any:
    """A result in the protocol of its request: ``{"predictions": ...}``, or an InferResponse."""
    is_frame = hasattr(result, "to_dict") and hasattr(result, "columns")
    if isinstance(payload, dict):
        if is_frame:
            result = result.to_dict(orient="records")
        return {"predictions": result.tolist() if isinstance(result, np.ndarray) else result}
    if not isinstance(payload, InferRequest):
        raise InvalidInput(f"unsupported payload type {type(payload)}")
    columns = {name: result[name].to_numpy() for name in result.columns} if is_frame else {"output-0": result}
    return InferResponse(
        model_name=model_name,
        infer_outputs=[_output(str(name), value, payload.use_binary_outputs) for name, value in columns.items()],
        response_id=payload.id or generate_uuid(),
        use_binary_outputs=payload.use_binary_outputs,
        requested_outputs=payload.request_outputs,
    )


def _output(name: str, value: Any, binary: bool) -> InferOutput:
    is_text = isinstance(value, list) and value and isinstance(value[0], str)
    array = np.array(value, dtype=np.object_) if is_text else np.asarray(value)
    output = InferOutput(name=name, shape=list(array.shape), datatype=from_np_dtype(array.dtype) or "BYTES")
    output.set_data_from_numpy(array, binary_data=binary)
    return output
