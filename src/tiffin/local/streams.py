"""Calls whose callers accept server-sent events, passed on to a replica once there is one.

Such a caller gets comments while it waits, so that neither it nor a proxy on the way gives up. That takes an
answer of 200 before the replica has said anything; so a start that takes a moment only is waited for first, and
then the replica's own status and headers are what the caller sees.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import aiohttp
import yarl
from aiohttp import web

from tiffin.gateway.router import HOLD_HEADER, POOL_HEADER

log = logging.getLogger(__name__)

COMMENT = b": waiting for a replica\n\n"
MOST_BODY_BYTES = 67_108_864
MOST_BYTES_IN_ALL = 268_435_456
CONNECT_SECONDS = 5.0
_ERROR_BYTES = 65_536
_MOST_TURNS = 20
_TURN_SECONDS = 0.1
"""Pause before a call that no replica took waits again; a death is noticed well within all turns."""
SERVER = "tiffin"
"""What answers say of who made them: callers need not know which library in which version it is."""
_OWN = frozenset(
    {
        *("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"),
        *("content-length", "expect", POOL_HEADER, HOLD_HEADER),
    }
)
"""Headers of one connection, and those of the gateway."""
_LOST = (aiohttp.ClientError, OSError, asyncio.TimeoutError)


class Streams:
    """Settings, and the bytes of all bodies that are kept.

    Args:
        patience_seconds: how long a caller waits for its first byte.
        comment_seconds: between two comments.
        most_body_bytes: of one call; more is answered with 413.
        most_bytes: of all calls together; more is answered with 503.
    """

    def __init__(
        self,
        *,
        patience_seconds: float = 1.0,
        comment_seconds: float = 5.0,
        most_body_bytes: int = MOST_BODY_BYTES,
        most_bytes: int = MOST_BYTES_IN_ALL,
    ) -> None:
        self._patience_seconds = patience_seconds
        self._comment_seconds = comment_seconds
        self._most_body_bytes = most_body_bytes
        self._most_bytes = most_bytes
        self._bytes = 0

    async def serve(
        self,
        request: web.BaseRequest,
        *,
        wait: Callable[[], Awaitable[None]],
        endpoints: Callable[[], Sequence[str]],
    ) -> web.StreamResponse:
        """Answer one call; ``wait`` returns when there is a replica, and raises when there will be none."""
        body = bytearray()
        # Waiting begins before the body is whole: a slow upload and a slow start need not add up.
        waiting = asyncio.ensure_future(wait())
        try:
            refusal = await self._read(request, body)
            if refusal is not None:
                return refusal
            answer: web.StreamResponse | None = None
            for _ in range(_MOST_TURNS):
                answer = await self._entertained(request, waiting, answer)
                error = waiting.exception()
                if error is not None:
                    return await _failed(answer, 503, str(error), headers={"retry-after": "5"})
                passed = await _passed(request, bytes(body), endpoints(), answer)
                if passed is not None:
                    return passed
                # Let go, and the replicas have gone meanwhile: it waits again, as calls do that the gateway keeps.
                await asyncio.sleep(_TURN_SECONDS)
                waiting = asyncio.ensure_future(wait())
            return await _failed(answer, 503, "no replica could be reached", headers={"retry-after": "1"})
        finally:
            self._bytes -= len(body)
            waiting.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await waiting

    async def _read(self, request: web.BaseRequest, body: bytearray) -> web.Response | None:
        """Fill ``body``; the answer when it is too long."""
        async for chunk in request.content.iter_any():
            if len(body) + len(chunk) > self._most_body_bytes:
                return _error(413, f"expected a body of at most {self._most_body_bytes} bytes")
            if self._bytes + len(chunk) > self._most_bytes:
                return _error(503, "too many calls wait for a replica already", {"retry-after": "5"})
            body += chunk
            self._bytes += len(chunk)
        return None

    async def _entertained(
        self, request: web.BaseRequest, waiting: asyncio.Future[None], answer: web.StreamResponse | None = None
    ) -> web.StreamResponse | None:
        """Wait, with comments after a while; the answer that was begun, if one had to be."""
        await asyncio.wait((waiting,), timeout=self._patience_seconds)
        if waiting.done():
            return answer
        if answer is None:
            answer = web.StreamResponse(
                headers={"content-type": "text/event-stream", "cache-control": "no-cache", "server": SERVER}
            )
            await answer.prepare(request)
        while not waiting.done():
            await answer.write(COMMENT)
            await asyncio.wait((waiting,), timeout=self._comment_seconds)
        return answer


async def _passed(
    request: web.BaseRequest, body: bytes, endpoints: Sequence[str], answer: web.StreamResponse | None
) -> web.StreamResponse | None:
    """The call as the first replica that takes it answers it; None when none has taken anything of it."""
    headers = [(name, value) for name, value in request.headers.items() if name.lower() not in _OWN]
    for endpoint in endpoints:
        async with _session(endpoint) as session:
            try:
                response = await session.request(
                    request.method,
                    _url(endpoint, request.raw_path),
                    headers=headers,
                    data=body or None,
                    allow_redirects=False,
                    skip_auto_headers=("accept", "accept-encoding", "user-agent", "content-type"),
                )
            except aiohttp.ClientConnectorError:
                continue  # It has taken nothing of the call.
            except _LOST as error:
                log.warning("a streaming call was lost by %s: %s", endpoint, error)
                return await _failed(answer, 502, "the replica broke off")
            try:
                return await _copied(request, response, answer)
            finally:
                response.close()
    return None


async def _copied(
    request: web.BaseRequest, response: aiohttp.ClientResponse, answer: web.StreamResponse | None
) -> web.StreamResponse:
    if answer is not None and (response.status != 200 or response.content_type != "text/event-stream"):
        with contextlib.suppress(*_LOST):
            text = (await response.content.read(_ERROR_BYTES)).decode("utf-8", "replace")
            return await _failed(answer, response.status, text)
        return await _failed(answer, 502, "the replica broke off")
    if answer is None:
        answer = web.StreamResponse(status=response.status, reason=response.reason)
        for name, value in response.headers.items():
            if name.lower() not in _OWN:
                answer.headers.add(name, value)
        answer.headers.setdefault("server", SERVER)
        await answer.prepare(request)
    try:
        async for chunk in response.content.iter_any():
            await answer.write(chunk)
    except _LOST as error:
        log.warning("a replica broke off while it streamed: %s", error)
        if answer.headers.get("content-type", "").startswith("text/event-stream"):
            return await _failed(answer, 502, "the replica broke off")
        assert request.transport is not None
        request.transport.abort()
        return answer
    await answer.write_eof()
    return answer


async def _failed(
    answer: web.StreamResponse | None, status: int, text: str, *, headers: dict[str, str] | None = None
) -> web.StreamResponse:
    """The error, as an answer, or as an event when one was begun."""
    if answer is None:
        return _error(status, text, headers)
    try:
        data = json.loads(text)
    except ValueError:
        data = {"error": text}
    event = json.dumps({"status": status, **(data if isinstance(data, dict) else {"error": data})})
    with contextlib.suppress(ConnectionError):
        await answer.write(b"event: error\ndata: %b\n\n" % event.encode())
        await answer.write_eof()
    return answer


def _error(status: int, text: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        status=status, text=json.dumps({"error": text}), content_type="application/json", headers=headers
    )


def _url(endpoint: str, path: str) -> yarl.URL:
    return yarl.URL(f"http://{'replica' if endpoint.startswith('/') else endpoint}{path}", encoded=True)


@contextlib.asynccontextmanager
async def _session(endpoint: str) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of one replica: such calls are few, and a connection kept may be to one that has gone."""
    unix = endpoint.startswith("/")
    connector = aiohttp.UnixConnector(path=endpoint) if unix else aiohttp.TCPConnector()
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
    async with aiohttp.ClientSession(
        connector=connector, timeout=timeout, auto_decompress=False, read_bufsize=65_536
    ) as session:
        yield session
