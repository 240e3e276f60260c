"""gRPC behind the gateway: ``tiffin up`` with the real Envoy and real replicas, asked by tritonclient."""

from __future__ import annotations

import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc as client
from tests.integration.conftest import until
from tritonclient.utils import InferenceServerException

pytestmark = pytest.mark.slow

SERVICE = """
from typing import AsyncGenerator
import numpy as np
import tiffin

@tiffin.service
class Demo:
    @tiffin.api
    def predict(self, x: np.ndarray) -> np.ndarray:
        return x * 2

    @tiffin.api
    async def words(self, text_input: str) -> AsyncGenerator[str, None]:
        for word in text_input.split():
            yield word
"""
DEMO = """
apiVersion: tiffin.dev/v1
kind: Deployment
metadata: {name: demo}
spec:
  service: service:Demo
  grpc: true
  workers: 2
"""
IRIS = """
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {name: iris, annotations: {autoscaling.knative.dev/window: "6s"}}
spec:
  predictor:
    minReplicas: 0
    maxReplicas: 1
    model:
      modelFormat: {name: sklearn}
      storageUri: MODEL
      ports: [{name: h2c, containerPort: 9000}]
      resources: {requests: {cpu: "0.1", memory: 50Mi}}
"""


@pytest.fixture(scope="module")
def root(iris_model: Path) -> Iterator[Path]:
    """A directory with a short name: sockets need one."""
    path = Path(tempfile.mkdtemp(prefix="tg-"))
    (path / "service.py").write_text(SERVICE)
    (path / "demo.yaml").write_text(DEMO)
    (path / "iris.yaml").write_text(IRIS.replace("MODEL", str(iris_model)))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def port(root: Path) -> Iterator[int]:
    """Of the gateway in front of both."""
    command = [sys.executable, "-m", "tiffin", "up", "iris.yaml", "demo.yaml", "--json", "--port", "0"]
    environment = {**os.environ, "TIFFIN_HOME": str(root / "home")}
    with (root / "out").open("wb") as out, (root / "err").open("wb") as err:
        process = subprocess.Popen(command, cwd=root, stdout=out, stderr=err, env=environment)
    try:

        def reported() -> Any:
            assert process.poll() is None, (root / "err").read_text()
            try:
                return json.loads((root / "out").read_text())
            except ValueError:
                return None

        yield int(str(until(reported, seconds=90)["gateway"]).rpartition(":")[2].strip("/"))
    finally:
        process.terminate()
        assert process.wait(60) == 0


def infer(port: int, model: str, name: str, *, host: str = "", **metadata: str) -> Any:
    """One call with the iris' four numbers; ``host`` is its authority."""
    tensor = client.InferInput(name, [1, 4], "FP64")
    tensor.set_data_from_numpy(np.array([[5.1, 3.5, 1.4, 0.2]]))
    options = [("grpc.default_authority", host)] if host else None
    headers = {key.replace("_", "-"): value for key, value in metadata.items()}
    with client.InferenceServerClient(f"127.0.0.1:{port}", channel_args=options) as asked:
        return asked.infer(model, [tensor], headers=headers, client_timeout=60)


def test_calls_find_their_deployment_by_host_and_by_metadata(port: int) -> None:
    twice = [[10.2, 7.0, 2.8, 0.4]]
    for host in ("demo.default.example.com", "demo.default.localhost"):
        assert infer(port, "demo", "x", host=host).as_numpy("output-0").tolist() == twice
    for name in ("default/demo", "demo"):
        assert infer(port, "demo", "x", x_tiffin_deployment=name).as_numpy("output-0").tolist() == twice
    with pytest.raises(InferenceServerException, match="NOT_FOUND"):
        infer(port, "iris", "x", host="demo.default.example.com")
    status = httpx.get(f"http://127.0.0.1:{port}/v2/models/demo/ready")
    assert status.json() == {"name": "demo", "ready": True}


def test_streams_pass_the_gateway(port: int) -> None:
    answers: queue.Queue[Any] = queue.Queue()
    tensor = client.InferInput("text_input", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([b"one two"], dtype=object))
    options = [("grpc.default_authority", "demo.default.example.com")]
    with client.InferenceServerClient(f"127.0.0.1:{port}", channel_args=options) as asked:
        asked.start_stream(lambda result, error: answers.put(error or result.as_numpy("output-0").tolist()))
        asked.async_stream_infer("words", [tensor])
        assert [answers.get(timeout=20) for _ in range(2)] == [[b"one"], [b"two"]]
        asked.stop_stream()


def test_a_call_to_a_deployment_at_zero_waits_for_its_replica(port: int, root: Path) -> None:
    def is_at_zero() -> bool:
        command = [sys.executable, "-m", "tiffin", "get", "iris", "-o", "json"]
        environment = {**os.environ, "TIFFIN_HOME": str(root / "home")}
        found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return '"replicas": []' in found.stdout or "from 1 to 0" in _events(environment)

    until(is_at_zero, seconds=60)
    answer = infer(port, "iris", "input-0", host="iris.default.example.com")
    assert answer.as_numpy("output-0").tolist() == [0]


def _events(environment: dict[str, str]) -> str:
    command = [sys.executable, "-m", "tiffin", "events"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout
