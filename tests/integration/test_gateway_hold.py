"""Calls to pools without a replica: the real Envoy, the real activator, and replicas that come late."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web

from tiffin.gateway import watches
from tiffin.gateway.envoy import Envoy
from tiffin.gateway.router import Choice, Pool, Routed, Share, Snapshot
from tiffin.kits import processes, waiting
from tiffin.local.activator import Activator
from tiffin.spec import (
    Artefact,
    Component,
    Deployment,
    Jwt,
    Match,
    ModelSource,
    Route,
    Scaling,
    Sticky,
    Traffic,
)

pytestmark = pytest.mark.slow

MODEL = Component(source=ModelSource(artefact=Artefact(uri="/m")))
TO_ZERO = Component(source=ModelSource(artefact=Artefact(uri="/m")), scaling=Scaling(min_replicas=0))


class Replica:
    """Answers with its name and the number of bytes it got."""

    def __init__(self, name: str, path: str) -> None:
        self.name, self.path = name, path
        self.heads: list[Mapping[str, str]] = []
        self._runner = web.ServerRunner(web.Server(self._answer))

    async def start(self) -> "Replica":
        await self._runner.setup()
        await web.UnixSite(self._runner, self.path, backlog=1024).start()
        return self

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/readyz":
            return web.Response()
        if request.path == "/busy":
            return web.Response(status=503)
        size = 0
        async for chunk in request.content.iter_any():
            size += len(chunk)
        self.heads.append({name.lower(): value for name, value in request.headers.items()})
        if "text/event-stream" in request.headers.get("accept", ""):
            return web.Response(text="data: done\n\n", content_type="text/event-stream")
        return web.json_response({"name": self.name, "size": size})

    async def stop(self) -> None:
        await self._runner.cleanup()


class Stage:
    """An Envoy, an activator, and replicas."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.woken: list[str] = []
        self.activator = Activator()
        self.replicas: list[Replica] = []
        (directory / "envoy").mkdir()
        self.envoy = self.another()
        self.on_wake: Callable[[str], None] = lambda pool: None

    def another(self) -> Envoy:
        """An Envoy with the same files, as of another controller."""
        return Envoy(self.directory / "envoy", sockets=self.directory, log=self.directory / "envoy.log", port=0)

    @property
    def socket(self) -> str:
        return str(self.directory / "activator.sock")

    @property
    def url(self) -> str:
        return "http://{}:{}".format(*self.envoy.address)

    async def start_activator(self) -> None:
        def wake(pool: str) -> None:
            self.woken.append(pool)
            self.on_wake(pool)

        await self.activator.start(Path(self.socket), wake)

    async def replica(self, name: str) -> Replica:
        # A socket that nobody has used, as for every generation of replicas.
        path = str(self.directory / f"{name}-{len(self.replicas)}.sock")
        replica = await Replica(name, path).start()
        self.replicas.append(replica)
        return replica

    async def until(self, holds: Callable[[], bool], seconds: float = 10) -> None:
        async def ask() -> bool | None:
            return True if holds() else None

        assert await waiting.until(ask, seconds=seconds, every_seconds=0.005)

    async def stop(self) -> None:
        await self.envoy.stop()
        await self.activator.stop()
        for replica in self.replicas:
            await replica.stop()
        shutil.rmtree(self.directory)

    def snapshot(
        self, pools: Sequence[Pool], *choices: Choice, traffic: Traffic | None = None, **settings: Any
    ) -> Snapshot:
        found = Deployment(
            name="iris",
            components=(MODEL,),
            routes=(Route(path="/iris", rewrite="/"),),
            traffic=traffic or Traffic(),
        )
        split = choices or (Choice([Share(pool.name) for pool in pools]),)
        return Snapshot((Routed(found, pools, {"predictor": split}, **settings),), self.socket)


def pool(name: str, *replicas: Replica, held: bool = False, component: Component = TO_ZERO) -> Pool:
    return Pool(f"default/{name}/predictor", component, [replica.path for replica in replicas], held)


@contextlib.asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    made = Stage(Path(tempfile.mkdtemp(prefix="tiffin-")))
    try:
        await made.start_activator()
        yield made
    finally:
        await made.stop()


