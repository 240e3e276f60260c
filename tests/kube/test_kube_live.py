"""A real node runs Tiffin's own image: saved models are fetched, asked, scaled, drained and killed.

``make kind-like`` makes the image and sets TIFFIN_RUNTIME_ARCHIVE; elsewhere these tests are skipped.
"""

from __future__ import annotations

import functools
import http.server
import importlib.util
import json
import os
import signal
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
MODEL = HERE.parents[1] / "examples" / "01-kserve-iris" / "model" / "model.joblib"
# Two flowers of the KServe documentation, and what its model says they are.
QUESTION = {
    "inputs": [
        {
            "name": "input-0",
            "shape": [2, 4],
            "datatype": "FP64",
            "data": [[6.8, 2.8, 4.8, 1.4], [6.0, 3.4, 4.5, 1.6]],
        }
    ]
}
ANSWER = [1, 1]


def _load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"tiffin_test_{name}", HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(f"tiffin_test_{name}", module)
    spec.loader.exec_module(module)
    return module


world = _load("operator_world")


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture(scope="module")
def live() -> Iterator[tuple[Any, Any]]:
    """A cluster of its own with a real node that has Tiffin's image; played nodes would take its pods."""
    required = os.environ.get("TIFFIN_KUBE") == "required" and "TIFFIN_RUNTIME_ARCHIVE" in os.environ
    archive = os.environ.get("TIFFIN_RUNTIME_ARCHIVE")
    if not archive or not MODEL.exists():
        pytest.skip("TIFFIN_RUNTIME_ARCHIVE names no image of Tiffin: `make kind-like` makes one, and runs this")
    node = _load("node")
    # node.py imports cluster.py by that name: its Missing is the one that is raised.
    cluster = sys.modules["cluster"]
    try:
        node.check()
        with cluster.running() as found, node.joined(found) as joined:
            joined.load(Path(archive))
            world.define(found)
            yield found, node
    except cluster.Missing as error:
        if required:
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def iris(live: tuple[Any, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The iris example, Ready; its model is fetched over HTTP from this machine by the init container."""
    cluster, node = live
    handler = functools.partial(_Quiet, directory=str(MODEL.parent))
    server = http.server.ThreadingHTTPServer(("0.0.0.0", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    cluster.kubectl("create", "namespace", "live")
    service = world.inference_service("iris")
    model = service["spec"]["predictor"]["model"]
    model["protocolVersion"] = "v2"
    model["storageUri"] = f"http://{node.GATEWAY}:{server.server_port}/model.joblib"
    log = tmp_path_factory.mktemp("operator") / "operator.log"
    try:
        with world.Operator(cluster, "live", log, "--no-election"):
            cluster.kubectl("apply", "-n", "live", "-f", "-", given=json.dumps(service))
            cluster.kubectl("wait", "--for=condition=Ready", "isvc/iris", "-n", "live", "--timeout=110s")
            yield cluster
            cluster.kubectl("delete", "isvc/iris", "-n", "live", "--timeout=60s")
            cluster.kubectl("wait", "--for=delete", "pod", "--all", "-n", "live", "--timeout=100s")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def pods(cluster: Any) -> dict[str, str]:
    """Name to address of pods that are Ready and not about to end."""
    found = (cluster.get("pods", "-n", "live", "-l", "app=isvc.iris-predictor") or {"items": []})["items"]
    return {
        pod["metadata"]["name"]: pod["status"]["podIP"]
        for pod in found
        if "deletionTimestamp" not in pod["metadata"]
        and any(
            each["type"] == "Ready" and each["status"] == "True" for each in pod["status"].get("conditions", [])
        )
    }


def ask(address: str) -> list[int]:
    request = urllib.request.Request(
        f"http://{address}:8080/v2/models/iris/infer",
        json.dumps(QUESTION).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.loads(answer.read())["outputs"][0]["data"]


def scale(cluster: Any, replicas: int) -> dict[str, str]:
    patch = json.dumps({"spec": {"predictor": {"minReplicas": replicas, "maxReplicas": replicas}}})
    cluster.kubectl("patch", "isvc/iris", "-n", "live", "--type=merge", "-p", patch)
    return world.until(lambda: (now := pods(cluster)) and len(now) == replicas and now, f"{replicas} pods", 100)


def test_a_pod_answers_as_the_documentation_says(iris: Any) -> None:
    (address,) = scale(iris, 1).values()
    assert ask(address) == ANSWER


def test_its_log_says_what_was_fetched(iris: Any) -> None:
    log = iris.kubectl("logs", "-n", "live", "deploy/iris-predictor", "-c", "storage-initializer").stdout
    assert "model.joblib is at /mnt/models" in log


def test_it_is_not_root(iris: Any) -> None:
    command = ("python", "-c", "import os; print(os.getuid())")
    done = iris.kubectl("exec", "-n", "live", "deploy/iris-predictor", "-c", "kserve-container", "--", *command)
    assert int(done.stdout) > 0


def test_more_replicas_answer_each(iris: Any) -> None:
    assert [ask(address) for address in scale(iris, 2).values()] == [ANSWER, ANSWER]
    assert len(scale(iris, 1)) == 1


def test_a_killed_program_is_started_again(iris: Any) -> None:
    (name,) = scale(iris, 1)
    command = ("python", "-c", f"import os; os.kill(1, {int(signal.SIGTERM)})")
    iris.kubectl("exec", "-n", "live", name, "-c", "kserve-container", "--", *command, check=False)

    def started_again() -> bool:
        status = iris.get("pod", name, "-n", "live")["status"]["containerStatuses"][0]
        return status["restartCount"] >= 1 and status["ready"]

    world.until(started_again, "the container", 100)
    assert ask(pods(iris)[name]) == ANSWER


def test_a_drained_node_ends_pods_and_takes_them_back(iris: Any) -> None:
    before = scale(iris, 1)
    iris.kubectl("drain", "localhost", "--delete-emptydir-data", "--ignore-daemonsets", "--timeout=100s")
    assert not set(before) & set(pods(iris))
    iris.kubectl("uncordon", "localhost")
    after = world.until(lambda: pods(iris), "a pod", 100)
    assert not set(before) & set(after)
    assert [ask(address) for address in after.values()] == [ANSWER]
