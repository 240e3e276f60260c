"""``tiffin up`` and ``tiffin down`` as a user runs them: real replicas, the real Envoy, real signals."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tiffin.kits import processes, waiting
from tiffin.kits.paths import DataDirectory
from tiffin.local import home as homes

pytestmark = pytest.mark.slow

KSERVE = """
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {{name: {name}}}
spec:
  predictor:
    minReplicas: {replicas}
    model:
      modelFormat: {{name: sklearn}}
      protocolVersion: v2
      runtime: kserve-sklearnserver
      storageUri: {uri}
"""
V2 = {"inputs": [{"name": "input-0", "shape": [1, 4], "datatype": "FP64", "data": [[5.1, 3.5, 1.4, 0.2]]}]}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    joblib = pytest.importorskip("joblib")
    datasets = pytest.importorskip("sklearn.datasets")
    linear_model = pytest.importorskip("sklearn.linear_model")
    x, y = datasets.load_iris(return_X_y=True)
    directory = tmp_path_factory.mktemp("model")
    joblib.dump(linear_model.LogisticRegression(max_iter=500).fit(x, y), directory / "model.joblib")
    return directory


@dataclass
class Home:
    """A data directory, and all that was started with it."""

    root: Path
    model: Path
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def data(self) -> DataDirectory:
        return DataDirectory(self.root / "home")

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "TIFFIN_HOME": str(self.data.root)}

    def file(self, name: str, *, replicas: int = 1, uri: str = "") -> Path:
        path = self.root / f"{name}.yaml"
        path.write_text(KSERVE.format(name=name, replicas=replicas, uri=uri or self.model))
        return path

    def spawn(self, *arguments: object, port: int = 0) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tiffin", "up", *map(str, arguments), "--json", "--port", str(port)]
        number = len(self.started)
        with (self.root / f"{number}.out").open("wb") as out, (self.root / f"{number}.err").open("wb") as err:
            process = subprocess.Popen(command, stdout=out, stderr=err, env=self.environment)
        self.started.append(process)
        return process

    def said(self, process: subprocess.Popen[bytes]) -> str:
        return (self.root / f"{self.started.index(process)}.err").read_text()

    def report(self, process: subprocess.Popen[bytes]) -> dict[str, Any]:
        """What it prints once everything answers."""
        path = self.root / f"{self.started.index(process)}.out"

        def read() -> dict[str, Any] | None:
            if process.poll() is not None:
                raise AssertionError(f"ended with {process.returncode}: {self.said(process)}")
            try:
                return json.loads(path.read_text())  # type: ignore[no-any-return]
            except ValueError:
                return None

        report = eventually(read, seconds=60)
        assert report is not None, self.said(process)
        return report

    def down(self) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tiffin", "down"]
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )

    def leftovers(self) -> list[str]:
        """Every process with this home on its command line, and every file of a run."""
        commands = []
        for identity in processes.mentioning(str(self.data.root)):
            with contextlib.suppress(psutil.Error):
                commands.append(" ".join(psutil.Process(identity.pid).cmdline()))
        return commands + [str(path) for path in self.data.run.rglob("*")]

    def replicas(self) -> list[psutil.Process]:
        return [
            psutil.Process(identity.pid)
            for identity in processes.mentioning(str(self.data.run))
            if is_replica(identity)
        ]


def is_replica(identity: processes.Identity) -> bool:
    """One that was started as it is, or forked from a warm process (whose command line it has)."""
    with contextlib.suppress(psutil.Error):  # One that has just ended.
        process = psutil.Process(identity.pid)
        return process.name() == "tiffin-replica" or "--replica" in process.cmdline()
    return False


def eventually(ask: Any, *, seconds: float = 20) -> Any:
    async def asked() -> Any:
        return ask()

    return asyncio.run(waiting.until(asked, seconds=seconds, every_seconds=0.05))


@pytest.fixture
def home(tmp_path: Path, model: Path) -> Iterator[Home]:
    made = Home(tmp_path, model)
    yield made
    for process in made.started:
        if process.poll() is None:
            process.kill()
            process.wait()
    homes.clear(made.data, grace_seconds=1)


# There is no TLS here, and reading the certificates for it would take longer than a call.
PLAIN: dict[str, Any] = {"verify": False, "timeout": 10}


def ask(report: dict[str, Any], name: str) -> httpx.Response:
    return httpx.post(f"{report['gateway']}/v2/models/{name}/infer", json=V2, **PLAIN)


def test_a_deployment_answers_at_its_addresses_and_ctrl_c_leaves_nothing(home: Home) -> None:
    process = home.spawn(home.file("iris"))
    report = home.report(process)
    assert ask(report, "iris").json()["outputs"][0]["data"] == [0]
    gateway = report["gateway"]
    by_host = {"host": "iris.default.example.com"}
    own = httpx.post(f"{gateway}/default/iris/v2/models/iris/infer", json=V2, **PLAIN)
    host = httpx.post(f"{gateway}/v2/models/iris/infer", json=V2, headers=by_host, **PLAIN)
    assert own.status_code == host.status_code == 200
    assert httpx.get(f"{gateway}/v2/models/other", **PLAIN).status_code == 404
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    assert home.leftovers() == []
    with pytest.raises(httpx.ConnectError):
        httpx.get(gateway, **PLAIN)


def test_the_curl_line_works_as_it_is_printed(home: Home) -> None:
    process = home.spawn(home.file("iris"))
    (served,) = home.report(process)["served"]
    done = subprocess.run(served["curl"], shell=True, capture_output=True, text=True, timeout=20, check=True)
    assert json.loads(done.stdout)["model_name"] == "iris"


def test_a_call_in_hand_is_finished_when_it_is_told_to_stop(home: Home) -> None:
    process = home.spawn(home.file("iris"))
    port = int(home.report(process)["gateway"].rpartition(":")[2])
    body = json.dumps(V2).encode()
    head = b"POST /v2/models/iris/infer HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(head % len(body) + body[:-1])
        # The request has reached its replica once Envoy has one in flight; ask a second one to be sure of order.
        assert ask({"gateway": f"http://127.0.0.1:{port}"}, "iris").status_code == 200
        process.send_signal(signal.SIGTERM)
        assert eventually(lambda: True if "stopping" in home.said(process) else None)
        connection.sendall(body[-1:])
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
    assert process.wait(40) == 0
    assert home.leftovers() == []


def test_a_replica_that_is_killed_is_replaced_and_no_call_is_lost(home: Home) -> None:
    process = home.spawn(home.file("iris", replicas=2))
    report = home.report(process)
    before = home.replicas()
    assert len(before) == 2
    before[0].kill()
    assert {ask(report, "iris").status_code for _ in range(50)} == {200}

    def replaced() -> bool | None:
        assert ask(report, "iris").status_code == 200
        return True if "ready again" in home.said(process) else None

    assert eventually(replaced, seconds=40), home.said(process)
    assert "was ended by SIGKILL" in home.said(process)
    after = home.replicas()
    assert len(after) == 2
    assert before[1] in after
    before[1].kill()
    assert {ask(report, "iris").status_code for _ in range(50)} == {200}


def test_what_a_killed_up_leaves_goes_on_and_is_adopted_by_the_next_one(home: Home) -> None:
    file = home.file("iris", replicas=2)
    first = home.spawn(file)
    report = home.report(first)
    orphans = home.replicas()
    gateway = homes.read_state(home.data)
    first.kill()
    first.wait()
    assert ask(report, "iris").status_code == 200
    second = home.spawn(file, port=int(report["gateway"].rpartition(":")[2]))
    again = home.report(second)
    assert again["adopted"] == 2
    assert "adopted 2 processes that an earlier `tiffin up` left running" in home.said(second)
    assert home.replicas() == orphans
    after = homes.read_state(home.data)
    assert gateway is not None
    assert after is not None
    assert gateway.gateway == after.gateway
    assert again["gateway"] == report["gateway"]
    assert ask(again, "iris").status_code == 200
    # What was adopted is looked after as if it had been started here.
    orphans[0].kill()
    assert eventually(lambda: True if "ready again" in home.said(second) else None, seconds=30), home.said(second)
    second.send_signal(signal.SIGTERM)
    assert second.wait(20) == 0
    assert home.leftovers() == []


def test_what_a_killed_up_had_and_the_next_one_is_not_given_goes(home: Home) -> None:
    first = home.spawn(home.file("iris"), home.file("other"))
    home.report(first)
    first.kill()
    first.wait()
    second = home.spawn(home.file("iris"))
    report = home.report(second)
    assert [served["deployment"] for served in report["served"]] == ["default/iris"]
    assert eventually(lambda: len(home.replicas()) == 1 or None)
    assert ask(report, "iris").status_code == 200
    assert ask(report, "other").status_code == 404


def test_what_a_killed_up_leaves_is_stopped_by_down(home: Home) -> None:
    first = home.spawn(home.file("iris"))
    home.report(first)
    first.kill()
    first.wait()
    done = home.down()
    assert done.returncode == 0
    assert "stopped 2 processes" in done.stderr
    assert home.leftovers() == []
    assert "nothing runs here" in home.down().stderr


def test_a_start_that_comes_to_nothing_leaves_what_a_killed_up_left_as_it_is(home: Home) -> None:
    file = home.file("iris")
    first = home.spawn(file)
    report = home.report(first)
    port = int(report["gateway"].rpartition(":")[2])
    left = home.replicas()
    first.kill()
    first.wait()
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert home.spawn(file, port=server.getsockname()[1]).wait(20) == 3
    wrong = home.root / "wrong.yaml"
    wrong.write_text(file.read_text().replace("spec:", "spek:"))
    assert home.spawn(wrong, port=port).wait(20) == 1
    assert ask(report, "iris").status_code == 200
    again = home.report(home.spawn(file, port=port))
    assert again["adopted"] == 1
    assert home.replicas() == left
    assert ask(again, "iris").status_code == 200


def test_processes_whose_files_were_deleted_are_stopped_by_down(home: Home) -> None:
    first = home.spawn(home.file("iris"))
    home.report(first)
    first.kill()
    first.wait()
    shutil.rmtree(home.data.root)
    done = home.down()
    assert "that a killed `tiffin up` left behind" in done.stderr
    assert home.leftovers() == []


def test_a_kill_while_it_starts_leaves_nothing_that_is_not_found(home: Home) -> None:
    process = home.spawn(home.file("iris", replicas=3))
    assert eventually(lambda: home.replicas() or None, seconds=30)
    process.kill()
    process.wait()
    assert home.down().returncode == 0
    assert home.leftovers() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_while_it_starts_leaves_nothing(home: Home, number: signal.Signals) -> None:
    process = home.spawn(home.file("iris", replicas=2))
    assert eventually(lambda: home.replicas() or None, seconds=30)
    process.send_signal(number)
    assert process.wait(20) == 0
    assert home.leftovers() == []


def test_down_stops_a_running_up(home: Home) -> None:
    process = home.spawn(home.file("iris"))
    home.report(process)
    done = home.down()
    assert done.returncode == 0
    assert f"stopping `tiffin up` (pid {process.pid}" in done.stderr
    assert process.wait(5) == 0
    assert home.leftovers() == []


def test_a_second_up_on_the_same_home_is_refused_and_the_first_goes_on(home: Home) -> None:
    first = home.spawn(home.file("iris"))
    report = home.report(first)
    port = int(report["gateway"].rpartition(":")[2])
    second = home.spawn(home.file("other"))
    assert second.wait(20) == 3
    assert f"another `tiffin up` (pid {first.pid}, port {port}) already runs" in home.said(second)
    assert "tiffin down" in home.said(second)
    assert ask(report, "iris").status_code == 200


def test_a_port_of_somebody_else_is_told_and_nothing_started(home: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        process = home.spawn(home.file("iris"), port=server.getsockname()[1])
        assert process.wait(20) == 3
    assert f"is in use by python (pid {os.getpid()})" in home.said(process).replace("python3", "python")
    assert home.leftovers() == []


def broken_envoy(root: Path, body: str) -> Path:
    path = root / "envoy"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("body", ["exit 1", "kill -9 $$", "echo no >&2; exec /no/such/program"])
def test_a_gateway_that_cannot_run_is_told_and_nothing_left(
    home: Home, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    monkeypatch.setenv("TIFFIN_ENVOY", str(broken_envoy(home.root, body)))
    process = home.spawn(home.file("iris"))
    assert process.wait(30) == 3
    assert "the gateway (Envoy)" in home.said(process)
    assert home.leftovers() == []
    assert "nothing runs here" in home.down().stderr


def test_a_start_without_a_gateway_keeps_track_of_the_replicas_of_a_killed_up(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = home.file("iris")
    first = home.spawn(file)
    home.report(first)
    left = home.replicas()
    first.kill()
    first.wait()
    state = homes.read_state(home.data)
    assert state is not None
    assert state.gateway is not None
    psutil.Process(state.gateway.pid).kill()
    monkeypatch.setenv("TIFFIN_ENVOY", str(broken_envoy(home.root, "exit 1")))
    assert home.spawn(file).wait(30) == 3
    assert home.replicas() == left
    monkeypatch.delenv("TIFFIN_ENVOY")
    again = home.spawn(file)
    report = home.report(again)
    assert report["adopted"] == 1
    assert ask(report, "iris").status_code == 200
    for process in (again, *left):
        process.kill()
    again.wait()
    home.down()
    assert home.leftovers() == []
    assert not homes.sockets_of(home.data).exists()


def test_one_deployment_that_cannot_start_does_not_stop_the_others(home: Home) -> None:
    broken = home.root / "broken"
    broken.mkdir()
    (broken / "model.joblib").write_bytes(b"not a model")
    process = home.spawn(home.file("iris"), home.file("bad", uri=str(broken)), home.file("gone", uri="./none"))
    report = home.report(process)
    assert [served["deployment"] for served in report["served"]] == ["default/iris"]
    assert set(report["errors"]) == {"default/bad", "default/gone"}
    assert report["errors"]["default/bad"].startswith("expected model.joblib to hold")
    assert ask(report, "iris").status_code == 200
    assert ask(report, "bad").status_code == 404


def test_when_nothing_can_start_it_says_why_and_exits_3(home: Home) -> None:
    process = home.spawn(home.file("gone", uri="./none"))
    assert process.wait(20) == 3
    assert "error: nothing could be started" in home.said(process)
    assert "Traceback" not in home.said(process)
    assert home.leftovers() == []


def test_a_file_with_a_mistake_is_refused_before_anything_starts(home: Home) -> None:
    path = home.root / "typo.yaml"
    path.write_text(KSERVE.format(name="iris", replicas=1, uri=home.model).replace("predictor", "predicter"))
    process = home.spawn(home.file("iris"), path)
    assert process.wait(20) == 1
    assert "predict" in home.said(process)
    assert home.leftovers() == []


def test_a_gateway_that_is_killed_comes_back(home: Home) -> None:
    process = home.spawn(home.file("iris"))
    report = home.report(process)
    state = homes.read_state(home.data)
    assert state is not None
    assert state.gateway is not None
    os.kill(state.gateway.pid, signal.SIGKILL)

    def answers() -> bool | None:
        with contextlib.suppress(httpx.TransportError):
            return ask(report, "iris").status_code == 200 or None
        return None

    assert eventually(answers)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert home.leftovers() == []
