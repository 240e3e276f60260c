"""The real Envoy in front of small HTTP servers on Unix sockets."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import httpx
import pytest

from tiffin.errors import PlatformError, PortInUse
from tiffin.gateway.binary import find_binary
from tiffin.gateway.envoy import Envoy
from tiffin.gateway.router import Choice, Pool, Routed, Share, Snapshot
from tiffin.kits import http, processes, waiting
from tiffin.spec import Artefact, ClassSource, Component, Deployment, ModelSource, Route

pytestmark = pytest.mark.slow

ECHO = """
import asyncio, json, os, signal, sys
path, name = sys.argv[1:3]
async def talk(reader, writer):
    try:
        while True:
            head = (await reader.readuntil(b"\\r\\n\\r\\n")).decode("latin-1").split("\\r\\n")
            method, target, _ = head[0].split(" ")
            headers = dict(line.split(": ", 1) for line in head[1:] if line)
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            if headers.get("transfer-encoding") == "chunked":
                while size := int(await reader.readline(), 16):
                    body += (await reader.readexactly(size + 2))[:-2]
                await reader.readline()
            if target == "/slow":
                await asyncio.sleep(30)
            if target == "/die":
                os._exit(1)
            if target == "/brief":
                await asyncio.sleep(0.02)
            text = json.dumps({"replica": name, "path": target, "headers": headers, "size": len(body)}).encode()
            writer.write(b"HTTP/1.1 200 OK\\r\\nserver: echo\\r\\ncontent-type: application/json\\r\\n"
                         b"content-length: %d\\r\\n\\r\\n" % len(text) + text)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()
async def main():
    server = await asyncio.start_unix_server(talk, path)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: os._exit(0))
    await server.serve_forever()
asyncio.run(main())
"""


def plain(
    deployments: Sequence[Deployment] = (), backends: Mapping[tuple[str, str], Sequence[str]] | None = None
) -> Snapshot:
    """Deployments without variants; endpoints by their key and the name of a component."""
    found = []
    for one in deployments:
        pools = [
            Pool(f"{one.key}/{part.name}", part, (backends or {}).get((one.key, part.name), ()))
            for part in one.components
        ]
        found.append(Routed(one, pools, {pool.component.name: (Choice((Share(pool.name),)),) for pool in pools}))
    return Snapshot(tuple(found))


def deployment(name: str, *found: Route, pure: bool = True, **settings: float) -> Deployment:
    artefact = Artefact(uri="/m")
    source = ModelSource(artefact=artefact) if pure else ClassSource(artefact=artefact)
    return Deployment(
        name=name,
        components=(Component(source=source, **settings),),  # type: ignore[arg-type]
        routes=(*found, Route(path=f"/default/{name}", rewrite="/")),
    )


class Stage:
    """An Envoy and some echo servers, all gone at the end."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.envoy = Envoy(self._made("envoy"), sockets=directory, log=directory / "envoy.log", port=0)
        self.replicas: dict[str, processes.Child] = {}

    def _made(self, name: str) -> Path:
        (self.directory / name).mkdir()
        return self.directory / name

    def socket(self, name: str) -> str:
        return str(self.directory / f"{name}.sock")

    async def replica(self, name: str) -> str:
        child = await processes.Child.start(
            [sys.executable, "-c", ECHO, self.socket(name), name], name=name, log=self.directory / f"{name}.log"
        )
        self.replicas[name] = child

        async def answers() -> http.Answer | None:
            assert child.exit_code is None, child.describe_end()
            return await http.ask(self.socket(name), "/readyz")

        assert await waiting.until(answers, seconds=10)
        return self.socket(name)

    @property
    def url(self) -> str:
        host, port = self.envoy.address
        return f"http://{host}:{port}"


