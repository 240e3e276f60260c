"""Deployments that go to zero and come back: a real controller, Envoy, activator, and forked replicas."""

import asyncio
import contextlib
import json
import shutil
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tiffin.gateway.envoy import Envoy
from tiffin.kits.paths import DataDirectory
from tiffin.local.activator import Activator
from tiffin.local.controller import Controller
from tiffin.local.deploying import Deploying
from tiffin.local.home import Home
from tiffin.local.scaling import Autoscaler
from tiffin.local.zygotes import Zygotes
from tiffin.plan.objects import Source

pytestmark = pytest.mark.slow

WINDOW_SECONDS = 6
FILE = """
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: iris
  annotations: {autoscaling.knative.dev/window: "%(window)ds"}
spec:
  predictor:
    minReplicas: %(low)d
    maxReplicas: %(high)d
    scaleMetric: concurrency
    scaleTarget: %(target)d
    model:
      modelFormat: {name: sklearn}
      storageUri: %(model)s
      resources: {requests: {cpu: "%(cpu)s", memory: 50Mi}}
"""
PATH = "/default/iris/v1/models/iris:predict"
CALL = json.dumps({"instances": [[5.1, 3.5, 1.4, 0.2]]}).encode()


class Stage:
    """A controller with one deployment, and raw clients."""

    def __init__(self, root: Path) -> None:
        self.home = home = Home.claim(DataDirectory(root))
        self.said: list[str] = []
        self.envoy = Envoy(home.envoy, sockets=home.sockets, log=home.logs / "gateway.log", port=0)
        self.activator = Activator()
        self.scaler = Autoscaler()
        self.controller = Controller(
            home,
            self.envoy,
            say=self.said.append,
            launchers=[Zygotes(home.sockets, home.orders, home.logs)],
            activator=self.activator,
            decider=self.scaler,
        )

    async def apply(
        self, model: Path | str, low: int = 0, high: int = 1, target: int = 100, cpu: str = "0.1"
    ) -> None:
        text = FILE % {
            "window": WINDOW_SECONDS,
            "low": low,
            "high": high,
            "target": target,
            "model": model,
            "cpu": cpu,
        }
        await self.controller.apply([Source(text=text, file="iris.yaml", base="/")])

    @property
    def iris(self) -> Deploying:
        return self.controller.deployings["default/iris"]

    @property
    def ready(self) -> int:
        return sum(one.is_ready for one in self.iris.replicas.values())

    async def until(self, holds: Callable[[], bool], seconds: float = 60) -> None:
        try:
            async with asyncio.timeout(seconds):
                while not holds():  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        except TimeoutError:
            pytest.fail(f"not within {seconds} s; {self.said} {self.controller.status(self.iris)}")

    async def until_served(self) -> None:
        await self.until(lambda: self.ready > 0)
        async with asyncio.timeout(20):
            while (await self.call())[0] != 200:  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    async def until_zero(self) -> None:
        await self.until(lambda: not self.iris.replicas, seconds=WINDOW_SECONDS + 30)

    async def call(
        self, body: bytes = CALL, *, accept: str = "*/*", seconds: float = 60
    ) -> tuple[int, dict[str, str], bytes]:
        """One request on a connection of its own; status 0 when there was no answer."""
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_connection(*self.envoy.address)
            try:
                head = (
                    f"POST {PATH} HTTP/1.1\r\nhost: iris\r\nconnection: close\r\naccept: {accept}\r\n"
                    f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
                )
                writer.write(head.encode() + body)
                data = await reader.read()
            finally:
                writer.close()
        top, _, rest = data.partition(b"\r\n\r\n")
        lines = top.decode().split("\r\n")
        if not data:
            return 0, {}, b""
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        return int(lines[0].split()[1]), headers, rest


@contextlib.asynccontextmanager
async def stage(root: Path) -> AsyncIterator[Stage]:
    made = Stage(root)
    await made.controller.start()
    try:
        yield made
    finally:
        await made.controller.stop()
        made.home.release()


def test_from_zero_every_call_is_answered(root: Path, iris_model: Path) -> None:
    """200 at once, those that stream, those of 5 MB; and one that comes alone, soon."""

    async def run() -> None:
        async with stage(root) as made:
            await made.apply(iris_model)
            await made.until_served()
            await made.until_zero()
            began = time.monotonic()
            status, _, answer = await made.call()
            seconds = time.monotonic() - began
            assert (status, answer) == (200, b'{"predictions":[0]}')
            # Alone on a machine it takes a third of this; what it starts has imported all it needs.
            assert seconds < 1.5
            phases = next(iter(made.iris.replicas.values())).record.start_seconds
            assert set(phases) == {"fetch", "fork", "import", "load", "warm-up"}

            await made.until_zero()
            large = json.dumps({"instances": [[5.1, 3.5, 1.4, 0.2]] * 240_000}).encode()
            assert len(large) > 5_000_000
            answers = await asyncio.gather(
                *(made.call() for _ in range(150)),
                *(made.call(accept="text/event-stream") for _ in range(47)),
                *(made.call(large) for _ in range(3)),
            )
            assert Counter(status for status, _, _ in answers) == {200: 200}
            assert {answer for _, _, answer in answers[:150]} == {b'{"predictions":[0]}'}
            assert made.activator.held("default/iris-00001/predictor") == 0
            events = [
                event.message for event in made.controller.events("default/iris") if event.reason == "Scaled"
            ]
            assert any("from 1 to 0: no calls for" in message for message in events)
            assert any("from 0 to 1: a call waits" in message for message in events)

    asyncio.run(run())


