"""HTTP/1.1 on real sockets: a server with a small application in a thread, and clients that misbehave."""

import asyncio
import contextlib
import gzip
import json
import resource
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
import uvloop

from tiffin.errors import TiffinError
from tiffin.protocol import open_inference
from tiffin.protocol.reply import TEXT, Reply
from tiffin.runtime.application import RouteTable
from tiffin.runtime.exchange import Endpoint, Exchange
from tiffin.runtime.lifecycle import State
from tiffin.runtime.metrics import Metrics
from tiffin.runtime.server import Server
from tiffin.spec import Limits

BIG = 1 << 20


class Echo:
    """Answers at once, later, in a stream, or never."""

    server_header = b"echo"

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.waiting: list[Exchange] = []
        self.gone = threading.Event()
        self.tasks: set[asyncio.Task[None]] = set()

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint("GET", "/now", self.now),
            Endpoint("GET", "/exempt", self.now, exempt=True),
            Endpoint("POST", "/echo", self.echo),
            Endpoint("POST", "/later", self.later),
            Endpoint("POST", "/broken", self.broken),
            Endpoint("GET", "/big", self.big),
            Endpoint("GET", "/huge", self.huge),
            Endpoint("GET", "/none", self.none),
            Endpoint("GET", "/stream", self.stream),
        ]

    def render_error(self, path: str, error: TiffinError) -> Reply:
        return open_inference.error(error)

    def now(self, exchange: Exchange) -> None:
        self.calls.append("now")
        exchange.reply(Reply(200, exchange.head.query or b"now", TEXT))

    def echo(self, exchange: Exchange) -> None:
        self.calls.append("echo")
        exchange.reply(Reply(200, exchange.body, TEXT))

    def later(self, exchange: Exchange) -> None:
        exchange.on_close = self.gone.set
        self.waiting.append(exchange)

    def broken(self, exchange: Exchange) -> None:
        raise RuntimeError("secret")

    def big(self, exchange: Exchange) -> None:
        self.calls.append("big")
        exchange.reply(Reply(200, bytes(BIG), TEXT))

    def huge(self, exchange: Exchange) -> None:
        exchange.reply(Reply(200, bytes(16 * BIG), TEXT))

    def none(self, exchange: Exchange) -> None:
        exchange.reply(Reply(204, b"a body that must not be sent", b""))

    def stream(self, exchange: Exchange) -> None:
        async def parts() -> None:
            exchange.start(Reply(200, b"first", TEXT))
            for index in range(3):
                await exchange.send(b"%d" % index)
            exchange.finish()

        task = asyncio.get_running_loop().create_task(parts())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


class Running:
    """A server in a thread of its own."""

    def __init__(self, limits: Limits, loop: Any, timeout: float | None) -> None:
        self.application = Echo()
        self.loop: asyncio.AbstractEventLoop = loop()
        self._started = threading.Event()
        self._limits = limits
        self._timeout = timeout
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._started.wait(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self._main())
        self.loop.close()

    async def _main(self) -> None:
        table = RouteTable(self.application.endpoints())
        metrics = Metrics(table.endpoints)
        self.server = Server(self.application, table, self._limits, metrics, timeout_seconds=self._timeout)  # type: ignore[arg-type]
        self.server.state = State.READY
        self.server.start()
        self._stopping = asyncio.Event()
        listener = await self.loop.create_server(self.server.connect, "127.0.0.1", 0, backlog=1024)
        self.port = listener.sockets[0].getsockname()[1]
        self._started.set()
        await self._stopping.wait()
        listener.close()
        self.server.stop()
        await asyncio.sleep(0.01)

    def call(self, function: Callable[[], Any]) -> Any:
        """Run something on the server's loop."""
        done: asyncio.Future[Any] = asyncio.run_coroutine_threadsafe(_as_coroutine(function), self.loop)  # type: ignore[assignment]
        return done.result(10)  # type: ignore[call-arg]

    def release(self, body: bytes = b"later") -> None:
        """Answer the oldest call that waits."""
        self.until(lambda: self.application.waiting)
        exchange = self.application.waiting.pop(0)
        self.call(lambda: exchange.reply(Reply(200, body, TEXT)))

    def until(self, ask: Callable[[], Any], seconds: float = 10) -> None:
        deadline = time.monotonic() + seconds
        while not ask():
            assert time.monotonic() < deadline, "not so within the time"
            time.sleep(0.005)

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(10)
        assert not self._thread.is_alive()


async def _as_coroutine(function: Callable[[], Any]) -> Any:
    return function()


