"""A server on real sockets that is told, while it has connections, to record and to stop recording."""

import asyncio
import http.client
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tiffin.errors import TiffinError
from tiffin.kits import spool
from tiffin.protocol import open_inference
from tiffin.protocol.reply import TEXT, Reply
from tiffin.runtime.application import RouteTable
from tiffin.runtime.exchange import Endpoint, Exchange
from tiffin.runtime.lifecycle import State
from tiffin.runtime.metrics import Metrics
from tiffin.runtime.recorder import Recorder
from tiffin.runtime.server import Server
from tiffin.runtime.tap import TappedConnection
from tiffin.runtime.wire import Connection
from tiffin.spec import Limits
from tiffin.spec.recording import BROKEN, SAMPLING, STREAMED, TRUNCATED_ANSWER, Record, Sampling, Spool


class Parrot:
    """Says what it hears: at once, in a stream, or in a stream that breaks off."""

    server_header = b""

    def __init__(self) -> None:
        self.tasks: set[asyncio.Task[None]] = set()

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint("POST", "/echo", lambda exchange: exchange.reply(Reply(200, exchange.body, TEXT))),
            Endpoint("GET", "/exempt", lambda exchange: exchange.reply(Reply(200, b"")), exempt=True),
            Endpoint("POST", "/stream", lambda exchange: self.stream(exchange, breaks=False)),
            Endpoint("POST", "/breaks", lambda exchange: self.stream(exchange, breaks=True)),
        ]

    def render_error(self, path: str, error: TiffinError) -> Reply:
        return open_inference.error(error)

    def stream(self, exchange: Exchange, *, breaks: bool) -> None:
        async def parts() -> None:
            exchange.start(Reply(200, b"one", TEXT))
            await exchange.send(exchange.body)
            if breaks:
                exchange.abort()
            else:
                exchange.finish()

        task = asyncio.get_running_loop().create_task(parts())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


class Running:
    def __init__(self, directory: Path) -> None:
        self.started, self.directory = threading.Event(), directory
        self.thread = threading.Thread(target=lambda: asyncio.run(self.main()))
        self.thread.start()
        assert self.started.wait(10)

    async def main(self) -> None:
        self.loop, self.stopping = asyncio.get_running_loop(), asyncio.Event()
        application: Any = Parrot()
        table = RouteTable(application.endpoints())
        metrics = Metrics(table.endpoints)
        recorder = Recorder(Spool(directory=str(self.directory)), metrics)
        self.server = Server(application, table, Limits(), metrics, listeners=[recorder])
        self.server.state = State.READY
        self.server.start()
        listener = await self.loop.create_server(self.server.connect, "127.0.0.1", 0)
        self.port = listener.sockets[0].getsockname()[1]
        self.started.set()
        await self.stopping.wait()
        listener.close()
        self.server.stop()
        await asyncio.sleep(0.01)

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.stopping.set)
        self.thread.join(10)

    def kinds(self) -> set[type[Connection]]:
        return {type(connection) for connection in self.server.connections}


def until(ask: Callable[[], Any], seconds: float = 10) -> Any:
    deadline = time.monotonic() + seconds
    while not (answer := ask()):
        assert time.monotonic() < deadline, "not so within the time"
        time.sleep(0.01)
    return answer


def records(directory: Path) -> list[Record]:
    found = []
    for path in sorted(directory.glob("*.spool")):
        found += [msgspec.msgpack.decode(block, type=Record) for block in spool.read(path, 0)[0]]
    return found


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    made = Running(tmp_path)
    try:
        yield made
    finally:
        made.stop()


def say(client: http.client.HTTPConnection, path: str, body: bytes, call: str) -> bytes:
    client.request("POST", path, body, {"x-request-id": call, "content-type": "text/plain"})
    return client.getresponse().read()


def test_recording_begins_and_ends_on_connections_that_are_open(running: Running, tmp_path: Path) -> None:
    client = http.client.HTTPConnection("127.0.0.1", running.port, timeout=10)
    assert say(client, "/echo", b"before", "a") == b"before"
    assert running.kinds() == {Connection}
    (tmp_path / SAMPLING).write_bytes(msgspec.json.encode(Sampling(max_body_bytes=8)))
    until(lambda: running.kinds() == {TappedConnection})
    assert say(client, "/echo", b"during", "b") == b"during"
    assert say(client, "/stream", b"two", "c") == b"onetwo"
    assert say(client, "/stream", b"very long", "d") == b"onevery long"
    client.request("GET", "/exempt")
    assert client.getresponse().read() == b""
    with pytest.raises(http.client.IncompleteRead):
        say(client, "/breaks", b"two", "e")
    client.close()
    found = until(lambda: len(records(tmp_path)) == 4 and records(tmp_path))
    assert [(record.id, record.answer, record.flags) for record in found] == [
        ("b", b"during", 0),
        ("c", b"onetwo", STREAMED),
        ("d", b"onevery ", STREAMED | TRUNCATED_ANSWER | 1),
        ("e", b"onetwo", STREAMED | BROKEN),
    ]
    assert found[0].body == b"during"
    assert found[0].answer_headers["content-type"].startswith("text/plain")
    assert say(client, "/echo", b"open", "f") == b"open"
    (tmp_path / SAMPLING).unlink()
    until(lambda: running.kinds() == {Connection})
    assert say(client, "/echo", b"after", "g") == b"after"
    until(lambda: len(records(tmp_path)) == 5)
    client.close()


def test_a_not_found_is_recorded_since_a_shadow_may_differ_in_that(running: Running, tmp_path: Path) -> None:
    (tmp_path / SAMPLING).write_bytes(msgspec.json.encode(Sampling()))
    client = http.client.HTTPConnection("127.0.0.1", running.port, timeout=10)
    client.connect()
    until(lambda: running.kinds() == {TappedConnection})
    say(client, "/nowhere", b"x", "a")
    (record,) = until(lambda: records(tmp_path))
    assert record.status == 404
    client.close()
