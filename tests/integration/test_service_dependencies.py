"""Services that run apart from what depends on them: a real controller, Envoy and replicas."""

import asyncio
import contextlib
import json
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tiffin.gateway.envoy import Envoy
from tiffin.kits.paths import DataDirectory
from tiffin.local.activator import Activator
from tiffin.local.controller import Controller
from tiffin.local.home import Home
from tiffin.local.launching import Processes
from tiffin.local.scaling import Autoscaler
from tiffin.plan.objects import Source
from tiffin.plan.state import ReplicaPhase

pytestmark = pytest.mark.slow

SERVICE = """
import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tiffin
from tiffin.service.exceptions import BentoMLException

MARK = Path(__file__).with_name("cancelled")


class Teapot(BentoMLException):
    error_code = 418


@dataclass
class Box:
    values: np.ndarray
    name: str


@tiffin.service
class Scale:
    @tiffin.api
    def factor(self) -> float:
        return 2.0


@tiffin.service(traffic={"timeout": 20})
class Inner:
    scale = tiffin.depends(Scale)

    @tiffin.api
    def double(self, x: np.ndarray) -> np.ndarray:
        x *= self.scale.factor()
        return x

    @tiffin.api
    async def box(self, box: dict) -> Box:
        return Box(np.array(box["values"]), f"{box['name']} of {os.getpid()}")

    @tiffin.api
    def fail(self, how: str) -> int:
        raise Teapot("short and stout") if how == "teapot" else ValueError("secret")

    @tiffin.api
    def count(self, n: int):
        yield from (np.full(2, i) for i in range(n))

    @tiffin.api
    def twice(self, file: Path) -> Path:
        out = file.with_suffix(".out")
        out.write_bytes(file.read_bytes() * 2)
        return out

    @tiffin.api
    async def slow(self, seconds: float) -> int:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            MARK.touch()
            raise
        return os.getpid()


@tiffin.service
class Outer:
    inner = tiffin.depends(Inner)

    def __init__(self):
        self.began_with = self.inner.double(np.ones(1)).tolist()

    @tiffin.api
    def double(self, x: np.ndarray) -> np.ndarray:
        return self.inner.double(x)

    @tiffin.api
    async def both(self, x: np.ndarray) -> list[list[float]]:
        found = await asyncio.gather(*(self.inner.to_async.double(x * i) for i in (1, 2)))
        return [one.tolist() for one in found]

    @tiffin.api
    async def named(self, name: str) -> str:
        box = await self.inner.box({"values": [1, 2], "name": name})
        return f"{type(box).__name__} {box.name} with {box.values.sum()} for {os.getpid()}"

    @tiffin.api
    def began(self) -> list[float]:
        return self.began_with

    @tiffin.api
    def fail(self, how: str) -> str:
        try:
            self.inner.fail(how)
        except Teapot as error:
            if how == "teapot":
                raise
            return "no"

    @tiffin.api
    def count(self, n: int):
        for item in self.inner.count(n):
            yield f"{item.tolist()};"

    @tiffin.api
    def twice(self, text: str) -> str:
        file = MARK.with_name("given.txt")
        file.write_text(text)
        return self.inner.twice(file).read_text()

    @tiffin.api
    async def slow(self, seconds: float) -> int:
        return await self.inner.slow(seconds)
"""
FILE = """
apiVersion: tiffin.dev/v1
kind: Deployment
metadata: {name: duo}
spec:
  service:
    target: duo:Outer
    dependencies: %s
"""


