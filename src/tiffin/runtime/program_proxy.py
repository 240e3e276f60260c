"""Requests passed on to a program on this machine, and its answers as they come; an ASGI application."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, MutableMapping
from typing import Any, NamedTuple

from tiffin.errors import NotReady
from tiffin.runtime.asgi import Receive, Send

ASK_SECONDS = 2.0
_PIECE_BYTES = 65_536
_HOP = frozenset((b"connection", b"keep-alive", b"te", b"trailer", b"upgrade", b"proxy-connection", b"expect"))
_FRAMING = frozenset((b"content-length", b"transfer-encoding"))
_BROKEN = (OSError, EOFError, ValueError, asyncio.LimitOverrunError)


class Answer(NamedTuple):
    """The head of an answer."""

    status: int
    headers: list[tuple[bytes, bytes]]

    def header(self, name: bytes) -> bytes:
        """One value, lower-case; empty without."""
        return next((value.lower() for key, value in self.headers if key == name), b"")


class ProgramProxy:
    """Passes on each request on a connection of its own, whose end tells the program that the caller has gone."""

    def __init__(self, port: Callable[[], int]) -> None:
        self._port = port

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Speak ASGI 3; raises NotReady when the program does not answer."""
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.http.response.start", "status": 501, "headers": []})
            await send({
                "type": "websocket.http.response.body",
                "body": b"WebSockets are not passed on to a program (cmd)\n",
            })  # fmt: skip
            return
        if scope["type"] != "http":
            return
        body = (await receive())["body"]
        gone = asyncio.ensure_future(_left(receive))
        passing = asyncio.ensure_future(self._pass(scope, body, send))
        try:
            await asyncio.wait({gone, passing}, return_when=asyncio.FIRST_COMPLETED)
            if not passing.done():
                passing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await passing
        finally:
            gone.cancel()
            passing.cancel()

    async def _pass(self, scope: MutableMapping[str, Any], body: bytes, send: Send) -> None:
        path = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        headers = [(name, value) for name, value in scope["headers"] if name not in _HOP | _FRAMING]
        if body or scope["method"] not in ("GET", "HEAD"):
            headers.append((b"content-length", b"%d" % len(body)))
        began = False
        try:
            async with _asked(self._port(), scope["method"].encode(), path, headers, body) as (answer, reader):
                lines = [(k, v) for k, v in answer.headers if k not in _HOP and k != b"transfer-encoding"]
                await send({"type": "http.response.start", "status": answer.status, "headers": lines})
                began = True
                if scope["method"] != "HEAD" and answer.status not in (204, 304):
                    left = int(answer.header(b"content-length") or -1)
                    async for piece in _pieces(answer, reader):
                        left -= len(piece)
                        await send({"type": "http.response.body", "body": piece, "more_body": left != 0})
                        if not left:
                            return  # one that came as a whole leaves as a whole
                await send({"type": "http.response.body", "body": b""})
        except _BROKEN as error:
            if began:
                raise
            raise NotReady("the service's program does not answer; try again later") from error


async def ask(port: int, path: str) -> int:
    """The status of a GET; 0 when there is none within two seconds."""
    try:
        async with asyncio.timeout(ASK_SECONDS):
            async with _asked(port, b"GET", path.encode(), [(b"host", b"localhost")], b"") as (answer, _):
                return answer.status
    except (TimeoutError, *_BROKEN):
        return 0


@contextlib.asynccontextmanager
async def _asked(
    port: int, method: bytes, path: bytes, headers: list[tuple[bytes, bytes]], body: bytes
) -> AsyncIterator[tuple[Answer, asyncio.StreamReader]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        lines = b"".join(b"%b: %b\r\n" % line for line in headers)
        writer.write(b"%b %b HTTP/1.1\r\n%bconnection: close\r\n\r\n" % (method, path, lines))
        writer.write(body)
        # Not drained: a program may answer, and close, before it has read all of it.
        answer = await _head(reader)
        while 100 <= answer.status < 200:
            answer = await _head(reader)
        yield answer, reader
    finally:
        writer.close()


async def _head(reader: asyncio.StreamReader) -> Answer:
    first, *lines = (await reader.readuntil(b"\r\n\r\n"))[:-4].split(b"\r\n")
    version, status, *_ = first.split(b" ", 2)
    if not version.startswith(b"HTTP/1."):
        raise ValueError(f"expected an answer of HTTP/1.1, found {first[:80]!r}")
    pairs = (line.partition(b":") for line in lines)
    return Answer(int(status), [(name.strip().lower(), value.strip()) for name, _, value in pairs])


async def _pieces(answer: Answer, reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    if answer.header(b"transfer-encoding") == b"chunked":
        while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
            while size:
                piece = await reader.read(min(size, _PIECE_BYTES))
                if not piece:
                    raise ConnectionResetError("the program's answer broke off")
                size -= len(piece)
                yield piece
            await reader.readexactly(2)
        return
    length = answer.header(b"content-length")
    left = int(length) if length else None
    while left is None or left:
        piece = await reader.read(_PIECE_BYTES if left is None else min(left, _PIECE_BYTES))
        if not piece and left is not None:
            raise ConnectionResetError("the program's answer broke off")
        if not piece:
            return
        left = None if left is None else left - len(piece)
        yield piece


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
