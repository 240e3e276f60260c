"""Holds calls to pools without a replica, wakes the controller, and lets the calls go when there is one.

Envoy asks here, with the head of a call only, whether it may go on: the body stays with Envoy, and the answer
comes when the gateway knows a replica. Callers that accept server-sent events are passed to ``streams``, since
their patience ends earlier. What falls between two states is kept a moment and sent back to be asked again.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from aiohttp import web

from tiffin.autoscale.holding import Entry, Holds
from tiffin.errors import PlatformError
from tiffin.gateway.router import AGAIN_HEADER, HOLD_HEADER, POOL_HEADER
from tiffin.local.streams import SERVER, Streams

log = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = 5
_HEAD_BYTES = 65_536
_KEEP_ALIVE_SECONDS = 120.0
"""Longer than Envoy keeps an idle connection: it is the one that closes."""
_LAST_ANSWERS_SECONDS = 1.0


class Refused(Exception):
    """A held call that will not be let go; the reason is for its caller."""


class Activator:
    """``start``, then ``hold``, ``release``, ``refuse`` and ``forget`` by pool; ``stop`` answers what is held.

    All are called from the event loop it was started in.
    """

    def __init__(self, streams: Streams | None = None, holds: Holds | None = None) -> None:
        self._holds = holds or Holds()
        self._streams = streams or Streams()
        self._calls: dict[int, asyncio.Future[None]] = {}
        self._wake: Callable[[str], None] = lambda pool: None
        self._runner: web.ServerRunner | None = None
        self._socket: Path | None = None
        self._busy: set[asyncio.Task[None] | None] = set()

    async def start(self, socket: Path, wake: Callable[[str], None]) -> None:
        """Listen on a Unix socket of this user's; raises PlatformError."""
        self._wake = wake
        # A caller that leaves cancels its handler, so that nothing is kept of it.
        server = web.Server(
            self._answer,
            access_log=None,
            handler_cancellation=True,
            keepalive_timeout=_KEEP_ALIVE_SECONDS,
            max_line_size=_HEAD_BYTES,
            max_field_size=_HEAD_BYTES,
        )
        runner = web.ServerRunner(server, shutdown_timeout=_LAST_ANSWERS_SECONDS)
        await runner.setup()
        try:
            remove(socket)
            await web.UnixSite(runner, str(socket), backlog=4096).start()
            os.chmod(socket, 0o600)
        except OSError as error:
            await runner.cleanup()
            raise PlatformError(f"the activator cannot listen on {socket}: {error.strerror or error}") from error
        self._runner, self._socket = runner, socket

    def hold(self, pool: str, *, most: int | None = None, seconds: float | None = None) -> None:
        """Calls wait from now on: at most ``most``, for ``seconds`` each."""
        self._holds.hold(pool, most=most, seconds=seconds)

    def release(self, pool: str, endpoints: Sequence[str]) -> None:
        """What waits goes on, in the order it came, and so does what still comes."""
        for ticket in self._holds.release(pool, endpoints):
            self._settle(ticket, None)

    def refuse(self, pool: str, reason: str) -> None:
        """What waits is answered with 503; the next call waits, and wakes, again."""
        for ticket in self._holds.refuse(pool):
            self._settle(ticket, Refused(reason))

    def held(self, pool: str) -> int:
        """How many calls wait for this pool."""
        return self._holds.held(pool)

    def forget(self, pool: str) -> None:
        """What waits is answered with 503."""
        for ticket in self._holds.forget(pool):
            self._settle(ticket, Refused("the deployment was removed"))

    async def stop(self) -> None:
        """Answer all that is held with 503, and stop to listen."""
        for pool in self._holds.pools:
            self.refuse(pool, "the platform is stopping")
        if self._runner is not None:
            waiting = [task for task in self._busy if task is not None]
            if waiting:
                await asyncio.wait(waiting, timeout=_LAST_ANSWERS_SECONDS)
            await self._runner.cleanup()
            self._runner = None
        if self._socket is not None:
            remove(self._socket)

    def _settle(self, ticket: int, error: Exception | None) -> None:
        future = self._calls.pop(ticket, None)
        if future is None or future.done():
            return
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    # -- calls ---------------------------------------------------------------------------------------------

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        task: asyncio.Task[None] | None = asyncio.current_task()
        self._busy.add(task)
        try:
            answer = await self._judged(request)
        except (OSError, web.HTTPException):
            raise  # The caller left.
        except Exception:
            log.exception("a call that waited could not be answered")
            answer = unavailable("the platform failed at this for a reason of its own")
        finally:
            self._busy.discard(task)
        answer.headers.setdefault("server", SERVER)
        return answer

    async def _judged(self, request: web.BaseRequest) -> web.StreamResponse:
        pool = request.headers.get(POOL_HEADER, "")
        kind = request.headers.get(HOLD_HEADER, "")
        if not pool:
            return unavailable("this address is for the gateway only", retry=False)
        if kind == "stream":
            return await self._streams.serve(
                request,
                wait=lambda: self._pass(pool),
                endpoints=lambda: self._holds.endpoints(pool),
            )
        reading = None if kind == "check" else asyncio.create_task(_discard(request))
        try:
            await self._pass(pool)
        except Refused as error:
            # Envoy takes 5xx for a failure to ask, and lets the call go; it makes a 503 of this.
            return unavailable(str(error), status=429 if kind == "check" else 503)
        finally:
            if reading is not None:
                reading.cancel()
        if kind == "check":
            return web.Response(status=200)
        return web.Response(status=503, headers={AGAIN_HEADER: "1"})

    def _try_to_wake(self, pool: str) -> None:
        try:
            self._wake(pool)
        except Exception:
            # The call waits all the same: the controller looks at what is held once a second.
            log.exception("waking %s failed", pool)

    async def _pass(self, pool: str) -> None:
        """Return when a call to this pool may go on; raises Refused when it may not."""
        entry, ticket = self._holds.arrive(pool)
        if entry is Entry.PASSES:
            return
        if entry is Entry.IS_TOO_MUCH:
            raise Refused(f"too many calls wait for a replica already ({self._holds.held(pool)})")
        call = self._calls[ticket] = asyncio.get_running_loop().create_future()
        seconds = self._holds.seconds(pool)
        try:
            if self._holds.held(pool) == 1:
                self._try_to_wake(pool)
            async with asyncio.timeout(seconds):
                await call
        except TimeoutError:
            raise Refused(f"no replica was ready within {seconds:g} s") from None
        finally:
            self._holds.leave(pool, ticket)
            self._calls.pop(ticket, None)


def unavailable(reason: str, *, retry: bool = True, status: int = 503) -> web.Response:
    """The caller gets 503, and when to come again."""
    headers = {"retry-after": str(RETRY_AFTER_SECONDS)} if retry else {}
    return web.Response(
        status=status, text=json.dumps({"error": reason}), content_type="application/json", headers=headers
    )


def remove(socket: Path) -> None:
    """What one that was killed left behind."""
    socket.unlink(missing_ok=True)


async def _discard(request: web.BaseRequest) -> None:
    """Read a body that Envoy keeps: it listens for the answer only once it has sent it."""
    async for _ in request.content.iter_any():
        pass
