"""One worker: an event loop with one application on it, from its start to the end of its drain."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import mmap
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from tiffin.errors import TiffinError
from tiffin.protocol.reply import TEXT, Reply
from tiffin.runtime import phases
from tiffin.runtime.application import Application, RouteTable
from tiffin.runtime.exchange import Endpoint, Exchange
from tiffin.runtime.lifecycle import State, after
from tiffin.runtime.listening import tls_context, worker_address
from tiffin.runtime.metrics import Metrics
from tiffin.runtime.server import Server
from tiffin.spec import ReplicaSpec

if TYPE_CHECKING:
    from tiffin.runtime.grpc_server import GrpcServer
    from tiffin.runtime.tap import Listener

log = logging.getLogger(__name__)

OK, COULD_NOT_START = 0, 3
BACKLOG = 2048
_PROMETHEUS = b"text/plain; version=0.0.4; charset=utf-8"
_PARENT_SECONDS = 1.0
_SETTLE_SECONDS = 0.05
"""How long a draining worker still accepts: what was on its way when the signal came is answered."""


class Worker:
    """Serves one application on listening sockets until told to drain.

    Args:
        spec: limits, names and time-outs.
        application: what to serve; loaded here.
        sockets: listening sockets, owned by the caller.
        memory: shared counters, see ``metrics.shared_memory``.
        index: which of the workers this is.
        parent: the process that looks after this one; the worker drains when it has gone.
        on_ready: called once, when the application is loaded, warm and answering.
        comes_back: it takes the place of one that died while others serve: it takes connections only once it
            is loaded, so that callers wait, or are answered by the others, instead of being refused.
    """

    def __init__(
        self,
        spec: ReplicaSpec,
        application: Application,
        sockets: Sequence[socket.socket],
        *,
        memory: mmap.mmap | None = None,
        index: int = 0,
        parent: int | None = None,
        on_ready: Callable[[], None] = lambda: None,
        comes_back: bool = False,
    ) -> None:
        self._spec = spec
        self._application = application
        self._sockets = sockets
        self._on_ready = on_ready
        self._parent = parent
        self._comes_back = comes_back
        self._index = index
        self._grpc: GrpcServer | None = None
        self._grpc_endpoints: dict[str, Endpoint] = {}
        if spec.grpc is not None:
            # Imported by workers alone, after any fork, and only when it is asked for.
            from tiffin.runtime import grpc_server

            self._grpc_endpoints = grpc_server.endpoints()
        table = self._routes()
        labels = {"namespace": spec.namespace, "deployment": spec.deployment}
        self._metrics = Metrics(table.endpoints, memory, index, labels)
        application.use(self._metrics, index)
        self._server = Server(
            application,
            table,
            spec.limits,
            self._metrics,
            timeout_seconds=spec.component.timeout_seconds,
            listeners=_listeners(spec, self._metrics, index),
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._drain = asyncio.Event()
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def failure(self) -> BaseException | None:
        """Why it could not load, if it could not."""
        return self._failure

    def drain(self) -> None:
        """As SIGTERM does, from any thread; nothing happens when it has ended."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has closed
                self._loop.call_soon_threadsafe(self._told_to_drain)

    def run(self) -> int:
        """Serve until drained; the exit code."""
        with asyncio.Runner(loop_factory=_new_loop) as runner:
            return runner.run(self._main())

    async def _main(self) -> int:
        loop = asyncio.get_running_loop()
        self._loop = loop
        if threading.current_thread() is threading.main_thread():  # no other thread is given signals
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self._told_to_drain)
        self._server.start()
        if self._parent is not None:
            self._look_for_parent(loop)
        listeners: list[asyncio.AbstractServer] = []
        try:
            return await self._serve(listeners)
        finally:
            for listener in listeners:
                listener.close()

    async def _serve(self, listeners: list[asyncio.AbstractServer]) -> int:
        if not self._comes_back and not await self._open(listeners):
            return COULD_NOT_START
        loaded = asyncio.create_task(self._load())
        draining = asyncio.create_task(self._drain.wait())
        await asyncio.wait((loaded, draining), return_when=asyncio.FIRST_COMPLETED)
        if not loaded.done():
            return OK  # Told to stop while loading: nobody was promised anything.
        if self._failure is not None:
            self._server.state = after(self._server.state, "failed")
            return COULD_NOT_START
        if self._comes_back and not await self._open(listeners):
            return COULD_NOT_START
        await draining
        await self._finish(listeners)
        return OK

    async def _open(self, listeners: list[asyncio.AbstractServer]) -> bool:
        """Take connections from now on; whether that was possible."""
        loop = asyncio.get_running_loop()
        listeners.extend([await self._listen(loop, sock) for sock in self._sockets])
        return await self._start_grpc()

    async def _listen(self, loop: asyncio.AbstractEventLoop, sock: socket.socket) -> asyncio.AbstractServer:
        if sock.family == socket.AF_UNIX:
            return await loop.create_unix_server(self._server.connect, sock=sock, backlog=BACKLOG)
        listen = self._spec.listen
        context = tls_context(listen.tls) if listen.tls is not None else None
        return await loop.create_server(self._server.connect, sock=sock, backlog=listen.backlog, ssl=context)

    async def _start_grpc(self) -> bool:
        """Listen for gRPC as well, where that is asked for; whether it could."""
        if self._spec.grpc is None:
            return True
        from tiffin.runtime.grpc_server import GrpcServer

        unseen = [
            what
            for what, there in (
                ("the payload logger", self._spec.component.logger),
                ("the recording", self._spec.recording),
            )
            if there is not None
        ]
        if unseen:
            log.warning("%s: calls over gRPC are left out", " and ".join(unseen))
        self._grpc = GrpcServer(self._server, self._application.tensor_models, self._grpc_endpoints)
        try:
            await self._grpc.start(worker_address(self._spec.grpc, self._index))
        except TiffinError as error:
            log.error("could not start: %s", error)
            return False
        return True

    async def _load(self) -> None:
        """Load in a thread, so that the worker is alive, and says it is not ready, meanwhile."""
        began = time.monotonic()
        try:
            phases.start.end("import")
            await _in_thread(self._application.load)
            await self._application.start()
            self._publish()
            phases.start.end("warm-up" if "load" in phases.start.seconds else "load")
        except TiffinError as error:
            self._failure = error
            hint = f"\nhint: {error.hint}" if error.hint else ""
            log.error("could not load: %s%s", error, hint)
            return
        except Exception as error:
            self._failure = error
            log.exception("could not load")
            return
        # What was loaded stays for good: keep it out of every later collection (measured: 65-180 ms each).
        gc.collect()
        gc.freeze()
        self._metrics.loaded(time.monotonic() - began)
        self._metrics.started(phases.start.seconds)
        self._server.state = after(self._server.state, "loaded")
        log.info("ready after %.2f s", time.monotonic() - began)
        self._on_ready()

    def _routes(self) -> RouteTable:
        # Health comes first, so that its endpoints keep their places when the application gains its own.
        own = [*self._health(), *self._grpc_endpoints.values()]
        return RouteTable([*own, *self._application.endpoints()])

    def _publish(self) -> None:
        """A service's endpoints are known once it was imported."""
        table = self._routes()
        self._metrics.know(table.endpoints)
        self._server.route(table)

    def _look_for_parent(self, loop: asyncio.AbstractEventLoop) -> None:
        """A worker whose supervisor was killed would be looked after, and stopped, by nobody."""
        if os.getppid() != self._parent:
            log.warning("the supervisor has gone")
            self._told_to_drain()
        else:
            loop.call_later(_PARENT_SECONDS, self._look_for_parent, loop)

    def _told_to_drain(self) -> None:
        if self._drain.is_set():
            self._server.stop()  # Told twice: now.
        self._drain.set()

    async def _finish(self, listeners: Sequence[asyncio.AbstractServer]) -> None:
        server = self._server
        self._metrics.unready()
        server.state = after(server.state, "drain")
        log.info("draining: %d calls in hand", server.in_flight)
        await asyncio.sleep(_SETTLE_SECONDS)
        for listener in listeners:
            listener.close()
        idle = asyncio.Event()
        server.on_idle = idle.set
        server.begin_drain()
        grpc_stopped = asyncio.create_task(self._stop_grpc())
        if server.connections:
            try:
                async with asyncio.timeout(self._spec.limits.drain_seconds):
                    await idle.wait()
            except TimeoutError:
                log.warning("drain time is over: %d calls are cut off", server.in_flight)
        await grpc_stopped
        server.stop()
        await self._application.stop()
        server.state = after(server.state, "idle")
        log.info("stopped")

    async def _stop_grpc(self) -> None:
        if self._grpc is not None:
            await self._grpc.stop(self._spec.limits.drain_seconds)

    # -- health --------------------------------------------------------------------------------------------

    def _health(self) -> list[Endpoint]:
        return [
            Endpoint("GET", "/healthz", self._live, exempt=True),
            Endpoint("GET", "/livez", self._live, exempt=True),
            Endpoint("GET", "/readyz", self._ready, exempt=True),
            Endpoint("GET", "/metrics", self._page, exempt=True),
        ]

    def _live(self, exchange: Exchange) -> None:
        if self._server.state is State.STARTING:
            exchange.reply(Reply(200, b"\n", TEXT))
        else:
            self._ask(exchange, self._application.is_alive(), b"not alive\n")

    def _ready(self, exchange: Exchange) -> None:
        state = self._server.state
        if state is State.READY:
            self._ask(exchange, self._application.is_ready(), b"not ready\n")
        else:
            exchange.reply(Reply(503, state.value.encode("ascii") + b"\n", TEXT))

    def _ask(self, exchange: Exchange, question: Coroutine[Any, Any, bool], no: bytes) -> None:
        async def answer() -> None:
            try:
                good = await question
            except Exception:
                log.exception("a health hook failed")
                good = False
            exchange.reply(Reply(200, b"\n", TEXT) if good else Reply(503, no, TEXT))

        self._spawn(answer())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _page(self, exchange: Exchange) -> None:
        self._metrics.gauges(self._server.in_flight, len(self._server.connections))
        if self._metrics.editor is None:
            exchange.reply(Reply(200, self._metrics.page(), _PROMETHEUS))
            return

        async def answer() -> None:
            exchange.reply(Reply(200, await self._metrics.edited_page(), _PROMETHEUS))

        self._spawn(answer())


def _listeners(spec: ReplicaSpec, metrics: Metrics, index: int) -> list[Listener]:
    """Who may want to see calls; imported only then."""
    listeners: list[Listener] = []
    if spec.recording is not None:
        from tiffin.runtime.recorder import Recorder

        listeners.append(Recorder(spec.recording, metrics, index))
    if spec.component.logger is not None:
        from tiffin.runtime.payloads import PayloadLogger

        listeners.append(PayloadLogger(spec, spec.component.logger, metrics))
    return listeners


async def _in_thread(work: Callable[[], None]) -> None:
    """Run ``work`` in a thread of its own; unlike an executor's, it does not hold up the end of the process."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def settle(error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def body() -> None:
        failure: BaseException | None = None
        try:
            work()
        except BaseException as error:
            failure = error
        try:
            loop.call_soon_threadsafe(settle, failure)
        except RuntimeError:
            return  # The loop has closed: told to stop while loading.

    threading.Thread(target=body, name="load", daemon=True).start()
    await done


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop
