"""Calls to a server that closes idle connections whenever it likes: none may fail, none may be made twice."""

import asyncio
import random
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tiffin.errors import DeadlineExceeded, NotReady
from tiffin.service.caller import Caller
from tiffin.service.connections import Place
from tiffin.service.connections_async import Asynchronous
from tiffin.service.connections_blocking import Blocking

CALLS = 12_000


class Fickle:
    """Answers each request with its number, and closes every fifth connection after an answer, a moment later."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seen: list[int] = []
        self.closed = 0
        self.mute = False
        self._random = random.Random(4)
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._started.wait(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._server = self._loop.run_until_complete(asyncio.start_unix_server(self._serve, self.path))
        self._loop.call_soon(self._started.set)
        self._loop.run_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            self.seen.append(int(head.split(b" ")[1][1:]))
            if self.mute:
                await reader.read()
                return
            body = head.split(b" ")[1]
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
            if self._random.random() < 0.2:
                self.closed += 1
                await asyncio.sleep(self._random.choice((0, 0, 0.0002, 0.001)))
                return

    def stop(self) -> None:
        async def end() -> None:
            self._server.close()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


@pytest.fixture
def fickle(tmp_path: Path) -> Iterator[Fickle]:
    server = Fickle(tmp_path / "f.sock")
    yield server
    server.stop()


def request(number: int) -> list[bytes]:
    return [b"POST /%d HTTP/1.1\r\nhost: x\r\n\r\n" % number]


def test_no_call_from_threads_fails_when_idle_connections_are_closed(fickle: Fickle):
    connections = Blocking(Place(unix=str(fickle.path)), "Fickle")

    def call(number: int) -> bool:
        deadline = time.monotonic() + 20
        with connections.ask(request(number), deadline, None) as answer:
            return bytes(answer.read(deadline)) == b"/%d" % number

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(call, range(CALLS)))
    connections.close()
    assert fickle.closed > CALLS / 10
    assert sorted(fickle.seen) == list(range(CALLS))  # and each was made once


def test_no_call_on_a_loop_fails_when_idle_connections_are_closed(fickle: Fickle):
    asyncio.run(_call_on_a_loop(fickle))
    assert fickle.closed > CALLS / 10
    assert sorted(fickle.seen) == list(range(CALLS))


async def _call_on_a_loop(fickle: Fickle) -> None:
    connections = Asynchronous(Place(unix=str(fickle.path)), "Fickle")
    numbers = iter(range(CALLS))

    async def work() -> None:
        for number in numbers:
            deadline = time.monotonic() + 20
            async with connections.ask(request(number), deadline) as answer:
                assert bytes(await answer.read(deadline)) == b"/%d" % number

    await asyncio.gather(*(work() for _ in range(4)))
    await connections.close()


def test_a_call_that_is_not_answered_in_time_is_not_made_again(fickle: Fickle):
    fickle.mute = True
    connections = Blocking(Place(unix=str(fickle.path)), "Fickle")
    with (
        pytest.raises(DeadlineExceeded, match="Fickle did not answer in time"),
        connections.ask(request(1), time.monotonic() + 0.2, None),
    ):
        pass
    assert fickle.seen == [1]


def test_a_call_on_a_loop_that_is_not_answered_in_time_is_not_made_again(fickle: Fickle):
    fickle.mute = True

    async def call() -> None:
        connections = Asynchronous(Place(unix=str(fickle.path)), "Fickle")
        async with connections.ask(request(1), time.monotonic() + 0.2):
            pass

    with pytest.raises(DeadlineExceeded, match="Fickle did not answer in time"):
        asyncio.run(call())
    assert fickle.seen == [1]


def test_a_thread_waits_no_longer_than_its_caller(fickle: Fickle):
    fickle.mute = True
    connections = Blocking(Place(unix=str(fickle.path)), "Fickle")
    caller = Caller({})
    leaving = threading.Timer(0.2, caller.leave)
    leaving.start()
    with (
        pytest.raises(DeadlineExceeded, match="waits no more"),
        connections.ask(request(1), time.monotonic() + 30, caller),
    ):
        pass
    leaving.join()


def test_nobody_there_is_said_so(tmp_path: Path):
    connections = Blocking(Place(unix=str(tmp_path / "no.sock")), "Absent")
    with (
        pytest.raises(NotReady, match="Absent cannot be reached"),
        connections.ask(request(1), time.monotonic() + 0.2, None),
    ):
        pass


def test_an_answer_that_comes_before_the_request_is_whole_is_heard(tmp_path: Path) -> None:
    """As the gateway does with bodies that are too large."""
    listening = socket.create_server(("127.0.0.1", 0))

    def refuse() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(b"HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno")

    refusing = threading.Thread(target=refuse)
    refusing.start()
    connections = Blocking(Place(host="127.0.0.1", port=listening.getsockname()[1]), "Refusing")
    deadline = time.monotonic() + 20
    with connections.ask([*request(1), memoryview(bytes(50_000_000))], deadline, None) as answer:
        assert (answer.incoming.status, bytes(answer.read(deadline))) == (413, b"no")
    refusing.join()
    listening.close()
    connections.close()
