"""Replicas forked from warm processes: real forks of a real framework."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import psutil
import pytest

from tiffin.kits import http, processes, waiting
from tiffin.local.launching import ProcessRunning
from tiffin.local.seams import Order
from tiffin.local.zygotes import ForkRunning, Zygotes
from tiffin.spec import Artefact, Component, Listen, ModelSource, ReplicaSpec, Resources

CALL = json.dumps({"instances": [[5.1, 3.5, 1.4, 0.2]]}).encode()


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory with a short name: sockets need one."""
    path = Path(tempfile.mkdtemp(prefix="tf-"))
    yield path
    shutil.rmtree(path)


def order(home: Path, model: Path, name: str, *, orders: Path | None = None, **environment: str) -> Order:
    component = Component(
        source=ModelSource(artefact=Artefact(str(model))), environment=environment, resources=Resources(cpu=2)
    )
    spec = ReplicaSpec(
        deployment="iris",
        model_name="iris",
        component=component,
        path=str(model),
        listen=Listen(unix=str(home / f"{name}.sock")),
    )
    file = (orders or home / "orders") / f"{name}.json"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(msgspec.json.encode(spec))
    return Order(name=name, spec=spec, file=file, log=home / f"{name}.log", environment=environment)


@contextlib.asynccontextmanager
async def zygotes(home: Path) -> AsyncIterator[Zygotes]:
    made = Zygotes(home, home / "orders", home)
    started: list[ProcessRunning] = []
    launch = made.launch

    async def noted(what: Order) -> ProcessRunning:
        started.append(await launch(what))
        return started[-1]

    made.launch = noted  # type: ignore[method-assign]
    try:
        yield made
    finally:
        for running in started:
            await running.stop(grace_seconds=5)
        await made.close()
    assert processes.mentioning(f"{home}/") == []


async def ready(running: ProcessRunning) -> None:
    async def ask() -> bool | None:
        assert running.exit_code is None, running.describe_end()
        return True if await running.is_ready() else None

    assert await waiting.until(ask, seconds=30)


def predict(running: ProcessRunning) -> object:
    answer = http.request(
        "POST",
        running.endpoint,
        "/v1/models/iris:predict",
        body=CALL,
        headers={"content-type": "application/json"},
        seconds=10,
    )
    assert answer is not None
    return json.loads(answer.body)


def test_a_fork_is_a_replica_like_any_other_and_far_sooner_ready(home: Path, iris_model: Path) -> None:
    async def run() -> None:
        async with zygotes(home) as made:
            first = await made.launch(order(home, iris_model, "r1", TIFFIN_LOG_LEVEL="DEBUG", MINE="yes"))
            await ready(first)
            assert isinstance(first, ForkRunning)
            began = time.monotonic()
            second = await made.launch(order(home, iris_model, "r2"))
            await ready(second)
            # Without: two seconds of imports.
            assert time.monotonic() - began < 1.0
            assert set(second.start_seconds) == {"fork", "import", "load", "warm-up"}
            assert sum(second.start_seconds.values()) < 1.0
            assert predict(first) == predict(second) == {"predictions": [0]}
            # Each has its own session, log and variables; what keeps the warm process quiet is not theirs.
            processes_ = [psutil.Process(running.identity.pid) for running in (first, second)]
            assert all(os.getsid(process.pid) == process.pid for process in processes_)
            assert "DEBUG" in (home / "r1.log").read_text()
            assert "ready after" in (home / "r2.log").read_text()
            assert "DEBUG" not in (home / "r2.log").read_text()
            metrics = http.get(second.endpoint, "/metrics")
            assert metrics is not None
            assert b'tiffin_start_seconds{deployment="iris",namespace="default",phase="load"}' in metrics.body
            # No descriptor of the warm process, nor of its sibling.
            kinds = [
                os.readlink(f"/proc/{second.identity.pid}/fd/{fd}")
                for fd in os.listdir(f"/proc/{second.identity.pid}/fd")
            ]
            assert not [kind for kind in kinds if kind.endswith("r1.log")]
            warm = processes_[0].parent()
            assert warm is not None
            assert warm.num_threads() == 1
            await second.stop(grace_seconds=10)
            assert second.exit_code == 0
            first.kill()
            assert await first.exited() == -signal.SIGKILL
            assert "SIGKILL" in first.describe_end()

    asyncio.run(run())