@contextlib.asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    # Not pytest's tmp_path: the path of a Unix socket has at most 107 bytes.
    directory = Path(tempfile.mkdtemp(prefix="tiffin-"))
    made = Stage(directory)
    try:
        yield made
    finally:
        await made.envoy.stop()
        for child in made.replicas.values():
            await child.stop(grace_seconds=2)
        shutil.rmtree(directory)


def play(scenario: Callable[[Stage, httpx.AsyncClient], Awaitable[None]]) -> None:
    async def run() -> None:
        async with stage() as made, httpx.AsyncClient(timeout=20, verify=False) as client:
            await scenario(made, client)

    asyncio.run(asyncio.wait_for(run(), 60))


def test_hosts_prefixes_and_rewrites_reach_the_right_replica() -> None:
    async def scenario(made: Stage, client: httpx.AsyncClient) -> None:
        one = deployment("one", Route(path="/", hosts=("one.default.example.com",)))
        two = deployment("two", Route(path="/seldon/default/two", rewrite="/"), Route(path="/predict", exact=True))
        backends = {("default/one", "predictor"): [await made.replica("r1")]}
        backends["default/two", "predictor"] = [await made.replica("r2")]
        await made.envoy.start(plain((one, two), backends))
        port = made.envoy.address[1]
        for host, path, expected in (
            ("one.default.example.com", "/v2/models/iris/infer?x=1", ("r1", "/v2/models/iris/infer?x=1")),
            (f"ONE.default.example.com:{port}", "/v2", ("r1", "/v2")),
            ("any", "/default/one/v2/models", ("r1", "/v2/models")),
            ("any", "/default/one", ("r1", "/")),
            ("any", "/default/one?q", ("r1", "/?q")),
            ("any", "/seldon/default/two/api/v1.0/predictions", ("r2", "/api/v1.0/predictions")),
            ("any", "/a/../predict", ("r2", "/predict")),
            ("any", "/default/two/v1/models/iris:predict", ("r2", "/v1/models/iris:predict")),
        ):
            answer = await client.get(made.url + "/", headers={"host": host}, extensions={"target": path.encode()})
            assert answer.status_code == 200, (path, answer.text)
            assert (answer.json()["replica"], answer.json()["path"]) == expected

    play(scenario)


def test_what_is_not_there_or_not_clear_is_answered_in_json_without_inner_names() -> None:
    async def scenario(made: Stage, client: httpx.AsyncClient) -> None:
        one = deployment("one", timeout_seconds=0.1)
        gone = deployment("gone")
        backends = {("default/one", "predictor"): [await made.replica("r1")]}
        backends["default/gone", "predictor"] = [made.socket("nobody")]
        await made.envoy.start(plain((one, gone), backends))
        for path, status in (
            ("/", 404),
            ("/default", 404),
            ("/default/onetwo", 404),
            ("/default/gone/v2", 503),
            ("/default/one/slow", 504),
            ("/default%2Fone/v2", 400),
        ):
            answer = await client.get(made.url + "/", extensions={"target": path.encode()})
            assert answer.status_code == status, (path, answer.text)
            assert answer.headers["content-type"] == "application/json"
            assert set(answer.json()) == {"error"}
            for inner in ("sock", "predictor", "envoy", "default/"):
                assert inner not in answer.text
            assert not any(name.startswith("x-envoy") or name == "server" for name in answer.headers)

    play(scenario)


def test_a_head_that_is_too_large_is_answered_in_json() -> None:
    async def scenario(made: Stage, client: httpx.AsyncClient) -> None:
        await made.envoy.start(plain())
        answer = await client.get(made.url, headers={"x-long": "x" * 40_000})
        assert (answer.status_code, set(answer.json())) == (431, {"error"})
        answer = await client.get(made.url, headers=[(f"x-{number}", "1") for number in range(200)])
        assert (answer.status_code, set(answer.json())) == (431, {"error"})

    play(scenario)


