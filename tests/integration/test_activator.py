"""The activator over real sockets: raw clients in front, a real server of streams behind."""

import asyncio
import contextlib
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from tiffin.autoscale.holding import Holds
from tiffin.local.activator import Activator
from tiffin.local.streams import Streams

CHECK = {"x-tiffin-pool": "default/iris-00001/predictor", "x-tiffin-hold": "check"}
POOL = CHECK["x-tiffin-pool"]
STREAM = {"x-tiffin-pool": POOL, "x-tiffin-hold": "stream", "accept": "text/event-stream"}


@pytest.fixture
def home() -> Path:
    """A directory with a short name: sockets need one."""
    path = Path(tempfile.mkdtemp(prefix="tf-"))
    yield path
    shutil.rmtree(path)


class Answered:
    """One raw HTTP/1.1 answer."""

    def __init__(self, data: bytes) -> None:
        head, _, self.body = data.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        self.status = int(lines[0].split()[1]) if data else 0
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        if self.headers.get("transfer-encoding") == "chunked":
            self.body = unchunked(self.body)


def unchunked(data: bytes) -> bytes:
    found = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        if not (length := int(size, 16)):
            break
        found, data = found + data[:length], data[length + 2 :]
    return found


async def call(
    socket: Path, headers: dict[str, str], body: bytes = b"", *, path: str = "/v2/models/iris/infer"
) -> Answered:
    reader, writer = await asyncio.open_unix_connection(str(socket))
    try:
        writer.write(head(headers, len(body), path) + body)
        await writer.drain()
        return Answered(await reader.read())
    finally:
        writer.close()


