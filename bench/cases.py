"""What is asked: a model, a body, and the answer that must come back."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from models import MODELS

SERVICES = Path(__file__).resolve().parent / "services"
CONCURRENCIES = (1, 16, 64)
IRIS_ROW = [6.8, 2.8, 4.8, 1.4]


@dataclass(frozen=True)
class Case:
    """One kind of request; ``targets`` are the least ratios to the yardstick at each concurrency.

    ``model`` is a file of build/bench/models, or a directory of bench/services, whose ``endpoint`` is asked.
    """

    name: str
    title: str
    model: str
    protocol: str
    targets: dict[int, float]
    make: Callable[[], tuple[bytes, dict[str, str]]] = field(repr=False)
    yardstick: str = "baseline"
    endpoint: str = ""

    @property
    def peers(self) -> tuple[str, str]:
        """Who can do it."""
        return ("tiffin", self.yardstick)

    @property
    def path(self) -> Path:
        return SERVICES / self.model if self.endpoint else MODELS / self.model

    @property
    def url_path(self) -> str:
        return f"/{self.endpoint}" if self.endpoint else f"/v2/models/{self.path.stem}/infer"

    @cached_property
    def request(self) -> tuple[bytes, dict[str, str]]:
        """Body and headers."""
        return self.make()


def expected(case: Case) -> list[float]:
    """What the framework itself answers."""
    if case.path.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(case.path), providers=["CPUExecutionProvider"])
        return list(session.run(None, {"input": _digits()})[0].ravel())
    import joblib
    import numpy as np

    file = MODELS / "lr.joblib" if case.endpoint else case.path
    return [float(value) for value in joblib.load(file).predict(np.array([IRIS_ROW], np.float32))]


def answer(body: bytes, headers: dict[str, str]) -> list[float]:
    """The first output of a reply, JSON or binary, as plain numbers; a service answers with the numbers alone."""
    if body.startswith(b"["):
        return [float(value) for value in json.loads(body)]
    head_size = next((int(v) for k, v in headers.items() if k.lower() == "inference-header-content-length"), None)
    output: dict[str, Any] = json.loads(body[:head_size])["outputs"][0]
    if "data" in output:
        return [float(value) for value in output["data"]]
    import numpy as np

    dtype = {"FP32": "<f4", "FP64": "<f8", "INT64": "<i8", "INT32": "<i4"}[output["datatype"]]
    raw = body[head_size:][: output["parameters"]["binary_data_size"]]
    return [float(value) for value in np.frombuffer(raw, dtype)]


def _digits() -> Any:
    import numpy as np

    return np.random.default_rng(1).random((1, 784), np.float32)


def _iris_json() -> tuple[bytes, dict[str, str]]:
    tensor = {"name": "input", "shape": [1, 4], "datatype": "FP32", "data": [IRIS_ROW]}
    return json.dumps({"inputs": [tensor]}).encode(), {"Content-Type": "application/json"}


def _digits_json() -> tuple[bytes, dict[str, str]]:
    data = [round(float(value), 6) for value in _digits().ravel()]
    tensor = {"name": "input", "shape": [1, 784], "datatype": "FP32", "data": data}
    return json.dumps({"inputs": [tensor]}).encode(), {"Content-Type": "application/json"}


def _digits_binary() -> tuple[bytes, dict[str, str]]:
    raw = _digits().tobytes()
    tensor = {"name": "input", "shape": [1, 784], "datatype": "FP32", "parameters": {"binary_data_size": len(raw)}}
    call = {"inputs": [tensor], "parameters": {"binary_data_output": True}}
    head = json.dumps(call).encode()
    return head + raw, {
        "Content-Type": "application/octet-stream",
        "Inference-Header-Content-Length": str(len(head)),
    }


def _iris_named() -> tuple[bytes, dict[str, str]]:
    return json.dumps({"x": [IRIS_ROW]}).encode(), {"Content-Type": "application/json"}


CASES = [
    Case("lr", "LogisticRegression, iris 1x4", "lr.joblib", "v2 json", {1: 1.3, 16: 8, 64: 14}, _iris_json),
    Case("mlp", "MLP 784-128-10 (ONNX), 1x784", "mlp.onnx", "v2 json", {1: 1.3, 16: 2.5, 64: 3}, _digits_json),
    Case(
        "mlp-binary",
        "MLP 784-128-10 (ONNX), 1x784",
        "mlp.onnx",
        "v2 binary",
        {1: 1.3, 16: 5, 64: 8},
        _digits_binary,
    ),
    Case("rf", "RandomForest(100), iris 1x4", "rf.joblib", "v2 json", {1: 0.95, 16: 5, 64: 25}, _iris_json),
    Case("service", "iris service, 1x4", "iris", "named json", {64: 8}, _iris_named, "bentoml", "predict"),
    Case(
        "service-batch",
        "iris service, batchable, 1x4",
        "iris",
        "named json",
        {64: 30},
        _iris_named,
        "bentoml",
        "predict_batch",
    ),
]