def test_http_2_is_spoken_on_the_same_port() -> None:
    async def scenario(made: Stage, client: httpx.AsyncClient) -> None:
        backends = {("default/one", "predictor"): [await made.replica("r1")]}
        await made.envoy.start(plain((deployment("one"),), backends))
        process = await asyncio.create_subprocess_exec(
            *("curl", "--silent", "--http2-prior-knowledge", "-w", "%{http_version}", f"{made.url}/default/one/x"),
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
        assert output.endswith(b"}2"), output

    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    play(scenario)


def test_heads_reach_a_replica_alike_and_a_callers_envoy_headers_are_not_obeyed() -> None:
    async def scenario(made: Stage, client: httpx.AsyncClient) -> None:
        backends = {("default/one", "predictor"): [await made.replica("r1")]}
        await made.envoy.start(plain((deployment("one"),), backends))
        sent = {"x-envoy-upstream-rq-timeout-ms": "1", "x-request-id": "mine", "a_b": "1"}
        seen = [(await client.get(f"{made.url}/default/one/x")).json()["headers"] for _ in range(2)]
        assert seen[0] == seen[1]
        assert not any(name.startswith("x-envoy") or name == "x-request-id" for name in seen[0])
        answer = await client.get(f"{made.url}/default/one/brief", headers=sent)
        assert answer.status_code == 200
        assert answer.headers["server"] == "echo"
        headers = answer.json()["headers"]
        assert headers["x-request-id"] == "mine"
        assert "a_b" not in headers
        assert not any(name.startswith("x-envoy") for name in headers)

    play(scenario)


def test_a_body_of_48_mib_streams_through() -> None:
    async def scenario(made: Stage, client: httpx.AsyncClient) -> None:
        backends = {("default/one", "predictor"): [await made.replica("r1")]}
        await made.envoy.start(plain((deployment("one"),), backends))
        size = 48 * 1024 * 1024
        answer = await client.post(f"{made.url}/default/one/x", content=b"x" * size)
        assert answer.json()["size"] == size

    play(scenario)


class Load:
    """Callers that ask without pause; every answer that is not a 200 is kept."""

    def __init__(self, client: httpx.AsyncClient, url: str, callers: int = 4) -> None:
        self._client, self._url = client, url
        self._stop = asyncio.Event()
        self.failures: list[str] = []
        self.seen: list[str] = []
        self._tasks = [asyncio.create_task(self._call()) for _ in range(callers)]

    async def _call(self) -> None:
        while not self._stop.is_set():
            answer = await self._client.get(self._url)
            if answer.status_code == 200:
                self.seen.append(answer.json()["replica"])
            else:
                self.failures.append(f"{answer.status_code} {answer.text}")

    async def until_seen(self, more: int, *names: str) -> None:
        start = len(self.seen)

        async def ask() -> bool | None:
            recent = self.seen[start:]
            return True if len(recent) >= more and set(names) <= set(recent) else None

        assert await waiting.until(ask, seconds=15), (self.failures[:3], set(self.seen[start:]))

    async def stop(self) -> None:
        self._stop.set()
        await asyncio.gather(*self._tasks)


def test_killing_a_replica_without_notice_loses_nothing() -> None:
    async def scenario(made: Stage, client: httpx.AsyncClient) -> None:
        names = ("r1", "r2", "r3")
        backends = {("default/one", "predictor"): [await made.replica(name) for name in names]}
        await made.envoy.start(plain((deployment("one"),), backends))
        load = Load(client, f"{made.url}/default/one/brief")
        await load.until_seen(100, *names)
        os.kill(made.replicas["r1"].pid, signal.SIGKILL)
        await load.until_seen(200, "r2", "r3")
        os.kill(made.replicas["r2"].pid, signal.SIGKILL)
        await load.until_seen(200, "r3")
        await load.stop()
        assert load.failures == []

    play(scenario)


def test_adding_and_removing_replicas_and_deployments_under_load_loses_nothing() -> None:
    async def scenario(made: Stage, client: httpx.AsyncClient) -> None:
        one, two = deployment("one", pure=False), deployment("two", pure=False)
        key = ("default/one", "predictor")
        first, second = await made.replica("r1"), await made.replica("r2")
        await made.envoy.start(plain((one,), {key: [first]}))
        load = Load(client, f"{made.url}/default/one/brief")
        await load.until_seen(20, "r1")
        await made.envoy.publish(plain((one, two), {key: [first, second], ("default/two", "predictor"): [second]}))
        assert (await client.get(f"{made.url}/default/two/x")).json()["replica"] == "r2"
        await load.until_seen(50, "r1", "r2")
        await made.envoy.publish(plain((one,), {key: [second]}))
        # What Envoy handed over before it knew; the echo server, unlike a replica, does not drain.
        await asyncio.sleep(0.2)
        await made.replicas["r1"].stop(grace_seconds=2)
        await load.until_seen(50, "r2")
        assert (await client.get(f"{made.url}/default/two/x")).status_code == 404
        for _ in range(10):
            await made.envoy.publish(plain((one, two), {key: [second]}))
            await made.envoy.publish(plain((one,), {key: [second]}))
        await load.stop()
        assert load.failures == []

    play(scenario)


def test_authored_code_that_dies_during_a_call_is_not_asked_again() -> None:
    async def scenario(made: Stage, client: httpx.AsyncClient) -> None:
        names = ("r1", "r2", "r3")
        backends = {("default/one", "predictor"): [await made.replica(name) for name in names]}
        await made.envoy.start(plain((deployment("one", pure=False),), backends))
        assert (await client.get(f"{made.url}/default/one/die")).status_code == 503
        await asyncio.wait(
            [asyncio.ensure_future(child.exited()) for child in made.replicas.values()],
            return_when=asyncio.FIRST_COMPLETED,
            timeout=5,
        )
        alive = [name for name in names if await http.ask(made.socket(name), "/readyz")]
        assert len(alive) == 2

    play(scenario)


def test_a_gateway_started_again_serves_what_was_published() -> None:
    async def scenario(made: Stage, client: httpx.AsyncClient) -> None:
        backends = {("default/one", "predictor"): [await made.replica("r1")]}
        await made.envoy.start(plain((deployment("one"),), backends))
        identity = made.envoy.identity
        assert identity is not None
        address = made.envoy.address
        os.kill(identity.pid, signal.SIGKILL)
        assert await made.envoy.exited() == -signal.SIGKILL
        await made.envoy.restart()
        assert made.envoy.address == address
        assert (await client.get(f"{made.url}/default/one/x")).json()["replica"] == "r1"

    play(scenario)


def test_a_stopped_gateway_leaves_no_process_and_a_free_port() -> None:
    async def scenario(made: Stage, client: httpx.AsyncClient) -> None:
        await made.envoy.start(plain())
        identity, address = made.envoy.identity, made.envoy.address
        assert identity is not None
        await made.envoy.stop()
        assert processes.find(identity) is None
        assert not Path(made.socket("admin")).exists()
        socket.create_server(address).close()

    play(scenario)


def test_a_taken_port_is_told_with_its_holder() -> None:
    async def scenario(made: Stage, client: httpx.AsyncClient) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            envoy = Envoy(made.directory / "envoy", sockets=made.directory, log=made.directory / "log", port=port)
            with pytest.raises(PortInUse, match=rf"port {port} .*pid {os.getpid()}") as caught:
                await envoy.start(plain())
            assert "--port" in str(caught.value.hint)

    play(scenario)


def test_a_port_taken_after_the_check_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tiffin.kits.ports.check_free", lambda host, port: None)
    test_a_taken_port_is_told_with_its_holder()


def test_an_envoy_of_ones_own_must_exist() -> None:
    with pytest.raises(PlatformError, match="TIFFIN_ENVOY"):
        find_binary({"TIFFIN_ENVOY": "/no/such/envoy"})
