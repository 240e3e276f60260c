"""An exchange as an ASGI application sees it: its scope, its body, and the answer it sends.

Only what a socket's exchange has is spoken of: HTTP/1.1, a body that is in hand as a whole, and answers that are
sent at once or at the caller's pace. WebSockets are in ``websocket``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import quote

from tiffin.errors import ServiceError
from tiffin.protocol.head import Head
from tiffin.protocol.reply import Reply
from tiffin.runtime.exchange import Exchange

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

# The framing, the date and the server's name of an answer are the connection's own.
_OURS = frozenset((b"content-length", b"transfer-encoding", b"connection", b"keep-alive", b"date", b"server"))
# The body an application gets is whole, and decoded.
_FRAMING = frozenset((b"content-length", b"transfer-encoding", b"content-encoding", b"expect"))


def http_scope(head: Head, *, body_bytes: int, root_path: str = "", state: dict[str, Any]) -> dict[str, Any]:
    """The scope of one request; ``root_path`` is the part of its path that a mount stands for."""
    headers = [(name, value) for name, value in head.headers.items() if name not in _FRAMING]
    if body_bytes or head.content_length:
        headers.append((b"content-length", b"%d" % body_bytes))
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": f"1.{head.minor_version}",
        "method": head.method,
        **address(head, root_path, "http"),
        "headers": headers,
        "state": state.copy(),
    }


def address(head: Head, root_path: str, scheme: str) -> dict[str, Any]:
    """The part of a scope that says what is asked for, and where; a proxy in front may say so in headers."""
    forwarded = head.header(b"x-forwarded-proto").decode("latin-1")
    if forwarded in ("http", "https"):
        scheme = forwarded if scheme == "http" else {"http": "ws", "https": "wss"}[forwarded]
    host, _, port = head.header(b"host").decode("latin-1").rpartition(":")
    is_numbered = port.isdigit()
    caller = head.header(b"x-forwarded-for").decode("latin-1").partition(",")[0].strip()
    return {
        "scheme": scheme,
        "path": head.path,
        "raw_path": quote(head.path, safe="/:@!$&'()*+,;=~").encode("ascii"),
        "query_string": head.query,
        "root_path": root_path,
        "client": (caller, 0) if caller else None,
        "server": (host, int(port)) if is_numbered and host else (port or "localhost", 80),
    }


class AsgiCall:
    """One request in an ASGI application.

    Args:
        exchange: answered by what the application sends.
        on_answer: called once, when the answer begins.
    """

    def __init__(self, exchange: Exchange, on_answer: Callable[[], None] = lambda: None) -> None:
        self._exchange = exchange
        self._on_answer = on_answer
        self._body: bytes | None = exchange.body
        self._left = asyncio.Event()
        self._head: Reply | None = None
        self._streams = False
        self.is_answered = False
        self.is_complete = False
        exchange.on_close = self._left.set

    async def receive(self) -> Message:
        """The body; after it, the caller's leaving, or the end of the answer."""
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Take a part of the answer; raises OSError once the caller has gone."""
        kind = message["type"]
        if kind == "http.response.start":
            self._head = _reply(message)
        elif kind == "http.response.body" and self._head is not None:
            if not self.is_complete:
                await self._take(self._head, bytes(message.get("body", b"")), message.get("more_body", False))
        else:
            raise ServiceError(f"expected http.response.start and then its body, found {kind!r}")

    async def _take(self, head: Reply, body: bytes, is_more: bool) -> None:
        exchange = self._exchange
        if not self.is_answered:
            self.is_answered = True
            self._on_answer()
            if exchange.closed:
                raise ConnectionResetError("the caller has gone")
            if not is_more:
                head.body = body
                self._end()
                exchange.reply(head)
                return
            exchange.start(head)
            exchange.on_close = self._left.set
        if body:
            await exchange.send(body)
        if not is_more:
            self._end()
            exchange.finish()

    def _end(self) -> None:
        self.is_complete = True
        self._left.set()

    def fail(self, reply: Reply) -> None:
        """The application raised, or ended without an answer: answer for it, or break off what it began."""
        if self.is_complete:
            return
        self._end()
        if self.is_answered:
            self._exchange.abort()
        else:
            self.is_answered = True
            self._on_answer()
            self._exchange.reply(reply)


def _reply(message: Message) -> Reply:
    content_type, lines = b"", []
    for name, value in message.get("headers", ()):
        key = bytes(name).lower()
        if key == b"content-type":
            content_type = bytes(value)
        elif key not in _OURS:
            lines.append((key, bytes(value)))
    return Reply(message["status"], b"", content_type, tuple(lines))


class Lifespan:
    """The start and the end of an ASGI application; one that does not know of them just has none."""

    def __init__(self, app: App, name: str) -> None:
        self._app = app
        self._name = name
        self.state: dict[str, Any] = {}
        self._orders: asyncio.Queue[Message] = asyncio.Queue()
        self._said: asyncio.Future[str] | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_running = False

    async def start(self) -> None:
        """Raises ServiceError when the application says it could not start.

        It may be started again, on another loop; what ran on one that has ended is forgotten.
        """
        self._orders, self._task = asyncio.Queue(), None
        await self._tell("startup")

    async def stop(self) -> None:
        """Let it end in its own way."""
        if self._is_running:
            await self._tell("shutdown")
        if self._task is not None:
            self._task.cancel()

    async def _tell(self, moment: str) -> None:
        self._said = asyncio.get_running_loop().create_future()
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())
        self._orders.put_nowait({"type": f"lifespan.{moment}"})
        answer = await self._said
        self._is_running = answer == "lifespan.startup.complete"
        if answer.startswith("lifespan.startup.failed"):
            raise ServiceError(
                f"the mounted application could not start: {answer.partition(':')[2] or 'it gave no reason'}",
                at=self._name,
            )

    async def _run(self) -> None:
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self.state,
        }
        answer = ""
        try:
            await self._app(scope, self._orders.get, self._hear)
        except Exception as error:
            # Most applications without a lifespan raise at once; one that has begun, and then fails, has a reason.
            if self._is_running:
                answer = f"lifespan.startup.failed:{type(error).__name__}: {error}"
        self._settle(answer)

    async def _hear(self, message: Message) -> None:
        reason = message.get("message", "")
        self._settle(f"{message['type']}:{reason}" if message["type"].endswith("failed") else message["type"])

    def _settle(self, answer: str) -> None:
        if self._said is not None and not self._said.done():
            self._said.set_result(answer)