def test_going_down_and_up_under_traffic_loses_no_call(root: Path, iris_model: Path) -> None:
    """Callers are silent for a moment, and call again in every phase of the last replica's end."""

    async def run() -> None:
        async with stage(root) as made:
            await made.apply(iris_model)
            await made.until_served()
            counted: Counter[int] = Counter()
            calling, stopping = asyncio.Event(), asyncio.Event()
            calling.set()

            async def caller(pause: float) -> None:
                while not stopping.is_set():
                    await calling.wait()
                    counted[(await made.call())[0]] += 1
                    await asyncio.sleep(pause)

            callers = [asyncio.create_task(caller(0.002 * number)) for number in range(1, 9)]
            gone = 0
            for turn in range(10):
                before = set(made.iris.replicas)
                calling.clear()
                # As the autoscaler says it after a silence.
                made.iris.set_wanted((1, "predictor"), 0)
                await asyncio.sleep(0.04 * turn)
                calling.set()
                await made.until(lambda: made.ready > 0 and not made.iris.live[1].held)
                await asyncio.sleep(0.3)
                gone += not before & set(made.iris.replicas)
            stopping.set()
            await asyncio.gather(*callers)
            assert set(counted) == {200}
            assert counted[200] > 200
            # Some were in time to keep it.
            assert gone >= 3

    asyncio.run(run())


def test_killing_the_only_replica_loses_no_call(root: Path, iris_model: Path) -> None:
    """What finds the pool empty waits at the activator, and is asked again."""

    async def run() -> None:
        async with stage(root) as made:
            await made.apply(iris_model)
            await made.until_served()
            counted: Counter[int] = Counter()
            stopping = asyncio.Event()

            async def caller(pause: float) -> None:
                while not stopping.is_set():
                    counted[(await made.call())[0]] += 1
                    await asyncio.sleep(pause)

            callers = [asyncio.create_task(caller(0.002 * number)) for number in range(1, 9)]
            for _ in range(3):
                await made.until(lambda: made.ready > 0)
                await asyncio.sleep(0.3)
                (replica,) = made.iris.replicas.values()
                assert replica.running is not None
                before = replica.running.identity
                replica.running.kill()
                await made.until(lambda: made.ready > 0 and replica.running.identity != before)  # noqa: B023
            stopping.set()
            await asyncio.gather(*callers)
            assert set(counted) == {200}

    asyncio.run(run())


def test_numbers_follow_the_calls_at_once_and_go_back(root: Path, iris_model: Path) -> None:
    async def run() -> None:
        async with stage(root) as made:
            await made.apply(iris_model, low=1, high=3, target=3)
            await made.until_served()
            stopping = asyncio.Event()
            counted: Counter[int] = Counter()
            # 2 MB each: what takes a while, so that there are many at once.
            body = json.dumps({"instances": [[5.1, 3.5, 1.4, 0.2]] * 100_000}).encode()

            async def caller() -> None:
                while not stopping.is_set():
                    counted[(await made.call(body))[0]] += 1

            callers = [asyncio.create_task(caller()) for _ in range(10)]
            await made.until(lambda: made.ready == 3)
            stopping.set()
            await asyncio.gather(*callers)
            await made.until(lambda: len(made.iris.replicas) == 1)
            assert set(counted) == {200}
            assert (await made.call())[0] == 200
            messages = [e.message for e in made.controller.events("default/iris") if e.reason == "Scaled"]
            assert any("calls at once" in message for message in messages)

    asyncio.run(run())


def test_a_replica_without_room_is_pending_and_says_why(root: Path, iris_model: Path) -> None:
    async def run() -> None:
        async with stage(root) as made:
            await made.apply(iris_model, low=1, cpu="4000")

            def message() -> str:
                conditions = made.controller.status(made.iris).conditions
                return " ".join(f"{one.reason} {one.message}" for one in conditions)

            await made.until(lambda: "4000 cores asked for" in message())
            assert "Unschedulable" in message()
            assert not made.iris.replicas

    asyncio.run(run())


def test_who_waits_for_a_replica_that_cannot_load_is_told_at_once(root: Path, iris_model: Path) -> None:
    async def run() -> None:
        model = root / "iris.joblib"
        shutil.copy(iris_model, model)
        async with stage(root) as made:
            await made.apply(model)
            await made.until_served()
            await made.until_zero()
            model.write_bytes(b"\x80\x04nothing")
            # What was fetched is kept beside it where it is local: the replica reads this very file.
            status, headers, answer = await made.call(seconds=30)
            assert status == 503
            assert headers["retry-after"]
            assert "iris.joblib" in json.loads(answer)["error"]
            shutil.copy(iris_model, model)
            await made.until_served()

    asyncio.run(run())
