"""Run the demo, ask it with clients that others wrote, stop it, and look for what it left behind.

Ends with 0 only if every answer was scikit-learn's own and nothing was left. A client that is not installed is
reported; with ``--strict`` that fails too.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import psutil
from sklearn.datasets import load_iris

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "demo"
EXAMPLES = ROOT / "examples"
TIFFIN = [sys.executable, "-m", "tiffin"]
INPUTS = ["examples/01-kserve-iris/iris.yaml", "examples/02-seldon-iris/iris-deployment.yaml"]
INPUTS.append("examples/03-bentoml-iris")
START_SECONDS = 60
STOP_SECONDS = 40

ROWS = load_iris(return_X_y=True)[0]
MODEL = joblib.load(EXAMPLES / "01-kserve-iris" / "model" / "model.joblib")
SPECIES = MODEL.predict(ROWS)
PROBABILITIES = MODEL.predict_proba(ROWS)


class NotInstalled(Exception):
    """A client's package is not there."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strict", action="store_true", help="fail also when a client is not installed")
    strict = parser.parse_args().strict
    wrong, missing = 0, 0
    with tempfile.TemporaryDirectory(prefix="tiffin-demo-") as directory:
        demo = Demo(Path(directory))
        try:
            demo.start()
            for title, check in CHECKS:
                try:
                    check(demo.port)
                    print(f"ok       {title}", flush=True)
                except NotInstalled as error:
                    missing += 1
                    print(f"missing  {title}: {error}", flush=True)
                except Exception as error:
                    wrong += 1
                    print(f"WRONG    {title}: {type(error).__name__}: {error}", flush=True)
        except RuntimeError as error:
            print(f"WRONG    {error}", flush=True)
            wrong += 1
        finally:
            left = demo.stop()
    for line in left:
        print(f"LEFT     {line}")
    if not left:
        print("ok       stopped by Ctrl-C; no process, socket or temporary file is left")
    failed = bool(wrong or left or (missing and strict))
    if missing:
        print(f"{missing} client checks were not made, because their packages are not installed")
    print("demo-check: " + ("FAILED" if failed else "every answer was right"))
    return int(failed)