def head(headers: dict[str, str], length: int, path: str = "/p") -> bytes:
    lines = [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(
        [f"POST {path} HTTP/1.1", "host: iris", "connection: close", f"content-length: {length}", *lines, "", ""]
    ).encode()


@contextlib.asynccontextmanager
async def activator(
    home: Path, wake: Callable[[str], None] = lambda pool: None, **streams: float
) -> AsyncIterator[tuple[Activator, Path]]:
    made = Activator(Streams(**streams), Holds())  # type: ignore[arg-type]
    socket = home / "activator.sock"
    await made.start(socket, wake)
    try:
        yield made, socket
    finally:
        await made.stop()
    assert not socket.exists()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def test_a_defect_of_whoever_is_woken_keeps_the_call_waiting(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    def wake(pool: str) -> None:
        raise KeyError("an inside")

    async def run() -> None:
        async with activator(home, wake) as (made, socket):
            waiting = asyncio.create_task(call(socket, CHECK))
            await until(lambda: made.held(POOL) == 1)
            made.release(POOL, [])
            assert (await waiting).status == 200

    asyncio.run(run())
    assert "KeyError: 'an inside'" in caplog.text


def test_a_defect_while_a_call_is_answered_tells_nothing_of_the_inside(
    home: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def defect(*arguments: object) -> None:
        raise KeyError("an inside")

    async def run() -> None:
        async with activator(home) as (_, socket):
            monkeypatch.setattr(Activator, "_pass", defect)
            found = await call(socket, {"x-tiffin-pool": POOL})
        assert found.status == 503
        assert json.loads(found.body) == {"error": "the platform failed at this for a reason of its own"}

    asyncio.run(run())
    assert "KeyError: 'an inside'" in caplog.text


def test_two_hundred_calls_wait_wake_once_and_go_on_in_order(home: Path) -> None:
    async def run() -> None:
        woken: list[str] = []
        order: list[int] = []
        async with activator(home, woken.append) as (made, socket):

            async def one(number: int) -> int:
                found = await call(socket, CHECK)
                order.append(number)
                return found.status

            calls = []
            for number in range(200):
                calls.append(asyncio.create_task(one(number)))
                await until(lambda: made.held(POOL) == number + 1)  # noqa: B023
            assert woken == [POOL]
            assert made.held("another") == 0
            made.release(POOL, [])
            assert set(await asyncio.gather(*calls)) == {200}
            assert made.held(POOL) == 0
            # Whole batches of answers are read in any order; far apart ones are not.
            assert all(abs(place - number) < 100 for place, number in enumerate(order))
            assert (await call(socket, CHECK)).status == 200
            made.hold(POOL)
            waiting = asyncio.create_task(call(socket, CHECK))
            await until(lambda: made.held(POOL) == 1)
            assert len(woken) == 2
            made.release(POOL, [])
            assert (await waiting).status == 200

    asyncio.run(run())


def test_a_caller_that_leaves_is_forgotten(home: Path) -> None:
    async def run() -> None:
        async with activator(home) as (made, socket):
            _, writer = await asyncio.open_unix_connection(str(socket))
            writer.write(head(CHECK, 0))
            await until(lambda: made.held(POOL) == 1)
            writer.close()
            await until(lambda: made.held(POOL) == 0)

    asyncio.run(run())


def test_beyond_the_queue_or_the_time_the_gateway_is_told_no_with_when_to_come_again(home: Path) -> None:
    async def run() -> None:
        async with activator(home) as (made, socket):
            made.hold(POOL, most=1, seconds=0.3)
            first = asyncio.create_task(call(socket, CHECK))
            await until(lambda: made.held(POOL) == 1)
            second = await call(socket, CHECK)
            assert (second.status, second.headers["retry-after"]) == (429, "5")
            assert "too many calls" in json.loads(second.body)["error"]
            late = await first
            assert (late.status, late.headers["retry-after"]) == (429, "5")
            assert "within 0.3 s" in json.loads(late.body)["error"]

    asyncio.run(run())


def test_a_start_that_failed_is_told_to_those_who_wait_and_the_next_one_wakes_again(home: Path) -> None:
    async def run() -> None:
        woken: list[str] = []
        async with activator(home, woken.append) as (made, socket):
            for _ in range(2):
                waiting = asyncio.create_task(call(socket, CHECK))
                await until(lambda: made.held(POOL) == 1)
                made.refuse(POOL, "the model could not be loaded")
                found = await waiting
                assert found.status == 429
                assert json.loads(found.body) == {"error": "the model could not be loaded"}
            assert woken == [POOL, POOL]

    asyncio.run(run())


def test_a_call_that_came_between_two_states_is_kept_and_sent_back(home: Path) -> None:
    async def run() -> None:
        async with activator(home) as (made, socket):
            # 5 MB, which are read and dropped: Envoy has them still.
            waiting = asyncio.create_task(call(socket, {"x-tiffin-pool": POOL}, bytes(5_000_000)))
            await until(lambda: made.held(POOL) == 1)
            made.release(POOL, [])
            found = await waiting
            assert (found.status, found.headers["x-tiffin-again"]) == (503, "1")
            assert (await call(socket, {})).status == 503

    asyncio.run(run())


def test_stopping_answers_what_is_held(home: Path) -> None:
    async def run() -> None:
        async with activator(home) as (made, socket):
            waiting = asyncio.create_task(call(socket, CHECK))
            await until(lambda: made.held(POOL) == 1)
            await made.stop()
            assert (await waiting).status == 429

    asyncio.run(run())


# -- server-sent events ------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def replica(
    home: Path, answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
) -> AsyncIterator[str]:
    path = home / "replica.sock"
    runner = web.ServerRunner(web.Server(answer, handler_cancellation=True), shutdown_timeout=0.1)
    await runner.setup()
    await web.UnixSite(runner, str(path)).start()
    try:
        yield str(path)
    finally:
        await runner.cleanup()


async def tokens(request: web.BaseRequest) -> web.StreamResponse:
    body = await request.content.read()
    answer = web.StreamResponse(headers={"content-type": "text/event-stream", "x-from": "replica"})
    await answer.prepare(request)
    assert "x-tiffin-pool" not in request.headers
    for word in (request.raw_path, str(len(body)), "end"):
        await answer.write(f"data: {word}\n\n".encode())
    return answer


async def refusing(request: web.BaseRequest) -> web.StreamResponse:
    return web.json_response({"error": "no such model"}, status=404)


async def breaking(request: web.BaseRequest) -> web.StreamResponse:
    answer = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await answer.prepare(request)
    await answer.write(b"data: 1\n\n")
    assert request.transport is not None
    request.transport.abort()
    return answer


def streamed(
    home: Path,
    answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
    *,
    after: float,
    body: bytes = b"x" * 3000,
    endpoints: tuple[str, ...] = (),
    **settings: float,
) -> Answered:
    async def run() -> Answered:
        async with activator(home, **settings) as (made, socket), replica(home, answer) as endpoint:
            waiting = asyncio.create_task(call(socket, STREAM, body, path="/generate?a=%2F"))
            await until(lambda: made.held(POOL) == 1)
            await asyncio.sleep(after)
            made.release(POOL, [*endpoints, endpoint])
            return await waiting

    return asyncio.run(run())


def test_a_stream_that_waited_a_moment_is_the_replicas_own(home: Path) -> None:
    found = streamed(home, tokens, after=0)
    assert (found.status, found.headers["x-from"]) == (200, "replica")
    assert found.body == b"data: /generate?a=%2F\n\ndata: 3000\n\ndata: end\n\n"
    shown = streamed(home, refusing, after=0)
    assert (shown.status, json.loads(shown.body)) == (404, {"error": "no such model"})


def test_a_stream_that_waits_longer_gets_comments_and_then_the_replicas_events(home: Path) -> None:
    found = streamed(home, tokens, after=0.35, patience_seconds=0.05, comment_seconds=0.1)
    assert found.status == 200
    assert found.headers["content-type"] == "text/event-stream"
    comments = found.body.count(b": waiting for a replica\n\n")
    assert 3 <= comments <= 4
    assert found.body.endswith(b"data: 3000\n\ndata: end\n\n")


def test_an_error_after_the_beginning_is_an_event(home: Path) -> None:
    found = streamed(home, refusing, after=0.1, patience_seconds=0.0)
    assert found.status == 200
    event = found.body.rpartition(b"event: error\ndata: ")[2]
    assert json.loads(event) == {"status": 404, "error": "no such model"}
    broken = streamed(home, breaking, after=0.1, patience_seconds=0.0)
    assert b"data: 1\n\n" in broken.body
    assert json.loads(broken.body.rpartition(b"event: error\ndata: ")[2])["status"] == 502


def test_a_replica_that_has_gone_is_passed_over(home: Path) -> None:
    found = streamed(home, tokens, after=0, endpoints=(str(home / "gone.sock"), str(home / "too.sock")))
    assert found.body.endswith(b"data: end\n\n")


def test_a_stream_whose_replica_went_when_it_was_let_go_waits_for_the_next_one(home: Path) -> None:
    async def run() -> None:
        async with activator(home) as (made, socket), replica(home, tokens) as endpoint:
            calls = [asyncio.create_task(call(socket, STREAM, b"x" * 3000)) for _ in range(20)]
            await until(lambda: made.held(POOL) == 20)
            made.release(POOL, [endpoint])
            made.hold(POOL)  # before any of them has gone on
            await until(lambda: made.held(POOL) == 20)
            made.release(POOL, [str(home / "gone.sock")])
            await until(lambda: made.held(POOL) == 0)
            made.release(POOL, [endpoint])
            for found in await asyncio.gather(*calls):
                assert found.status == 200
                assert found.body.endswith(b"data: 3000\n\ndata: end\n\n")

    asyncio.run(run())


def test_a_stream_that_no_replica_takes_is_told_so_in_the_end(home: Path) -> None:
    async def run() -> None:
        async with activator(home) as (made, socket):
            made.release(POOL, [str(home / "gone.sock")])
            found = await call(socket, STREAM, b"x")
            assert (found.status, json.loads(found.body)) == (503, {"error": "no replica could be reached"})

    asyncio.run(run())


def test_a_body_beyond_the_limit_is_refused_before_anything_else(home: Path) -> None:
    async def run() -> None:
        async with activator(home, most_body_bytes=1000) as (made, socket):
            found = await call(socket, STREAM, b"x" * 1001)
            assert found.status == 413
            assert made.held(POOL) == 0
        async with activator(home, most_bytes=1000) as (made, socket):
            assert (await call(socket, STREAM, b"x" * 1001)).status == 503

    asyncio.run(run())


def test_who_leaves_a_stream_ends_it_at_the_replica_too(home: Path) -> None:
    async def run() -> None:
        ended = asyncio.Event()

        async def endless(request: web.BaseRequest) -> web.StreamResponse:
            answer = web.StreamResponse(headers={"content-type": "text/event-stream"})
            await answer.prepare(request)
            try:
                while True:
                    await answer.write(b"data: more\n\n")
                    await asyncio.sleep(0.01)
            finally:
                ended.set()

        async with activator(home) as (made, socket), replica(home, endless) as endpoint:
            made.release(POOL, [endpoint])
            reader, writer = await asyncio.open_unix_connection(str(socket))
            writer.write(head(STREAM, 0))
            await reader.readuntil(b"data: more")
            writer.close()
            async with asyncio.timeout(5):
                await ended.wait()
            # One that leaves while it waits is forgotten.
            made.hold(POOL)
            _, writer = await asyncio.open_unix_connection(str(socket))
            writer.write(head(STREAM, 0))
            await until(lambda: made.held(POOL) == 1)
            writer.close()
            await until(lambda: made.held(POOL) == 0)

    asyncio.run(run())
