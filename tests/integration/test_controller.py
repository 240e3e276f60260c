"""The controller as `tiffin apply` and others use it: what goes wrong, and what goes on meanwhile."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from tiffin.kits import processes
from tiffin.kits.paths import DataDirectory
from tiffin.local import home as homes
from tiffin.local.store import Store

pytestmark = pytest.mark.slow

KSERVE = """
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {{name: {name}}}
spec:
  predictor:
    minReplicas: {replicas}
    maxReplicas: {replicas}
    model:
      modelFormat: {{name: sklearn}}
      protocolVersion: v2
      storageUri: {uri}
"""
SERVICE = """
import sys
import bentoml

@bentoml.service
class {name}:
    def __init__(self) -> None:
        {body}

    @bentoml.api
    def answer(self, text: str) -> str:
        return text
"""
BODY = json.dumps(
    {"inputs": [{"name": "input-0", "shape": [1, 4], "datatype": "FP64", "data": [5.1, 3.5, 1.4, 0.2]}]}
)


@dataclass
class Machine:
    """A data directory with a controller that is started, killed and started again."""

    root: Path
    model: Path
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def data(self) -> DataDirectory:
        return DataDirectory(self.root / "home")

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "TIFFIN_HOME": str(self.data.root)}

    def up(self, *paths: Path, port: int = 0) -> dict[str, Any]:
        """Start a controller; its report once everything answers."""
        number = len(self.started)
        out, err = self.root / f"{number}.out", self.root / f"{number}.err"
        command = [sys.executable, "-m", "tiffin", "up", *map(str, paths), "--json", "--port", str(port)]
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(command, stdout=stdout, stderr=stderr, env=self.environment)
        self.started.append(process)

        def read() -> Any:
            assert process.poll() is None, err.read_text()
            with contextlib.suppress(ValueError):
                return json.loads(out.read_text())
            return None

        return eventually(read, seconds=90)  # type: ignore[no-any-return]

    def said(self) -> str:
        return (self.root / f"{len(self.started) - 1}.err").read_text()

    def kill(self) -> None:
        self.started[-1].kill()
        self.started[-1].wait()

    def tiffin(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tiffin", *map(str, arguments)]
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=90, check=False
        )

    def get(self, name: str) -> dict[str, Any]:
        done = self.tiffin("get", name, "-o", "json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)  # type: ignore[no-any-return]

    def condition(self, name: str, type: str = "Ready") -> dict[str, Any]:
        """The status in KServe's words or Tiffin's."""
        conditions = self.status(name)["conditions"]
        return next(one for one in conditions if one["type"] == type)

    def status(self, name: str) -> dict[str, Any]:
        connection = Api(str(self.data.root / "api.sock"))
        connection.request("GET", f"/v1/namespaces/default/deployments/{name}/status")
        response = connection.getresponse()
        found = json.loads(response.read())
        connection.close()
        assert response.status == 200, found
        return found  # type: ignore[no-any-return]

    def file(self, name: str, *, replicas: int = 1, uri: object = "") -> Path:
        path = self.root / f"{name}.yaml"
        path.write_text(KSERVE.format(name=name, replicas=replicas, uri=uri or self.model))
        return path

    def service(self, name: str, body: str) -> Path:
        directory = self.root / name.lower()
        directory.mkdir()
        (directory / "service.py").write_text(SERVICE.format(name=name, body=body))
        (directory / "bentofile.yaml").write_text(f'service: "service:{name}"\n')
        return directory

    def pids(self) -> list[int]:
        """Of ready replicas, by their notes."""
        store = Store(self.data.root / "controller.db")
        found = [one.identity.pid for one in store.replicas() if one.ready and one.identity is not None]
        store.close()
        return found


class Api(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("tiffin", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(30)
        self.sock.connect(self._path)


class Load:
    """Callers that ask all the time; what they were answered, by status or error."""

    def __init__(self, gateway: str, path: str, *, callers: int = 3) -> None:
        self.answers: Counter[str] = Counter()
        self._address = gateway.removeprefix("http://")
        self._path = path
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(callers)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    @property
    def failed(self) -> dict[str, int]:
        return {answer: count for answer, count in self.answers.items() if answer != "200"}

    def _run(self) -> None:
        connection: http.client.HTTPConnection | None = None
        while not self._over.is_set():
            try:
                if connection is None:
                    connection = http.client.HTTPConnection(self._address, timeout=30)
                connection.request("POST", self._path, BODY, {"content-type": "application/json"})
                response = connection.getresponse()
                response.read()
                self.answers[str(response.status)] += 1
            except (OSError, http.client.HTTPException) as error:
                self.answers[type(error).__name__] += 1
                if connection is not None:
                    connection.close()
                connection = None
                time.sleep(0.01)
        if connection is not None:
            connection.close()


def eventually(ask: Any, *, seconds: float = 40) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = ask()
        if answer:
            return answer
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    joblib = pytest.importorskip("joblib")
    datasets = pytest.importorskip("sklearn.datasets")
    linear_model = pytest.importorskip("sklearn.linear_model")
    x, y = datasets.load_iris(return_X_y=True)
    directory = tmp_path_factory.mktemp("model")
    joblib.dump(linear_model.LogisticRegression(max_iter=500).fit(x, y), directory / "model.joblib")
    return directory


@pytest.fixture
def machine(tmp_path: Path, model: Path) -> Iterator[Machine]:
    made = Machine(tmp_path, model)
    yield made
    for process in made.started:
        if process.poll() is None:
            process.kill()
            process.wait()
    homes.clear(made.data, grace_seconds=1)


def test_a_killed_controller_and_a_killed_gateway_lose_nothing_that_was_desired(machine: Machine) -> None:
    report = machine.up()
    assert machine.tiffin("apply", "-f", machine.file("iris", replicas=2)).returncode == 0
    assert machine.tiffin("wait", "iris", "--for=condition=Ready").returncode == 0
    port = int(report["gateway"].rpartition(":")[2])
    with Load(report["gateway"], "/v2/models/iris/infer") as load:
        eventually(lambda: load.answers["200"] > 50)
        machine.kill()
        so_far = load.answers["200"]
        eventually(lambda: load.answers["200"] > so_far + 50)
        again = machine.up(port=port)
        so_far = load.answers["200"]
        eventually(lambda: load.answers["200"] > so_far + 50)
    # Nobody noticed that the controller was killed and another one came.
    assert load.failed == {}
    assert again["adopted"] == 2
    state = homes.read_state(machine.data)
    assert state is not None
    assert state.gateway is not None
    with Load(report["gateway"], "/v2/models/iris/infer") as load:
        eventually(lambda: load.answers["200"] > 50)
        os.kill(state.gateway.pid, signal.SIGKILL)
        so_far = load.answers["200"]
        eventually(lambda: load.answers["200"] > so_far + 100)
    # Connections break; nobody gets a wrong answer, and it is soon over (well below a second, on an idle machine).
    assert all(not answer.isdigit() for answer in load.failed), load.failed
    # What was applied to stay is there after a stop, too.
    machine.started[-1].send_signal(signal.SIGINT)
    assert machine.started[-1].wait(40) == 0
    last = machine.up()
    assert [one["deployment"] for one in last["served"]] == ["default/iris"], (
        last,
        machine.said(),
        machine.status("iris"),
    )


def test_what_goes_wrong_with_one_deployment_is_told_and_leaves_the_others_alone(machine: Machine) -> None:
    gone, empty = machine.root / "gone", machine.root / "empty"
    gone.mkdir()
    empty.mkdir()
    (empty / "model.joblib").touch()
    report = machine.up(machine.file("iris", replicas=2))
    expected = {
        "raises": ("ModelLoadFailed", "no more beans"),
        "leaves": ("StartFailed", "ended with exit code 7"),
        "empty": ("ModelLoadFailed", "model.joblib"),
        "gone": ("FetchFailed", "no file or directory"),
    }
    with Load(report["gateway"], "/v2/models/iris/infer", callers=1) as load:
        for path in (
            machine.service("Raises", 'raise ValueError("no more beans")'),
            machine.service("Leaves", "sys.exit(7)"),
            machine.service("Hangs", "import threading; threading.Event().wait()"),
            machine.file("empty", uri=empty),
            machine.file("gone", uri=gone / "away"),
        ):
            done = machine.tiffin("apply", "-f", path)
            assert done.returncode == 0, done.stderr
        for name, (reason, message) in expected.items():

            def failed(name: str = name) -> Any:
                found = machine.condition(name)
                return found if found["status"] == "False" else None

            found = eventually(failed, seconds=60)
            assert found["reason"] == reason, found
            assert message in found["message"], found
        # One that hangs keeps nobody from starting, and can be deleted while it starts.
        assert machine.condition("hangs")["status"] == "Unknown"
        assert machine.tiffin("delete", "hangs").returncode == 0
        (gone / "away").mkdir()
        (gone / "away" / "model.joblib").write_bytes((machine.model / "model.joblib").read_bytes())
        assert machine.tiffin("wait", "gone", "--for=condition=Ready", "--timeout", "70s").returncode == 0
    assert load.failed == {}
    assert load.answers["200"] > 50
    assert "no more beans" in machine.tiffin("describe", "raises").stdout
    assert "SystemExit: 7" in machine.tiffin("describe", "leaves").stdout


def test_a_deployment_that_the_gateway_refuses_keeps_no_other_from_changing(machine: Machine) -> None:
    def file(name: str, value: str) -> Path:
        keys = json.dumps({"keys": [{"kty": "RSA", "n": value, "e": "AQAB"}]})
        traffic = {"jwt": {"issuer": "me", "jwks": keys, "required": False}} if value else {}
        document = {
            "apiVersion": "tiffin.dev/v1",
            "kind": "Deployment",
            "metadata": {"name": name},
            "spec": {"model": str(machine.model), "traffic": traffic},
        }
        path = machine.root / f"{name}.json.yaml"
        path.write_text(json.dumps(document))
        return path

    def refused(name: str) -> Any:
        found = machine.condition(name, "Routed")
        return found if (found["status"], found["reason"]) == ("False", "GatewayRefused") else None

    def served(name: str) -> bool:
        return bool(machine.tiffin("wait", name, "--for=condition=Ready", "--timeout", "60s").returncode == 0)

    bad = "!!!"
    report = machine.up(file("first", ""))
    with Load(report["gateway"], "/v2/models/first/infer", callers=1) as load:
        # A new one that is refused is left out; others come and change.
        assert machine.tiffin("apply", "-f", file("never", bad)).returncode == 0
        told = eventually(lambda: refused("never"))
        assert 0 < len(told["message"]) <= 300
        assert "default/first" not in told["message"]
        assert machine.tiffin("apply", "-f", file("second", "")).returncode == 0
        assert served("second")
        # One that was taken goes on as it was.
        assert machine.tiffin("apply", "-f", file("first", bad)).returncode == 0
        eventually(lambda: refused("first"))
        assert machine.tiffin("scale", "second", "--min", "2", "--max", "2").returncode == 0
        eventually(lambda: len(machine.pids()) == 4)
        events = machine.tiffin("events", "first").stdout
        assert "GatewayRefused" in events
        # Put right, both are served.
        for name in ("never", "first"):
            assert machine.tiffin("apply", "-f", file(name, "")).returncode == 0
            assert served(name)
    assert load.failed == {}
    assert load.answers["200"] > 20
    # Another controller that finds one that is refused starts all the same, and serves the others.
    assert machine.tiffin("apply", "-f", file("never", bad)).returncode == 0
    eventually(lambda: refused("never"))
    machine.kill()
    machine.up()
    eventually(lambda: refused("never"))
    assert served("first")
    assert served("second")


def test_two_clients_that_apply_the_same_at_once_make_one_revision(machine: Machine) -> None:
    machine.up()
    path = machine.file("iris")
    results: list[subprocess.CompletedProcess[str]] = []
    threads = [
        threading.Thread(target=lambda: results.append(machine.tiffin("apply", "-f", path))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.stdout.split()[-1] for one in results) == ["created", "unchanged"], results
    assert machine.tiffin("wait", "iris", "--for=condition=Ready").returncode == 0
    assert [one["name"] for one in machine.status("iris")["revisions"]] == ["iris-00001"]


def test_replacing_and_killing_under_load_loses_no_call(machine: Machine) -> None:
    report = machine.up(machine.file("iris", replicas=2))
    with Load(report["gateway"], "/v2/models/iris/infer") as load:
        for round in range(3):
            path = machine.file("iris", replicas=2, uri=f"{machine.model}{'/' * (round + 1)}")
            assert machine.tiffin("apply", "-f", path).returncode == 0
            assert machine.tiffin("wait", "iris", "--for=condition=Ready").returncode == 0
            eventually(lambda: len(machine.pids()) == 2)
        for _ in range(3):
            victim = machine.pids()[0]
            os.kill(victim, signal.SIGKILL)
            eventually(lambda victim=victim: len(machine.pids()) == 2 and victim not in machine.pids())
    assert load.failed == {}
    assert load.answers["200"] > 200
    names = [one["name"] for one in machine.status("iris")["revisions"] if one["weight"] > 0]
    assert names == ["iris-00004"]


def test_a_controller_whose_directory_is_deleted_stops_and_leaves_nothing(machine: Machine) -> None:
    machine.up(machine.file("iris"))
    mine = processes.mentioning(str(machine.data.root))
    assert mine
    shutil.rmtree(machine.data.root)
    assert machine.started[-1].wait(60) == 0
    assert "was deleted" in machine.said()
    assert processes.wait_gone(mine, seconds=10) == []
    assert not machine.data.root.exists()


def test_what_is_stopped_and_answers_nobody_is_replaced(machine: Machine) -> None:
    report = machine.up(machine.file("iris", replicas=2))
    eventually(lambda: len(machine.pids()) == 2)
    replica = machine.pids()[0]
    (gateway,) = processes.mentioning(f"{machine.data.run}/envoy/")
    for pid in (gateway.pid, replica):
        os.kill(pid, signal.SIGSTOP)
    eventually(lambda: processes.find(gateway) is None, seconds=60)
    eventually(lambda: len(machine.pids()) == 2 and replica not in machine.pids(), seconds=90)
    with Load(report["gateway"], "/v2/models/iris/infer") as load:
        eventually(lambda: load.answers["200"] > 50)
    assert "Unresponsive" in machine.tiffin("events", "iris").stdout


def test_deleting_while_it_starts_leaves_nothing(machine: Machine) -> None:
    machine.up()
    assert machine.tiffin("apply", "-f", machine.file("iris", replicas=4)).returncode == 0
    assert machine.tiffin("delete", "iris").returncode == 0
    eventually(lambda: not machine.pids() and "iris" not in machine.tiffin("get").stdout)

    def replicas() -> list[processes.Identity]:
        return processes.mentioning(f"{machine.data.run}/replicas/")

    eventually(lambda: not [one for one in replicas() if _is_replica(one)])


def _is_replica(identity: processes.Identity) -> bool:
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(identity.pid)
        return process.name() == "tiffin-replica" or "--replica" in process.cmdline()
    return False
