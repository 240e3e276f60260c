"""Calls of real replicas: recorded by one, sent again to another, compared."""

import asyncio
import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tiffin.local import replaying
from tiffin.local.judging import Judge
from tiffin.local.recordings import Archive, Kept
from tiffin.plan.revision import Revision
from tiffin.spec import (
    Artefact,
    Component,
    Deployment,
    Listen,
    ModelSource,
    Recording,
    ReplicaSpec,
    Spool,
    Variant,
)

pytest.importorskip("pyarrow", reason="needs pyarrow: pip install 'tiffin[record]'")

ROWS = [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3], [5.9, 3.0, 4.2, 1.5]]


class Replica:
    """One real replica on a Unix socket, which records when it is told to."""

    def __init__(self, model: Path, spool: Spool | None, home: Path) -> None:
        self.socket = str(home / "r.sock")
        self.component = Component(source=ModelSource(artefact=Artefact(uri=str(model))))
        spec = ReplicaSpec(
            deployment="iris",
            model_name="iris",
            component=self.component,
            path=str(model),
            listen=Listen(unix=self.socket),
            recording=spool,
        )
        file = home / "replica.json"
        file.write_bytes(msgspec.json.encode(spec))
        self.log = home / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tiffin.runtime", "--replica", str(file)],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def client(self) -> http.client.HTTPConnection:
        client = http.client.HTTPConnection("replica", timeout=20)
        client.sock = socket.socket(socket.AF_UNIX)
        client.sock.settimeout(20)
        try:
            client.sock.connect(self.socket)
        except OSError:
            client.close()
            raise
        return client

    def is_ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            with contextlib.closing(self.client()) as client:
                client.request("GET", "/readyz")
                return client.getresponse().status == 200
        except OSError:
            return False

    def infer(self, call: str, row: list[float], *, binary: bool = False) -> bytes:
        tensor: dict[str, Any] = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": row}
        asked: dict[str, Any] = {"inputs": [tensor]}
        if binary:
            asked["parameters"] = {"binary_data_output": True}
        headers = {"x-request-id": call, "content-type": "application/json", "authorization": "Bearer hidden"}
        with contextlib.closing(self.client()) as client:
            client.request("POST", "/v2/models/iris/infer", msgspec.json.encode(asked), headers)
            answer = client.getresponse()
            assert answer.status == 200
            return answer.read()

    def counted(self, name: str) -> float:
        with contextlib.closing(self.client()) as client:
            client.request("GET", "/metrics")
            page = client.getresponse().read().decode()
        return sum(float(line.split()[-1]) for line in page.splitlines() if line.startswith(name))

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(15)


