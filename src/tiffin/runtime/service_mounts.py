"""ASGI and WSGI applications beside a service's endpoints."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine, Iterable
from typing import TYPE_CHECKING, Any, cast

from tiffin.errors import ServiceError
from tiffin.protocol import named_json
from tiffin.runtime import websocket
from tiffin.runtime.asgi import App, AsgiCall, Lifespan, http_scope
from tiffin.runtime.exchange import Endpoint, Exchange, Wired
from tiffin.service.mounts import Mount

if TYPE_CHECKING:
    from tiffin.runtime.service_application import ServiceApplication

log = logging.getLogger(__name__)


class ServiceMounts:
    """The facet of mounted applications: each has every path below its own that is not taken."""

    def __init__(self, application: ServiceApplication) -> None:
        self._application = application
        self.mounted = [Mounted(application, mount) for mount in application.service.placed_mounts()]
        # An application that is mounted twice starts once.
        lifespans = {id(mounted.mount.app): mounted.lifespan for mounted in reversed(self.mounted)}
        for mounted in self.mounted:
            mounted.lifespan = lifespans[id(mounted.mount.app)]
        self._lifespans = list(lifespans.values())

    def endpoints(self) -> Iterable[Endpoint]:
        """One for each application, and one more for a page of its own at the root."""
        for mounted in self.mounted:
            path = mounted.mount.path
            if not path and has_home_page(mounted.mount.app):
                yield Endpoint("GET", "/", mounted.handle)
            yield Endpoint("*", f"{path}/*", mounted.handle, below=path)

    def at(self, path: str) -> Mounted | None:
        """The application a path belongs to: the one with the longest path of its own."""
        for mounted in sorted(self.mounted, key=lambda mounted: -len(mounted.mount.path)):
            own = mounted.mount.path
            if path.startswith(own) and path[len(own) : len(own) + 1] in ("", "/"):
                return mounted
        return None

    async def start(self) -> None:
        """Start them, one after the other."""
        for lifespan in self._lifespans:
            await lifespan.start()

    async def stop(self) -> None:
        """Let what they do in the background come to its end, and stop them, the last one first."""
        for mounted in self.mounted:
            await mounted.finish()
        for lifespan in reversed(self._lifespans):
            with contextlib.suppress(ServiceError):
                await lifespan.stop()


class Mounted:
    """One application: its lifespan and its calls."""

    def __init__(self, application: ServiceApplication, mount: Mount) -> None:
        self.mount = mount
        self.app = app_of(application, mount)
        self.lifespan = Lifespan(self.app, f"{mount.name} at {mount.path or '/'}")
        self._application = application
        self._tasks: set[asyncio.Task[None]] = set()

    def handle(self, exchange: Exchange) -> None:
        """Begin a call; the application answers it."""
        if websocket.is_asked_for(exchange.head) and hasattr(exchange, "take_over"):
            self._handle_websocket(cast(Wired, exchange))
            return
        self._application.admit()
        self._spawn(self._call(exchange))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._application.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _handle_websocket(self, exchange: Wired) -> None:
        websocket.check_library()
        key = websocket.accept_key(exchange.head)
        scope = websocket.websocket_scope(exchange.head, root_path=self.mount.path, state=self.lifespan.state)
        limit = self._application.spec.limits.max_body_bytes
        self._spawn(websocket.run(self.app, exchange, scope, key, limit))

    async def _call(self, exchange: Exchange) -> None:
        application = self._application
        task = asyncio.current_task()

        def late() -> None:
            call.fail(named_json.error_reply(named_json.deadline(application.timeout_seconds)))
            if task is not None:
                task.cancel()

        timer = application.loop.call_later(application.timeout_seconds, late)
        call = AsgiCall(exchange, on_answer=timer.cancel)
        scope = http_scope(
            exchange.head,
            body_bytes=len(exchange.body),
            root_path=self.mount.path,
            state=self.lifespan.state,
        )
        try:
            await self.app(scope, call.receive, call.send)
            if not call.is_complete:
                raise ServiceError(f"{self.mount.name} ended without an answer", at=exchange.head.path)
        except Exception as error:
            if not (exchange.closed and isinstance(error, OSError)):
                log.error("%s failed", self.mount.name, exc_info=error)
            call.fail(named_json.error_reply(error))
        finally:
            timer.cancel()
            application.ended()

    async def finish(self) -> None:
        """Wait for what goes on behind the answers, as long as a drain may take."""
        if self._tasks:
            _, unfinished = await asyncio.wait(self._tasks, timeout=self._application.spec.limits.drain_seconds)
            for task in unfinished:
                task.cancel()


def app_of(application: ServiceApplication, mount: Mount) -> App:
    """The application itself; a WSGI one gets threads of the service's."""
    if mount.kind == "asgi":
        return cast(App, mount.app)
    from tiffin.runtime.wsgi import WsgiApp

    return WsgiApp(mount.app, application.in_pool)


def has_home_page(app: Any) -> bool:
    """Whether an application says that it has something at its root (Starlette's and FastAPI's do)."""
    return any(getattr(route, "path", None) == "/" for route in getattr(app, "routes", ()))