class Stage:
    """A controller, and a raw client."""

    def __init__(self, root: Path) -> None:
        (root / "code").mkdir(exist_ok=True)
        (root / "code" / "duo.py").write_text(SERVICE)
        self.root = root
        self.home = home = Home.claim(DataDirectory(root / "home"))
        self.said: list[str] = []
        self.envoy = Envoy(home.envoy, sockets=home.sockets, log=home.logs / "gateway.log", port=0)
        self.controller = Controller(
            home,
            self.envoy,
            say=self.said.append,
            launchers=[Processes()],
            activator=Activator(),
            decider=Autoscaler(),
        )

    async def apply(self, dependencies: str, more: str = "") -> None:
        source = Source(text=FILE % dependencies + more, file="duo.yaml", base=str(self.root / "code"))
        await self.controller.apply([source])
        await self.until(lambda: bool(self.controller.status(self.duo).conditions) and self.is_ready())

    @property
    def duo(self):
        return self.controller.deployings["default/duo"]

    def is_ready(self) -> bool:
        status = self.controller.status(self.duo)
        return any(one.type == "Ready" and one.status == "True" for one in status.conditions)

    def pids(self, component: str, phase: ReplicaPhase = "Ready") -> list[int]:
        found = [
            one for one in self.duo.replicas.values() if one.component.name == component and one.phase == phase
        ]
        return [one.running.identity.pid for one in found if one.running is not None]

    async def until(self, holds: Callable[[], bool], seconds: float = 60) -> None:
        try:
            async with asyncio.timeout(seconds):
                while not holds():  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        except TimeoutError:
            logs = "".join(path.read_text()[-2000:] for path in self.home.logs.glob("duo*.log"))
            pytest.fail(f"not within {seconds} s; {self.said} {self.controller.status(self.duo)} {logs}")

    async def call(self, path: str, body: object = None, kind: str = "application/json") -> tuple[int, bytes]:
        """One request on a connection of its own; status 0 when there was no answer."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with asyncio.timeout(60):
            reader, writer = await asyncio.open_connection(*self.envoy.address)
            try:
                head = (
                    f"POST {path} HTTP/1.1\r\nhost: duo\r\nconnection: close\r\n"
                    f"content-type: {kind}\r\ncontent-length: {len(data)}\r\n\r\n"
                )
                writer.write(head.encode() + data)
                answer = await reader.read()
            finally:
                writer.close()
        top, _, rest = answer.partition(b"\r\n\r\n")
        return (int(top.split()[1]) if top else 0), rest

    async def ask(self, method: str, **arguments: object) -> tuple[int, bytes]:
        return await self.call(f"/default/duo/{method}", arguments)


@contextlib.asynccontextmanager
async def stage(root: Path) -> AsyncIterator[Stage]:
    made = Stage(root)
    await made.controller.start()
    try:
        yield made
    finally:
        await made.controller.stop()
        made.home.release()


def test_one_word_changes_where_services_run_and_nothing_they_answer(root: Path) -> None:
    async def run() -> None:
        async with stage(root) as made:
            await made.apply("separate")
            outer, inner, scale = (made.pids(name)[0] for name in ("predictor", "inner", "scale"))
            assert len({outer, inner, scale}) == 3
            assert await made.ask("double", x=[1.5, 2]) == (200, b"[3.0, 4.0]")
            assert await made.ask("both", x=[1.0]) == (200, b"[[2.0], [4.0]]")
            assert await made.ask("began") == (200, b"[2.0]")
            named = f"Box pear of {inner} with 3 for {outer}".encode()
            assert await made.ask("named", name="pear") == (200, named)
            assert await made.ask("twice", text="ab") == (200, b"abab")
            assert await made.ask("fail", how="teapot") == (418, b'[{"error":"short and stout"}]')
            status, answer = await made.ask("fail", how="else")
            assert status == 500
            assert b"secret" not in answer
            status, answer = await made.ask("count", n=3)
            assert status == 200
            assert answer.count(b";") == 3
            large = await made.ask("double", x=[1.0] * 300_000)
            assert large[0] == 200

            # Nobody but the services themselves finds the way, and nobody has pickles taken.
            for path in ("/default/duo/-/duo-00001/inner", "/default/duo/-/inner", "/default/duo"):
                assert (await made.call(f"{path}/tiffin/call/double", b""))[0] == 404
            assert (await made.call("/default/duo/double", b"", "application/vnd.bentoml+pickle"))[0] == 415

            # Together again, with another revision and without a call that fails.
            await made.apply("in-process")
            await made.until(lambda: not made.pids("inner") and not made.pids("inner", "Draining"))
            assert await made.ask("double", x=[1.5, 2]) == (200, b"[3.0, 4.0]")

    asyncio.run(run())


def test_what_nobody_waits_for_any_more_is_cancelled_across_processes(root: Path) -> None:
    async def run() -> None:
        async with stage(root) as made:
            await made.apply("separate")
            leaving = asyncio.create_task(made.ask("slow", seconds=15))
            await asyncio.sleep(0.5)
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
            await made.until((root / "code" / "cancelled").exists, seconds=5)

    asyncio.run(run())


def test_a_service_works_no_longer_than_the_callers_of_its_callers_wait(root: Path) -> None:
    async def run() -> None:
        async with stage(root) as made:
            await made.apply("separate", "  timeout: 1\n")
            assert (await made.ask("slow", seconds=15))[0] == 504
            await made.until((root / "code" / "cancelled").exists, seconds=5)
            assert (await made.ask("slow", seconds=0))[0] == 200

    asyncio.run(run())


@pytest.mark.parametrize("retries", [True, False])
def test_a_replica_that_is_killed_under_load_loses_at_most_the_calls_it_has(root: Path, retries: bool) -> None:
    async def run() -> None:
        async with stage(root) as made:
            await made.apply(f"{{Inner: {{replicas: 2, retries: {str(retries).lower()}}}}}")
            await made.until(lambda: len(made.pids("inner")) == 2)
            counted: Counter[int] = Counter()
            stopping = asyncio.Event()

            async def caller() -> None:
                while not stopping.is_set():
                    counted[(await made.ask("slow", seconds=0.005))[0]] += 1

            callers = [asyncio.create_task(caller()) for _ in range(8)]
            await made.until(lambda: counted[200] > 200)
            killed = made.pids("inner")[0]
            os.kill(killed, signal.SIGKILL)
            await made.until(lambda: len(made.pids("inner")) == 2 and killed not in made.pids("inner"))
            before = counted[200]
            await made.until(lambda: counted[200] > before + 200)
            stopping.set()
            await asyncio.gather(*callers)
            failed = sum(number for status, number in counted.items() if status != 200)
            assert set(counted) <= {200, 503}
            assert failed <= (0 if retries else 8)

    asyncio.run(run())


def test_a_service_apart_goes_to_zero_and_comes_back_for_a_call(root: Path) -> None:
    async def run() -> None:
        async with stage(root) as made:
            await made.apply("{Inner: {replicas: {min: 0, max: 2}, scale: {concurrency: 10, window: 6s}}}")
            await made.until(lambda: not made.pids("inner"), seconds=60)
            assert made.pids("predictor")
            answers = await asyncio.gather(*(made.ask("double", x=[1.0]) for _ in range(5)))
            assert answers == [(200, b"[2.0]")] * 5

    asyncio.run(run())