@pytest.fixture(scope="session")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that calls every second class something else."""
    import joblib
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    path = tmp_path_factory.mktemp("other") / "iris.joblib"
    features, classes = load_iris(return_X_y=True)
    joblib.dump(
        LogisticRegression(max_iter=1000).fit(features, (classes == 1) * 7 + (classes != 1) * classes), path
    )
    return path


@pytest.fixture
def start(until: Callable[..., Any]) -> Iterator[Callable[..., Replica]]:
    with contextlib.ExitStack() as stack:

        def one(model: Path, spool: Spool | None = None) -> Replica:
            home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="t-")))
            made = Replica(model, spool, home)
            stack.callback(made.end)
            until(made.is_ready)
            return made

        yield one


@pytest.fixture
def until() -> Callable[..., Any]:
    import time

    def ask(question: Callable[[], Any], seconds: float = 30.0) -> Any:
        deadline = time.monotonic() + seconds
        while not (answer := question()):
            assert time.monotonic() < deadline, "not so within the time"
            time.sleep(0.02)
        return answer

    return ask


def revision(number: int, variant: str, component: Component) -> Revision:
    return Revision(
        namespace="default",
        deployment="iris",
        number=number,
        variant=variant,
        protocol="open-inference",
        components=(component,),
        digest=str(number),
    )


def test_recorded_compared_and_replayed(
    tmp_path: Path,
    iris_model: Path,
    other_model: Path,
    start: Callable[..., Replica],
    until: Callable[..., Any],
) -> None:
    component = Component(source=ModelSource(artefact=Artefact(uri=str(iris_model))))
    spec = Deployment(
        name="iris",
        components=(component,),
        variants=(Variant(name="next", components=(component,), mirror_percent=100.0),),
        recording=Recording(),
    )
    judge = Judge(tmp_path)
    one, two = revision(1, "main", component), revision(2, "next", component)
    stable = start(iris_model, judge.spool(spec, one, component))
    shadow = start(other_model, judge.spool(spec, two, component))
    plain = start(other_model)

    async def attended(compared: int) -> dict[str, Any]:
        async with asyncio.timeout(20):
            while True:
                await judge.attend([spec])
                report: dict[str, Any] = judge.report(spec.key)
                if report["shadows"] and report["shadows"][0]["compared"] >= compared:
                    return report
                await asyncio.sleep(0.05)

    stable.infer("before", ROWS[0])
    asyncio.run(judge.attend([spec]))
    # It is seen at the next look of the replica, twice a second.
    until(lambda: (stable.infer("warm", ROWS[0]), stable.counted("tiffin_recorded_calls_total"))[1] > 0)
    until(lambda: (shadow.infer("warm", ROWS[0]), shadow.counted("tiffin_recorded_calls_total"))[1] > 0)
    for number in range(30):
        for replica in (stable, shadow):
            replica.infer(f"call-{number}", ROWS[number % 3], binary=number >= 15)
    report = asyncio.run(attended(30))
    (told,) = report["shadows"]
    # The rows of class 1 are called 7 by the other model: one of three.
    assert told["compared"] - told["equal"] == 10
    assert "outputs." in next(iter(told["differencesByPath"]))
    assert {example["differences"][0]["shadow"] for example in told["examples"]} <= {"7", "7.0"}

    replayed: Any = asyncio.run(judge.replay(spec, two, [plain.socket], 1000))
    assert replayed["sent"] >= 30
    assert replayed["failed"] == {}
    assert set(replayed["leftOut"]) <= {"sent already"}
    assert replayed["compared"] - replayed["equal"] == 10
    asyncio.run(judge.close())
    rows = Archive(tmp_path / spec.key, Recording()).read()
    assert "before" not in {kept.record.id for kept in rows}
    assert not any(b"hidden" in msgspec.json.encode(kept.record.headers) for kept in rows)
    assert plain.counted("tiffin_recorded_calls_total") == 0


def test_a_replica_killed_while_it_records_leaves_what_it_wrote(
    tmp_path: Path, iris_model: Path, start: Callable[..., Replica], until: Callable[..., Any]
) -> None:
    component = Component(source=ModelSource(artefact=Artefact(uri=str(iris_model))))
    spec = Deployment(name="iris", components=(component,), recording=Recording())
    judge = Judge(tmp_path)
    replica = start(iris_model, judge.spool(spec, revision(1, "main", component), component))
    asyncio.run(judge.attend([spec]))
    until(lambda: (replica.infer("warm", ROWS[0]), replica.counted("tiffin_recorded_calls_total"))[1] > 0)
    for number in range(20):
        replica.infer(f"call-{number}", ROWS[0])
    until(lambda: replica.counted("tiffin_recorded_calls_total") >= 21)
    replica.end()
    asyncio.run(judge.attend([spec]))
    asyncio.run(judge.close())
    found = {kept.record.id for kept in Archive(tmp_path / spec.key, Recording()).read()}
    assert {f"call-{number}" for number in range(20)} <= found
    assert not list((tmp_path / spec.key / "spool").glob("*/*.spool"))


def test_replaying_at_the_recorded_speed_keeps_the_time_between_calls(
    iris_model: Path, start: Callable[..., Replica]
) -> None:
    replica = start(iris_model)
    answer = replica.infer("a", ROWS[0])
    body = msgspec.json.encode({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": ROWS[0]}]})
    from tiffin.spec.recording import Record

    def kept(number: int) -> Kept:
        return Kept(
            "iris-00001",
            Record(
                f"c{number}",
                100.0 + 0.2 * number,
                0.0,
                "POST",
                "/v2/models/iris/infer",
                "",
                {"content-type": "application/json"},
                body,
                200,
                {},
                answer,
            ),
        )

    calls = [kept(number) for number in range(5)]
    slow = asyncio.run(replaying.replay(calls, "iris-00002", [replica.socket], at_recorded_speed=True))
    fast = asyncio.run(replaying.replay(calls, "iris-00002", [replica.socket]))
    assert slow.seconds >= 0.8
    assert fast.seconds < slow.seconds
    assert (slow.tally.compared, slow.tally.equal) == (5, 5)


def test_a_replica_that_has_gone_is_counted_not_raised() -> None:
    from tiffin.spec.recording import Record

    record = Record("c", 1.0, 0.0, "POST", "/p", "a=b%20c", {}, b"{}", 200, {}, b"{}")
    done = asyncio.run(replaying.replay([Kept("iris-00001", record)], "iris-00002", ["/nowhere/r.sock"]))
    assert (done.sent, done.tally.compared, sum(done.failed.values())) == (1, 0, 1)