class Demo:
    """``tiffin up`` with the three examples, in a home and a temporary directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.home = directory / "home"
        self.temporary = directory / "tmp"
        self.temporary.mkdir()
        self.log = directory / "log"
        self.environment = {**os.environ, "TIFFIN_HOME": str(self.home), "TMPDIR": str(self.temporary)}
        self.process: psutil.Popen | None = None
        self.family: set[psutil.Process] = set()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]

    def start(self) -> None:
        """Build the class's bundle, start everything, and wait until all three answer."""
        build = [*TIFFIN, "build", "-t", "iris-image:v0.1", "examples/02-seldon-iris"]
        print("$ tiffin", *build[3:], flush=True)
        done = subprocess.run(build, cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"tiffin build ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        up = [*TIFFIN, "up", *INPUTS, "--port", str(self.port)]
        print("$ tiffin", *up[3:], flush=True)
        with self.log.open("wb") as log:
            self.process = psutil.Popen(
                up, cwd=ROOT, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        started = time.monotonic()
        waiting = [kserve_plain, seldon_ndarray, bentoml_plain]
        while waiting:
            try:
                waiting[0](self.port)
                waiting.pop(0)
            except Exception as error:
                if self.process.poll() is not None:
                    raise RuntimeError(f"tiffin up ended too soon; it said:\n{self.log.read_text()}") from None
                if time.monotonic() - started > START_SECONDS:
                    # The checks below will say the same of those that are missing, and whether the others work.
                    print(f"WRONG    not all three came up ({error}); it said:\n{self.log.read_text()}")
                    return
                time.sleep(0.1)
        print(f"ok       all three answer {time.monotonic() - started:.1f} s after the start", flush=True)

    def stop(self) -> list[str]:
        """Press Ctrl-C, and say what is left afterwards."""
        if self.process is None:
            return []
        left = []
        if self.process.poll() is None:
            self.family = {self.process, *self.process.children(recursive=True)}
            self.process.send_signal(signal.SIGINT)
        try:
            code = self.process.wait(STOP_SECONDS)
            if code != 0:
                left.append(f"tiffin up ended with {code}, not 0; it said:\n{self.log.read_text()}")
        except psutil.TimeoutExpired:
            left.append(f"tiffin up did not end in {STOP_SECONDS} s")
        for process in self._processes():
            left.append(f"process {process}")
            process.kill()
        left += [f"temporary file {path}" for path in self.temporary.rglob("*")]
        # The lock that keeps two starts apart is not of this run: it stays, as the data directory does.
        left += [f"run file {path}" for path in (self.home / "run").rglob("*") if path.name != ".lock"]
        left += [f"socket {path}" for path in self.home.rglob("*") if path.is_socket()]
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                left.append(f"port {self.port} still answers")
        return left

    def _processes(self) -> list[psutil.Process]:
        found = [process for process in self.family if process.is_running()]
        for process in psutil.process_iter():
            try:
                if process not in found and process.environ().get("TIFFIN_HOME") == str(self.home):
                    found.append(process)
            except psutil.Error:
                continue
        return found


# --- plain HTTP


def post(port: int, path: str, body: Any, host: str | None = None) -> Any:
    """POST JSON and read JSON; raises with the body when the status is not 200."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", json.dumps(body).encode())
    request.add_header("Content-Type", "application/json")
    if host:
        request.add_header("Host", host)
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return json.loads(reply.read())
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{path} answered {error.code}: {error.read()[:500]!r}") from None


def same(found: Any, wanted: Any) -> None:
    """Raise unless both hold the same numbers in the same shape."""
    found = np.asarray(found)
    if found.shape != wanted.shape or not np.allclose(found, wanted, rtol=1e-5, atol=1e-7):
        raise AssertionError(f"expected {wanted.shape} {wanted.tolist()[:3]}..., found {found.tolist()!s:.200}")


def v2_body() -> dict[str, Any]:
    tensor = {"name": "input-0", "shape": list(ROWS.shape), "datatype": "FP64", "data": ROWS.tolist()}
    return {"id": "demo", "inputs": [tensor]}


def kserve_plain(port: int) -> None:
    reply = post(port, "/v2/models/iris/infer", v2_body())
    if reply["model_name"] != "iris" or reply["id"] != "demo":
        raise AssertionError(f"expected model iris and id demo, found {reply!s:.200}")
    same(reply["outputs"][0]["data"], SPECIES)


def kserve_by_host(port: int) -> None:
    reply = post(port, "/v2/models/iris/infer", v2_body(), host="iris.default.example.com")
    same(reply["outputs"][0]["data"], SPECIES)


def kserve_by_path(port: int) -> None:
    same(post(port, "/default/iris/v2/models/iris/infer", v2_body())["outputs"][0]["data"], SPECIES)


def kserve_v1(port: int) -> None:
    same(post(port, "/v1/models/iris:predict", {"instances": ROWS.tolist()})["predictions"], SPECIES)


SELDON = "/seldon/seldon/iris-model/api/v1.0/predictions"
CLASSES = ["setosa", "versicolor", "virginica"]


def seldon_ndarray(port: int) -> None:
    reply = post(port, SELDON, {"data": {"ndarray": ROWS.tolist()}})
    same(reply["data"]["ndarray"], PROBABILITIES)
    if reply["data"]["names"] != CLASSES:
        raise AssertionError(f"expected names {CLASSES}, found {reply['data']['names']}")


def seldon_tensor(port: int) -> None:
    call = {
        "data": {"names": ["a", "b", "c", "d"], "tensor": {"shape": [150, 4], "values": ROWS.ravel().tolist()}}
    }
    tensor = post(port, SELDON, call)["data"]["tensor"]
    same(np.reshape(tensor["values"], tensor["shape"]), PROBABILITIES)


def seldon_by_path(port: int) -> None:
    path = "/seldon/iris-model/api/v1.0/predictions"
    same(post(port, path, {"data": {"ndarray": ROWS.tolist()}})["data"]["ndarray"], PROBABILITIES)


def bentoml_plain(port: int) -> None:
    same(post(port, "/predict", {"features": ROWS.tolist()}), SPECIES)


# --- clients that others wrote


def triton_json(port: int) -> None:
    _triton(port, binary=False)


def triton_binary(port: int) -> None:
    _triton(port, binary=True)


def _triton(port: int, *, binary: bool) -> None:
    if importlib.util.find_spec("tritonclient") is None:
        raise NotInstalled("pip install 'tritonclient[http]'")
    import tritonclient.http as triton

    with triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
        if not (client.is_server_live() and client.is_server_ready() and client.is_model_ready("iris")):
            raise AssertionError("expected live and ready, found otherwise")
        metadata = client.get_model_metadata("iris")
        tensor = triton.InferInput(metadata["inputs"][0]["name"], list(ROWS.shape), "FP64")
        tensor.set_data_from_numpy(ROWS, binary_data=binary)
        name = metadata["outputs"][0]["name"]
        wanted = triton.InferRequestedOutput(name, binary_data=binary)
        same(client.infer("iris", [tensor], outputs=[wanted]).as_numpy(name), SPECIES)


def kserve_client(port: int) -> None:
    same(_elsewhere("kserve", port), SPECIES)


def bentoml_client(port: int) -> None:
    same(_elsewhere("bentoml", port), SPECIES)


def _elsewhere(package: str, port: int) -> Any:
    """Ask with a client that lives in an environment of its own."""
    python = ROOT / f".venv-{package}" / "bin" / "python"
    has = [python, "-c", f"import {package}"]
    if not python.exists() or subprocess.run(has, capture_output=True, check=False).returncode:
        raise NotInstalled(f"{python.parent.parent.name} has no working {package}")
    done = subprocess.run(
        [python, DEMO / f"ask_{package}.py", str(port)],
        input=json.dumps(ROWS.tolist()),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode:
        raise AssertionError(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


CHECKS: list[tuple[str, Callable[[int], None]]] = [
    ("KServe example, plain HTTP, /v2/models/iris/infer", kserve_plain),
    ("KServe example, plain HTTP, host iris.default.example.com", kserve_by_host),
    ("KServe example, plain HTTP, /default/iris/v2/models/iris/infer", kserve_by_path),
    ("KServe example, plain HTTP, V1 :predict", kserve_v1),
    ("KServe example, tritonclient, JSON", triton_json),
    ("KServe example, tritonclient, binary tensors", triton_binary),
    ("KServe example, KServe SDK's InferenceRESTClient", kserve_client),
    ("Seldon example, plain HTTP, ndarray", seldon_ndarray),
    ("Seldon example, plain HTTP, tensor", seldon_tensor),
    ("Seldon example, plain HTTP, /seldon/iris-model/...", seldon_by_path),
    ("BentoML example, plain HTTP, /predict", bentoml_plain),
    ("BentoML example, bentoml's SyncHTTPClient", bentoml_client),
]

if __name__ == "__main__":
    sys.exit(main())