def test_what_cannot_load_says_so_and_ends_with_its_code(home: Path) -> None:
    async def run() -> None:
        broken = home / "broken.joblib"
        broken.write_bytes(b"\x80\x04this is no pickle")
        async with zygotes(home) as made:
            running = await made.launch(order(home, broken, "r1"))
            assert isinstance(running, ForkRunning)
            assert await asyncio.wait_for(running.exited(), 20) == 3
            assert not await running.is_ready()
            assert "could not load" in (home / "r1.log").read_text()

    asyncio.run(run())


def test_a_warm_process_that_dies_takes_no_replica_with_it_and_is_replaced(home: Path, iris_model: Path) -> None:
    async def run() -> None:
        async with zygotes(home) as made:
            first = await made.launch(order(home, iris_model, "r1"))
            await ready(first)
            warm = psutil.Process(first.identity.pid).parent()
            assert warm is not None
            warm.kill()
            assert predict(first) == {"predictions": [0]}
            second = await made.launch(order(home, iris_model, "r2"))
            await ready(second)
            assert isinstance(second, ForkRunning)
            assert predict(second) == {"predictions": [0]}
            # Its end is seen all the same, though not its code.
            await first.stop(grace_seconds=10)
            assert first.exit_code == processes.UNKNOWN

    asyncio.run(run())


def test_replicas_outlive_a_controller_and_are_adopted(home: Path, iris_model: Path) -> None:
    async def run() -> None:
        made = Zygotes(home, home / "orders", home)
        what = order(home, iris_model, "r1")
        first = await made.launch(what)
        await ready(first)
        await made.close()
        assert predict(first) == {"predictions": [0]}
        adopted = await made.adopt(what, first.identity, first.endpoint)
        assert adopted is not None
        assert await adopted.is_ready()
        await adopted.stop(grace_seconds=10)
        assert processes.find(first.identity) is None
        assert await made.adopt(what, first.identity, first.endpoint) is None

    asyncio.run(run())


def test_variables_that_imports_read_ask_for_a_start_from_nothing(home: Path, iris_model: Path) -> None:
    async def run() -> None:
        async with zygotes(home) as made:
            running = await made.launch(order(home, iris_model, "r1", OMP_NUM_THREADS="3"))
            assert not isinstance(running, ForkRunning)
            await ready(running)
            empty = home / "nothing"
            empty.mkdir()
            lost = await made.launch(order(home, empty, "r2"))
            assert await asyncio.wait_for(lost.exited(), 20) == 3

    asyncio.run(run())


def test_orders_from_elsewhere_and_nonsense_are_refused(home: Path, iris_model: Path) -> None:
    async def run() -> None:
        async with zygotes(home) as made:
            zygote = await made._zygote("sklearn")
            elsewhere = order(home, iris_model, "r1", orders=home)
            running = await made.launch(elsewhere)
            assert not isinstance(running, ForkRunning)
            zygote._writer.write(b"nonsense\n[]\n{}\n")
            # It takes one client: another is not listened to.
            with socket.socket(socket.AF_UNIX) as other:
                other.settimeout(0.2)
                other.connect(zygote._writer.get_extra_info("peername"))
                other.sendall(
                    json.dumps({"file": str(home / "orders" / "x"), "log": str(home / "x")}).encode() + b"\n"
                )
                with pytest.raises(TimeoutError):
                    other.recv(1)
            good = await made.launch(order(home, iris_model, "r3"))
            assert isinstance(good, ForkRunning)
            await ready(good)

    asyncio.run(run())