class Caller:
    """A raw client that reads answers one by one."""

    def __init__(self, port: int, *, receive_buffer: int = 0) -> None:
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(10)
        self.socket.connect(("127.0.0.1", port))
        self._buffer = b""

    def send(self, data: bytes) -> "Caller":
        self.socket.sendall(data)
        return self

    def _until(self, enough: Callable[[bytes], bool]) -> bool:
        while not enough(self._buffer):
            data = self.socket.recv(1 << 20)
            if not data:
                return False
            self._buffer += data
        return True

    def answer(self, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
        """The next answer: status, headers, body."""
        assert self._until(lambda data: b"\r\n\r\n" in data), f"closed after {self._buffer!r}"
        head, self._buffer = self._buffer.split(b"\r\n\r\n", 1)
        first, *lines = head.decode("latin-1").split("\r\n")
        version, status, _ = first.split(" ", 2)
        assert version == "HTTP/1.1"
        headers = dict(line.split(": ", 1) for line in lines)
        if method == "HEAD" or int(status) in (100, 204, 304):
            return int(status), headers, b""
        if headers.get("transfer-encoding") == "chunked":
            return int(status), headers, self._chunks()
        if "content-length" in headers:
            return int(status), headers, self._bytes(int(headers["content-length"]))
        self._until(lambda data: False)
        body, self._buffer = self._buffer, b""
        return int(status), headers, body

    def _bytes(self, count: int) -> bytes:
        assert self._until(lambda data: len(data) >= count), "closed within a body"
        body, self._buffer = self._buffer[:count], self._buffer[count:]
        return body

    def _chunks(self) -> bytes:
        body = b""
        while True:
            assert self._until(lambda data: b"\r\n" in data), "closed within a chunked body"
            size, self._buffer = self._buffer.split(b"\r\n", 1)
            chunk = self._bytes(int(size, 16) + 2)
            assert chunk.endswith(b"\r\n")
            if size == b"0":
                return body
            body += chunk[:-2]

    def is_closed(self) -> bool:
        """Whether the server closes without a further byte; waits for it."""
        return not self._buffer and not self._until(bool)

    def reset(self) -> None:
        """Vanish as a crashed caller does: with a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


Start = Callable[..., Running]


@pytest.fixture(scope="module")
def shared() -> Iterator[Running]:
    running = Running(Limits(), uvloop.new_event_loop, None)
    yield running
    running.stop()


@pytest.fixture
def start() -> Iterator[Start]:
    with contextlib.ExitStack() as stack:

        def begin(*, loop: Any = uvloop.new_event_loop, timeout: float | None = None, **limits: Any) -> Running:
            running = Running(msgspec.structs.replace(Limits(), **limits), loop, timeout)
            stack.callback(running.stop)
            return running

        yield begin


@pytest.fixture
def call() -> Iterator[Callable[..., Caller]]:
    made: list[Caller] = []

    def connect(running: Running, **options: int) -> Caller:
        made.append(Caller(running.port, **options))
        return made[-1]

    yield connect
    for caller in made:
        caller.socket.close()


Call = Callable[..., Caller]
GET = b"GET /now HTTP/1.1\r\nHost: a\r\n\r\n"


def get(target: str, more: str = "") -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: a\r\n{more}\r\n".encode()


def post(path: str, body: bytes, more: str = "") -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body


def chunked(path: str, *chunks: bytes) -> bytes:
    text = f"POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    return text + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


LOOPS = pytest.mark.parametrize("loop", [uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])


# -- requests in every wrapping ----------------------------------------------------------------------------


def test_an_answer_is_whole(shared: Running, call: Call) -> None:
    status, headers, body = call(shared).send(get("/now?x=1")).answer()
    assert (status, body) == (200, b"x=1")
    assert headers["server"] == "echo"
    assert headers["date"].endswith("GMT")
    assert headers["content-type"] == "text/plain; charset=utf-8"


@LOOPS
def test_many_requests_in_one_segment_are_answered_in_order(start: Start, call: Call, loop: Any) -> None:
    running = start(loop=loop)
    requests = [post("/echo", b"%d" % index) if index % 3 else get(f"/now?{index}") for index in range(1000)]
    caller = call(running)
    sender = threading.Thread(target=caller.send, args=(b"".join(requests),))
    sender.start()
    assert [caller.answer()[2] for _ in requests] == [b"%d" % index for index in range(1000)]
    sender.join()


def test_what_is_behind_a_call_in_hand_waits_for_it(shared: Running, call: Call) -> None:
    caller = call(shared).send(get("/now?1") + post("/later", b"") + get("/now?2") + post("/later", b"") + GET)
    assert caller.answer()[2] == b"1"
    shared.release(b"A")
    assert [caller.answer()[2] for _ in range(2)] == [b"A", b"2"]
    shared.release(b"B")
    assert [caller.answer()[2] for _ in range(2)] == [b"B", b"now"]


def test_a_caller_that_sends_on_and_on_behind_a_call_in_hand_is_held_back(shared: Running, call: Call) -> None:
    caller = call(shared).send(post("/later", b""))
    caller.socket.settimeout(1)
    sent = 0
    with contextlib.suppress(TimeoutError):
        while sent < 1 << 28:
            sent += caller.socket.send(GET * 5000)
    assert sent < 1 << 28
    shared.release()
    caller.socket.settimeout(10)
    assert caller.answer()[2] == b"later"
    assert caller.answer()[2] == b"now"


@pytest.mark.parametrize("pieces", [1, 7, 100_000])
def test_bodies_arrive_whole_in_whatever_pieces(shared: Running, call: Call, pieces: int) -> None:
    body = bytes(range(256)) * 3
    data = post("/echo", body) + chunked("/echo", body[:1], body[1:], b"end") + GET
    caller = call(shared)
    caller.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for start in range(0, len(data), pieces):
        caller.send(data[start : start + pieces])
    assert [caller.answer()[2] for _ in range(3)] == [body, body + b"end", b"now"]


def test_a_large_body_arrives_whole(shared: Running, call: Call) -> None:
    body = bytes(range(256)) * 65536
    caller = call(shared)
    for data, expected in (
        (post("/echo", body), body),
        (chunked("/echo", *[body[:70_000]] * 50), body[:70_000] * 50),
    ):
        sender = threading.Thread(target=caller.send, args=(data,))
        sender.start()
        found = caller.answer()[2]
        sender.join()
        assert found == expected


def test_expect_continue_is_answered_before_the_body(shared: Running, call: Call) -> None:
    data = post("/echo", b"hello", "Expect: 100-continue\r\n")
    caller = call(shared).send(data[:-5])
    assert caller.answer()[0] == 100
    assert caller.send(b"hello").answer()[2] == b"hello"
    # A body that is there already needs no invitation.
    assert caller.send(data).answer()[0] == 200


def test_expect_continue_is_refused_when_the_body_would_be(start: Start, call: Call) -> None:
    caller = call(start(max_body_bytes=10)).send(post("/echo", b"x" * 11, "Expect: 100-continue\r\n")[:-11])
    assert caller.answer()[0] == 413
    assert caller.is_closed()


@pytest.mark.parametrize(
    ("request_", "closes"),
    [
        (GET, False),
        (get("/now", "Connection: close\r\n"), True),
        (post("/echo", b"x", "Connection: close\r\n"), True),
        (b"GET /now HTTP/1.0\r\n\r\n", True),
        (b"GET /now HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", True),
        (b"\r\n\r\n" + GET, False),
        (get("/nowhere"), False),
        (b"DELETE /now HTTP/1.1\r\nHost: a\r\n\r\n", False),
        (post("/broken", b"x"), False),
    ],
)
def test_a_connection_is_kept_unless_asked_otherwise(
    shared: Running, call: Call, request_: bytes, closes: bool
) -> None:
    caller = call(shared).send(request_)
    assert (caller.answer()[1].get("connection") == "close") is closes
    if closes:
        assert caller.is_closed()
    else:
        assert caller.send(GET).answer()[2] == b"now"


def test_head_has_the_headers_and_no_body(shared: Running, call: Call) -> None:
    caller = call(shared)
    for path in ("/now", "/stream", "/big"):
        status, headers, _ = caller.send(f"HEAD {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()).answer("HEAD")
        assert status == 200
        assert path == "/stream" or headers["content-length"] in ("3", str(BIG))
        assert caller.send(GET).answer()[2] == b"now"


def test_an_answer_without_a_body_has_none(shared: Running, call: Call) -> None:
    caller = call(shared).send(get("/none") + GET)
    assert caller.answer()[0] == 204
    assert caller.answer()[2] == b"now"


def test_streams_are_chunked_or_end_with_the_connection(shared: Running, call: Call) -> None:
    caller = call(shared).send(get("/stream") + GET)
    _, headers, body = caller.answer()
    assert (headers["transfer-encoding"], body) == ("chunked", b"first012")
    assert caller.answer()[2] == b"now"
    _, headers, body = call(shared).send(b"GET /stream HTTP/1.0\r\n\r\n").answer()
    assert (headers["connection"], body) == ("close", b"first012")
    assert "transfer-encoding" not in headers


def test_unknown_paths_and_methods_are_said_to_be(shared: Running, call: Call) -> None:
    caller = call(shared).send(get("/nowhere") + b"DELETE /now HTTP/1.1\r\nHost: a\r\n\r\n")
    assert caller.answer()[0] == 404
    status, headers, _ = caller.answer()
    assert (status, headers["allow"]) == (405, "GET")


def test_a_defect_behind_an_endpoint_is_a_500_that_tells_nothing(shared: Running, call: Call) -> None:
    status, _, body = call(shared).send(post("/broken", b"")).answer()
    assert status == 500
    assert b"secret" not in body


def test_gzip_bodies_are_undone_and_bombs_are_not(start: Start, call: Call) -> None:
    caller = call(start(max_body_bytes=100_000))
    assert caller.send(post("/echo", gzip.compress(b"abc"), "Content-Encoding: gzip\r\n")).answer()[2] == b"abc"
    for body, coding, expected in (
        (gzip.compress(bytes(50_000_000)), "gzip", 413),
        (b"not gzip", "gzip", 400),
        (b"x", "br", 415),
    ):
        caller.send(post("/echo", body, f"Content-Encoding: {coding}\r\n"))
        assert caller.answer()[0] == expected
    assert caller.send(GET).answer()[2] == b"now"


# -- ends of connections -----------------------------------------------------------------------------------


@LOOPS
def test_a_caller_that_closes_its_side_gets_all_its_answers(start: Start, call: Call, loop: Any) -> None:
    running = start(loop=loop)
    caller = call(running).send(
        get("/now?1") + post("/later", b"") + get("/now?2") + post("/later", b"") + GET[:9]
    )
    caller.socket.shutdown(socket.SHUT_WR)
    assert caller.answer()[2] == b"1"
    running.release(b"A")
    running.release(b"B")
    assert [caller.answer()[2] for _ in range(3)] == [b"A", b"2", b"B"]
    assert caller.is_closed()
    running.until(lambda: not running.server.connections)


@LOOPS
def test_a_caller_that_vanishes_is_noticed_and_hurts_nobody(start: Start, call: Call, loop: Any) -> None:
    running = start(loop=loop)
    caller = call(running).send(post("/later", b""))
    running.until(lambda: running.application.waiting)
    caller.reset()
    assert running.application.gone.wait(10)
    running.until(lambda: not running.server.connections)
    assert running.server.in_flight == 0
    running.release()  # Answered too late: dropped.
    assert call(running).send(GET).answer()[2] == b"now"


@LOOPS
def test_a_caller_that_does_not_read_makes_its_own_requests_wait(start: Start, call: Call, loop: Any) -> None:
    running = start(loop=loop)
    caller = call(running, receive_buffer=4096).send(get("/big") * 40 + GET)
    running.until(lambda: running.application.calls)
    time.sleep(0.3)  # Time in which it could answer too much.
    assert len(running.application.calls) < 20
    assert [len(caller.answer()[2]) for _ in range(40)] == [BIG] * 40
    assert caller.answer()[2] == b"now"


def test_a_caller_that_never_reads_is_cut_off(start: Start, call: Call) -> None:
    running = start(keep_alive_seconds=0.6)
    call(running, receive_buffer=4096).send(get("/big") * 40)
    running.until(lambda: running.application.calls)
    running.until(lambda: not running.server.connections)


def test_a_caller_that_reads_slowly_is_not_cut_off(start: Start, call: Call) -> None:
    running = start(keep_alive_seconds=1.2)
    caller = call(running, receive_buffer=1 << 16).send(get("/huge"))
    took = 0
    began = time.monotonic()
    while took < 16 * BIG:  # For longer than the time an idle connection gets, and never with a long pause.
        data = caller.socket.recv(1 << 17)
        assert data, f"cut off after {took} bytes, {time.monotonic() - began} s"
        took += len(data)
        if time.monotonic() - began < 2.5:
            time.sleep(0.02)


def test_an_idle_connection_is_closed_without_a_word(start: Start, call: Call) -> None:
    running = start(keep_alive_seconds=0.6, head_seconds=0.6)
    used, unused = call(running).send(GET), call(running)
    assert used.answer()[2] == b"now"
    assert used.is_closed()
    assert unused.is_closed()


@pytest.mark.parametrize("before", [b"", GET], ids=["first request", "second request"])
@pytest.mark.parametrize("part", [GET[:-2], post("/echo", b"hello")[:-1], chunked("/echo", b"hello")[:-3]])
def test_a_request_that_stops_coming_is_a_408(start: Start, call: Call, before: bytes, part: bytes) -> None:
    caller = call(start(head_seconds=0.6, body_seconds=0.6)).send(before)
    if before:
        assert caller.answer()[0] == 200
    caller.send(part)
    status, headers, _ = caller.answer()
    assert (status, headers["connection"]) == (408, "close")
    assert caller.is_closed()


@pytest.mark.parametrize(
    ("begun", "drop"), [(GET[:-2], b"X: y\r\n"), (post("/echo", bytes(5000))[:-4990], b"x")], ids=["head", "body"]
)
def test_a_request_that_trickles_is_cut_off_however_steadily(
    start: Start, call: Call, begun: bytes, drop: bytes
) -> None:
    caller = call(start(head_seconds=0.6, body_seconds=0.6)).send(begun)
    caller.socket.settimeout(0.1)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with contextlib.suppress(TimeoutError):
            if caller.socket.recv(9, socket.MSG_PEEK):
                break
        caller.send(drop)
    caller.socket.settimeout(10)
    assert caller.answer()[0] == 408


def test_a_call_that_takes_too_long_is_a_504_and_the_connection_goes_on(start: Start, call: Call) -> None:
    running = start(timeout=0.3)
    caller = call(running).send(post("/later", b""))
    assert caller.answer()[0] == 504
    assert running.application.gone.is_set()
    running.release()  # The answer that comes too late is dropped.
    assert caller.send(GET).answer()[2] == b"now"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /now HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 40_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"x" * 40_000, 431),
        (b"GET /now HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431),
        (b"hello\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET /now HTTP/1.1\nHost: a\n\n", 400),
        (b"GET /now HTTP/1.1\r\n\r\n", 400),
        (
            b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\n\r\n\r\n", 400),
        (b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999\r\n\r\n", 413),
    ],
)
def test_what_cannot_be_framed_is_refused_and_nothing_behind_it_is_read(
    shared: Running, call: Call, data: bytes, status: int
) -> None:
    before = len(shared.application.calls)
    caller = call(shared).send(data + GET)
    found, headers, body = caller.answer()
    assert (found, headers["connection"]) == (status, "close")
    assert "error" in json.loads(body)
    assert caller.is_closed()
    assert len(shared.application.calls) == before


def test_a_refusal_of_a_huge_body_can_be_read_by_who_is_still_sending(start: Start, call: Call) -> None:
    running = start(max_body_bytes=1000)
    for data in (post("/echo", bytes(3_000_000)), chunked("/echo", *[bytes(900)] * 3000)):
        caller = call(running)
        caller.send(data)  # Not reset while it sends: what comes is read and dropped.
        status, _, body = caller.answer()
        assert status == 413
        assert b"at most 1000 bytes" in body
        assert caller.is_closed()


def test_a_thousand_idle_connections_are_no_burden(shared: Running, call: Call) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2500
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
    callers = [call(shared) for _ in range(1000)]
    shared.until(lambda: len(shared.server.connections) >= 1000)
    assert callers[500].send(GET).answer()[2] == b"now"
    for caller in callers:
        caller.socket.close()
    shared.until(lambda: len(shared.server.connections) < 100)


# -- states ------------------------------------------------------------------------------------------------


def test_while_loading_only_exempt_endpoints_answer(start: Start, call: Call) -> None:
    running = start()
    running.server.state = State.STARTING
    caller = call(running).send(GET + get("/exempt"))
    status, headers, _ = caller.answer()
    assert (status, headers["retry-after"]) == (503, "1")
    assert caller.answer()[0] == 200


def test_draining_closes_what_is_idle_and_answers_what_is_in_hand(start: Start, call: Call) -> None:
    running = start()
    idle, busy, begun = call(running).send(GET), call(running).send(post("/later", b"")), call(running)
    assert idle.answer()[0] == 200
    begun.send(GET[:-2])
    running.until(lambda: running.application.waiting and len(running.server.connections) == 3)
    running.until(lambda: any(c._buffer for c in running.server.connections))

    def drain() -> None:
        running.server.state = State.DRAINING
        running.server.begin_drain()

    running.call(drain)
    assert idle.is_closed()
    begun.send(b"\r\n")
    running.release()
    for caller, body in ((begun, b"now"), (busy, b"later")):
        _, headers, found = caller.answer()
        assert (headers["connection"], found) == ("close", body)
        assert caller.is_closed()