def play(scenario: Callable[[Stage, httpx.AsyncClient], Awaitable[None]]) -> None:
    async def run() -> None:
        limits = httpx.Limits(max_connections=400, max_keepalive_connections=400)
        async with stage() as made, httpx.AsyncClient(timeout=30, verify=False, limits=limits) as client:
            await scenario(made, client)

    asyncio.run(asyncio.wait_for(run(), 90))


@pytest.fixture(params=[None, 0], ids=["own-files", "in-clusters"])
def endpoints(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Envoy is told endpoints in files of their own, or in the clusters."""
    if request.param is not None:
        monkeypatch.setattr(watches, "affordable", lambda: request.param)


@pytest.mark.usefixtures("endpoints")
def test_200_calls_at_once_to_a_pool_without_a_replica_are_all_answered() -> None:
    async def scenario(made: Stage, client: httpx.AsyncClient) -> None:
        await made.envoy.start(made.snapshot([pool("one", held=True)]))

        async def call(number: int) -> None:
            body = b"x" * (5 * 1024 * 1024 if number % 40 == 0 else number)
            answer = await client.post(f"{made.url}/iris/v2", content=body)
            assert answer.status_code == 200, (number, answer.status_code, answer.headers, answer.text)
            assert answer.json() == {"name": "one", "size": len(body)}

        calls = [asyncio.create_task(call(number)) for number in range(200)]
        await made.until(lambda: made.activator.held("default/one/predictor") == 200)
        assert made.woken == ["default/one/predictor"]
        replica = await made.replica("one")
        await made.envoy.publish(made.snapshot([pool("one", replica)]))
        made.activator.release("default/one/predictor", [replica.path])
        await asyncio.gather(*calls)
        samples = await made.envoy.sample()
        # Nothing came to the pool before its replica was known to be there.
        assert (samples["default/one/predictor"].calls, samples["default/one/predictor"].failed) == (200, 0)

    play(scenario)


def test_a_body_never_reaches_the_activator_and_callers_cannot_name_a_pool() -> None:
    async def scenario(made: Stage, client: httpx.AsyncClient) -> None:
        await made.envoy.start(made.snapshot([pool("one", held=True)]))
        forged = {"x-tiffin-pool": "default/other/predictor", "x-tiffin-hold": "stream", "x-tiffin-again": "1"}
        call = asyncio.create_task(client.post(f"{made.url}/iris", content=b"x" * 100, headers=forged))
        await made.until(lambda: made.woken != [])
        assert made.woken == ["default/one/predictor"]
        replica = await made.replica("one")
        await made.envoy.publish(made.snapshot([pool("one", replica)]))
        made.activator.release("default/one/predictor", [replica.path])
        assert (await call).json() == {"name": "one", "size": 100}
        assert replica.heads[0]["x-tiffin-pool"] == "default/one/predictor"
        assert "x-tiffin-hold" not in replica.heads[0]

    play(scenario)


def test_only_the_held_part_of_a_split_waits_also_for_callers_that_get_a_cookie() -> None:
    async def scenario(made: Stage, client: httpx.AsyncClient) -> None:
        warm = await made.replica("warm")
        pools = [pool("warm", warm, component=MODEL), pool("cold", held=True)]
        for traffic in (Traffic(), Traffic(sticky=Sticky(by="cookie", name="who"))):
            cold = await made.replica("cold")
            made.activator.hold("default/cold/predictor")
            publish = made.envoy.publish if made.envoy.identity else made.envoy.start
            await publish(made.snapshot(pools, traffic=traffic))

            async def call() -> str:
                async with httpx.AsyncClient(verify=False, timeout=30) as fresh:
                    answer = await fresh.get(f"{made.url}/iris")
                assert answer.status_code == 200
                return str(answer.json()["name"])

            calls = [asyncio.create_task(call()) for _ in range(40)]
            await made.until(
                lambda: (
                    made.activator.held("default/cold/predictor") + sum(task.done() for task in calls)  # noqa: B023
                    == 40
                )
            )
            held = made.activator.held("default/cold/predictor")
            assert 5 < held < 35
            assert {task.result() for task in calls if task.done()} == {"warm"}
            await made.envoy.publish(made.snapshot([pools[0], pool("cold", cold)], traffic=traffic))
            made.activator.release("default/cold/predictor", [cold.path])
            assert sorted(await asyncio.gather(*calls)) == ["cold"] * held + ["warm"] * (40 - held)

    play(scenario)


def test_a_pool_that_only_a_claim_leads_to_is_held_for_its_bearers_alone() -> None:
    async def scenario(made: Stage, client: httpx.AsyncClient) -> None:
        from_hmac = '{"keys": [{"kty": "oct", "k": "aGVsbG8", "alg": "HS256", "kid": "1"}]}'
        traffic = Traffic(jwt=Jwt(issuer="me", jwks=from_hmac, required=False))
        warm = await made.replica("warm")
        pools = [pool("warm", warm, component=MODEL), pool("cold", held=True)]
        choices = (
            Choice([Share(pools[1].name)], [Match(claim="sub", value="ann")]),
            Choice([Share(pools[0].name)]),
        )
        await made.envoy.start(made.snapshot(pools, *choices, traffic=traffic))
        # {"alg": "HS256", "kid": "1"} . {"iss": "me", "sub": "ann"}, signed with "hello"
        head, claims = "eyJhbGciOiJIUzI1NiIsImtpZCI6IjEifQ", "eyJpc3MiOiJtZSIsInN1YiI6ImFubiJ9"
        ann = {"authorization": f"Bearer {head}.{claims}.{signature(f'{head}.{claims}')}"}
        assert (await client.get(f"{made.url}/iris")).json()["name"] == "warm"
        call = asyncio.create_task(client.get(f"{made.url}/iris", headers=ann))
        await made.until(lambda: made.activator.held(pools[1].name) == 1)
        cold = await made.replica("cold")
        await made.envoy.publish(made.snapshot([pools[0], pool("cold", cold)], *choices, traffic=traffic))
        made.activator.release(pools[1].name, [cold.path])
        assert (await call).json()["name"] == "cold"

    play(scenario)


def signature(text: str) -> str:
    import base64
    import hashlib
    import hmac

    digest = hmac.new(b"hello", text.encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def test_a_caller_that_leaves_is_held_no_longer() -> None:
    async def scenario(made: Stage, client: httpx.AsyncClient) -> None:
        await made.envoy.start(made.snapshot([pool("one", held=True)]))
        calls = [asyncio.create_task(client.get(f"{made.url}/iris")) for _ in range(20)]
        await made.until(lambda: made.activator.held("default/one/predictor") == 20)
        for call in calls[:15]:
            call.cancel()
        await made.until(lambda: made.activator.held("default/one/predictor") == 5)
        made.activator.refuse("default/one/predictor", "enough")
        assert [(await call).status_code for call in calls[15:]] == [503] * 5

    play(scenario)


def test_a_refused_call_gets_503_with_the_reason_and_when_to_come_again() -> None:
    async def scenario(made: Stage, client: httpx.AsyncClient) -> None:
        await made.envoy.start(made.snapshot([pool("one", held=True)]))
        made.activator.hold("default/one/predictor", most=1, seconds=0.3)
        answers = await asyncio.gather(*(client.post(f"{made.url}/iris", content=b"x") for _ in range(2)))
        assert [answer.status_code for answer in answers] == [503, 503]
        assert [answer.headers["retry-after"] for answer in answers] == ["5", "5"]
        assert {answer.headers["content-type"] for answer in answers} == {"application/json; charset=utf-8"}
        said = " ".join(answer.json()["error"] for answer in answers)
        assert "too many calls" in said
        assert "within 0.3 s" in said
        assert not any(name.startswith("x-envoy") for answer in answers for name in answer.headers)

    play(scenario)


def test_a_call_that_finds_the_pool_empty_is_kept_and_sent_again_with_its_body() -> None:
    async def scenario(made: Stage, client: httpx.AsyncClient) -> None:
        # Not held, as in the moment between two states.
        await made.envoy.start(made.snapshot([pool("one")]))
        body = b"x" * 1_000_000
        calls = [asyncio.create_task(client.post(f"{made.url}/iris", content=body)) for _ in range(5)]
        await made.until(lambda: made.activator.held("default/one/predictor") == 5)
        replica = await made.replica("one")
        await made.envoy.publish(made.snapshot([pool("one", replica)]))
        made.activator.release("default/one/predictor", [replica.path])
        for call in calls:
            answer = await call
            assert (answer.status_code, answer.json()) == (200, {"name": "one", "size": 1_000_000})
            assert "x-tiffin-again" not in answer.headers

    play(scenario)


def test_a_caller_of_a_stream_is_kept_alive_and_then_answered_by_the_replica() -> None:
    async def scenario(made: Stage, client: httpx.AsyncClient) -> None:
        await made.envoy.start(made.snapshot([pool("one", held=True)]))
        headers = {"accept": "text/event-stream"}

        async def call() -> str:
            answer = await client.post(f"{made.url}/iris/v2", content=b"{}", headers=headers)
            assert answer.status_code == 200
            return answer.text

        calls = [asyncio.create_task(call()) for _ in range(20)]
        await made.until(lambda: made.activator.held("default/one/predictor") == 20)
        replica = await made.replica("one")
        await made.envoy.publish(made.snapshot([pool("one", replica)]))
        made.activator.release("default/one/predictor", [replica.path])
        for text in await asyncio.gather(*calls):
            assert text.endswith("data: done\n\n")
        assert await call() == "data: done\n\n"

    play(scenario)


def test_the_only_replica_is_not_put_aside_for_the_activator_whatever_it_answers() -> None:
    async def scenario(made: Stage, client: httpx.AsyncClient) -> None:
        replica = await made.replica("one")
        await made.envoy.start(made.snapshot([pool("one", replica)]))
        for _ in range(60):
            assert (await client.get(f"{made.url}/iris/busy")).status_code == 503
        assert (await client.get(f"{made.url}/iris")).json()["name"] == "one"
        assert made.woken == []

    play(scenario)


def test_without_an_activator_held_calls_go_where_there_are_replicas() -> None:
    async def scenario(made: Stage, client: httpx.AsyncClient) -> None:
        await made.envoy.start(made.snapshot([pool("one", held=True)]))
        await made.activator.stop()
        answer = await client.get(f"{made.url}/iris")
        assert (answer.status_code, set(answer.json())) == (503, {"error"})
        replica = await made.replica("one")
        await made.envoy.publish(made.snapshot([pool("one", replica, held=True)]))
        assert (await client.get(f"{made.url}/iris")).json()["name"] == "one"

    play(scenario)


@pytest.mark.usefixtures("endpoints")
def test_going_to_zero_and_back_under_load_loses_nothing() -> None:
    async def scenario(made: Stage, client: httpx.AsyncClient) -> None:
        name = "default/one/predictor"
        replica = await made.replica("one")
        await made.envoy.start(made.snapshot([pool("one", replica)]))
        made.activator.release(name, [replica.path])
        failures: list[str] = []
        count = 0
        stop = asyncio.Event()

        async def call() -> None:
            nonlocal count
            while not stop.is_set():
                answer = await client.post(f"{made.url}/iris", content=b"x" * 1000)
                count += 1
                if answer.status_code != 200:
                    failures.append(f"{answer.status_code} {answer.text}")

        callers = [asyncio.create_task(call()) for _ in range(8)]
        for _ in range(8):
            await asyncio.sleep(0.05)
            made.activator.hold(name)
            await made.envoy.publish(made.snapshot([pool("one", replica, held=True)]))
            await asyncio.sleep(0.05)
            await made.envoy.publish(made.snapshot([pool("one", held=True)]))
            await asyncio.sleep(0.15)
            await replica.stop()
            await made.until(lambda: made.activator.held(name) == 8)
            replica = await made.replica("one")
            await made.envoy.publish(made.snapshot([pool("one", replica, held=True)]))
            await made.envoy.publish(made.snapshot([pool("one", replica)]))
            made.activator.release(name, [replica.path])
        stop.set()
        await asyncio.gather(*callers)
        assert failures == []
        assert count > 64

    play(scenario)


@pytest.mark.usefixtures("endpoints")
def test_a_running_envoy_is_taken_over_under_load_without_losing_a_call() -> None:
    async def scenario(made: Stage, client: httpx.AsyncClient) -> None:
        first, second = await made.replica("first"), await made.replica("second")
        await made.envoy.start(made.snapshot([pool("first", first)]))
        failures: list[str] = []
        seen: list[str] = []
        stop = asyncio.Event()
        url = f"{made.url}/iris"

        async def call() -> None:
            while not stop.is_set():
                answer = await client.get(url)
                if answer.status_code == 200:
                    seen.append(answer.json()["name"])
                else:
                    failures.append(answer.text)

        callers = [asyncio.create_task(call()) for _ in range(4)]
        await made.until(lambda: len(seen) > 20)
        identity, address = made.envoy.identity, made.envoy.address
        assert identity is not None
        # Nothing of the first controller is used from here on.
        made.envoy = made.another()
        assert await made.envoy.adopt(identity, made.snapshot([pool("second", second)]))
        assert (made.envoy.identity, made.envoy.address) == (identity, address)
        count = len(seen)
        await made.until(lambda: len(seen) > count + 20)
        assert set(seen[count + 8 :]) == {"second"}
        await made.envoy.publish(made.snapshot([pool("first", first)]))
        count = len(seen)
        await made.until(lambda: len(seen) > count + 20)
        assert set(seen[count + 8 :]) == {"first"}
        stop.set()
        await asyncio.gather(*callers)
        assert failures == []
        assert list(await made.envoy.sample()) == ["default/first/predictor"]
        ended = asyncio.create_task(made.envoy.exited())
        os.kill(identity.pid, signal.SIGKILL)
        await asyncio.wait_for(ended, 5)
        await made.envoy.restart()
        assert made.envoy.address == address
        assert (await client.get(url)).json()["name"] == "first"

    play(scenario)


def test_what_cannot_be_taken_over_is_left_alone() -> None:
    async def scenario(made: Stage, client: httpx.AsyncClient) -> None:
        one = await made.replica("one")
        snapshot = made.snapshot([pool("one", one)])
        await made.envoy.start(snapshot)
        identity = made.envoy.identity
        assert identity is not None
        gone = processes.Identity(identity.pid, identity.created - 100)
        assert not await made.another().adopt(gone, snapshot)
        host = Envoy(
            made.directory / "envoy",
            sockets=made.directory,
            log=made.directory / "envoy.log",
            host="127.0.0.2",
            port=0,
        )
        assert not await host.adopt(identity, snapshot)
        port = Envoy(made.directory / "envoy", sockets=made.directory, log=made.directory / "envoy.log", port=1)
        assert not await port.adopt(identity, snapshot)
        (made.directory / "envoy" / "rds.json").rename(made.directory / "away")
        assert not await made.another().adopt(identity, snapshot)
        (made.directory / "away").rename(made.directory / "envoy" / "rds.json")
        assert (await client.get(f"{made.url}/iris")).json()["name"] == "one"

    play(scenario)


def test_a_killed_envoy_serves_again_within_a_second() -> None:
    async def scenario(made: Stage, client: httpx.AsyncClient) -> None:
        one = await made.replica("one")
        await made.envoy.start(made.snapshot([pool("one", one)]))
        for _ in range(3):
            identity, address = made.envoy.identity, made.envoy.address
            assert identity is not None
            begin = time.monotonic()
            os.kill(identity.pid, signal.SIGKILL)
            await made.envoy.exited()
            await made.envoy.restart()
            async with httpx.AsyncClient(verify=False) as fresh:
                answer = await fresh.get(f"{made.url}/iris")
            assert time.monotonic() - begin < 1
            assert (answer.status_code, made.envoy.address) == (200, address)

    play(scenario)


def test_files_say_nothing_to_others_on_this_machine() -> None:
    async def scenario(made: Stage, client: httpx.AsyncClient) -> None:
        await made.envoy.start(made.snapshot([pool("one", held=True)]))
        for path in (made.directory / "envoy").iterdir():
            assert path.stat().st_mode & 0o077 == 0, path
            json.loads(path.read_bytes())

    play(scenario)
