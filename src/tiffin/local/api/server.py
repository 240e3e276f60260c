"""The routes of the API, and the sockets it listens on."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hmac
import os
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from tiffin import dialects
from tiffin.dialects import documents, routes
from tiffin.errors import (
    DecodeError,
    MethodNotAllowed,
    PlatformError,
    SpecError,
    TooLarge,
    Unauthorized,
    UnknownRoute,
)
from tiffin.kits import ports, sockets
from tiffin.kits.paths import DataDirectory
from tiffin.local.api import failures, openapi, requests, streams
from tiffin.local.api.hiding import without_secrets
from tiffin.local.api.operations import OPERATIONS
from tiffin.local.api.platform import Platform
from tiffin.local.streams import SERVER
from tiffin.plan import objects
from tiffin.plan.objects import Object, Source, Watched
from tiffin.plan.state import Event

EVENT_POLL_SECONDS = 0.5
STOP_SECONDS = 2.0

Answer = TypeVar("Answer")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Handlers:
    """One method for each operation, by its name."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.stopping = asyncio.Event()
        self._writes: set[asyncio.Future[Any]] = set()

    async def health(self, request: web.Request) -> web.StreamResponse:
        return reply(objects.Done(message="running"))

    async def openapi(self, request: web.Request) -> web.StreamResponse:
        return reply(openapi.document())

    async def list(self, request: web.Request) -> web.StreamResponse:
        namespace = request.query.get("namespace") or None
        if not requests.flag(request, "watch"):
            items, version = self.platform.objects(namespace)
            return reply(objects.Listing(resource_version=version, items=tuple(map(without_secrets, items))))
        since = requests.number(request, "resourceVersion")
        if since is None:
            since = requests.whole(request.headers.get("Last-Event-ID", ""), "Last-Event-ID")

        async def chunks() -> AsyncIterator[bytes]:
            async for change in self.platform.watch(since, namespace):
                shown = Watched(type=change.type, object=without_secrets(change.object))
                yield streams.event(change.type, shown, change.object.metadata.resource_version)

        return await streams.send(request, chunks(), streams.EVENTS, self.stopping)

    async def get(self, request: web.Request) -> web.StreamResponse:
        return reply(without_secrets(self._object(request)))

    async def status(self, request: web.Request) -> web.StreamResponse:
        return reply(self._object(request).status)

    async def put(self, request: web.Request) -> web.StreamResponse:
        key = requests.key(request)
        data = await requests.body(request)
        text = requests.document(data)
        found = await asyncio.to_thread(dialects.parse, text)
        if [deployment.key for deployment in found] != [key]:
            named = ", ".join(deployment.key for deployment in found)
            raise SpecError(f"expected the document of {key}, found that of {named}", at="metadata.name")
        seen = requests.version(request)
        if seen is None:
            own = requests.metadata_of(documents.parse(text, "")[0].value).get("resourceVersion")
            seen = None if own is None else requests.whole(str(own), "metadata.resourceVersion")
        done = await self._write(self.platform.apply([Source(text=text)], resource_version=seen))
        return reply(done[0])

    async def delete(self, request: web.Request) -> web.StreamResponse:
        key = requests.key(request)
        await self._write(self.platform.delete(key, resource_version=requests.version(request)))
        return reply(objects.Done(message=f"{key} is deleted"))

    async def apply(self, request: web.Request) -> web.StreamResponse:
        wanted = await requests.decoded(request, objects.ApplyRequest)
        if not wanted.sources:
            raise DecodeError("expected at least one source, found none", at="sources")
        if wanted.managed_by not in ("", "up"):
            raise DecodeError(f"expected up or nothing, found {wanted.managed_by[:40]!a}", at="managedBy")
        for index, source in enumerate(wanted.sources):
            _check(source, f"sources[{index}]")
        done = await self._write(
            self.platform.apply(
                wanted.sources,
                dry_run=wanted.dry_run,
                managed_by=wanted.managed_by,
                trust=wanted.trust,
                domain=requests.domain(wanted.domain) or routes.DOMAIN,
                resource_version=None if wanted.force else wanted.resource_version,
            )
        )
        return reply(objects.AppliedListing(items=tuple(done)))

    async def native(self, request: web.Request) -> web.StreamResponse:
        return reply(self.platform.native(requests.key(request)))

    async def events(self, request: web.Request) -> web.StreamResponse:
        key = requests.key(request)
        self.platform.get(key)
        return await self._events(request, key, None)

    async def all_events(self, request: web.Request) -> web.StreamResponse:
        return await self._events(request, None, request.query.get("namespace") or None)

    async def revisions(self, request: web.Request) -> web.StreamResponse:
        found = self.platform.revisions(requests.key(request))
        return reply(objects.RevisionListing(items=tuple(map(objects.summary, found))))

    async def logs(self, request: web.Request) -> web.StreamResponse:
        key = requests.key(request)
        self.platform.get(key)
        tail = requests.number(request, "tail", most=1_000_000)
        lines = self.platform.logs(
            key,
            replica=request.query.get("replica") or None,
            follow=requests.flag(request, "follow"),
            lines=100 if tail is None else tail,
        )
        if requests.accepts(request, streams.EVENTS.content_type):
            form = streams.EVENTS
        else:
            wants_json = requests.accepts(request, streams.LINES.content_type)
            form = streams.LINES if wants_json else streams.TEXT

        async def chunks() -> AsyncIterator[bytes]:
            async for replica, line in lines:
                said = objects.LogLine(replica=replica, line=line)
                if form is streams.EVENTS:
                    yield streams.event("LINE", said)
                elif form is streams.LINES:
                    yield msgspec.json.encode(said) + b"\n"
                else:
                    yield f"{replica}  {line}\n".encode(errors="replace")

        return await streams.send(request, chunks(), form, self.stopping)

    async def rollout(self, request: web.Request) -> web.StreamResponse:
        key = requests.key(request)
        wanted = await requests.decoded(request, objects.RolloutRequest)
        message = await self._write(self.platform.rollout(key, wanted.action, wanted.to))
        return reply(objects.Done(message=message))

    async def scale(self, request: web.Request) -> web.StreamResponse:
        key = requests.key(request)
        wanted = await requests.decoded(request, objects.ScaleRequest)
        least, most = wanted.min, wanted.max
        if wanted.replicas is not None:
            if (least, most) != (None, None):
                raise DecodeError("expected either replicas, or min and max")
            # None while nobody calls: at most 0 would be no limit.
            least, most = wanted.replicas, wanted.replicas or None
        if least is None and most is None:
            raise DecodeError("expected replicas, min or max")
        for name, value in (("min", least), ("max", most)):
            if value is not None and not 0 <= value <= 10_000:
                raise DecodeError(f"expected a number from 0 to 10000, found {value}", at=name)
        if least is not None and most is not None and 0 < most < least:
            raise DecodeError(f"expected min to be at most max, found {least} and {most}")
        component = wanted.component or self.platform.get(key).spec.components[0].name
        await self._write(self.platform.scale(key, component, least, most))
        return reply(objects.Done(message=f"the {component} of {key} has {_bounds(least, most)}"))

    async def report(self, request: web.Request) -> web.StreamResponse:
        return reply(self.platform.report(requests.key(request)))

    async def replay(self, request: web.Request) -> web.StreamResponse:
        key = requests.key(request)
        wanted = await requests.decoded(request, objects.ReplayRequest)
        if wanted.limit is not None and wanted.limit < 1:
            raise DecodeError(f"expected a number from 1, found {wanted.limit}", at="limit")
        return reply(
            await self.platform.replay(key, wanted.against, wanted.limit, recorded_speed=wanted.recorded_speed)
        )

    async def top(self, request: web.Request) -> web.StreamResponse:
        return reply(objects.UseListing(items=tuple(await self.platform.top())))

    async def resources(self, request: web.Request) -> web.StreamResponse:
        return reply(self.platform.resources())

    async def shutdown(self, request: web.Request) -> web.StreamResponse:
        # Only begun: the stopping ends this API, and with it the answer to this request.
        self._keep(asyncio.ensure_future(self.platform.shutdown()))
        return reply(objects.Done(message="stopping"))

    def _object(self, request: web.Request) -> Object:
        return self.platform.get(requests.key(request))

    async def _events(self, request: web.Request, key: str | None, namespace: str | None) -> web.StreamResponse:
        def found() -> tuple[Event, ...]:
            items = self.platform.events(key)
            return tuple(e for e in items if namespace is None or e.deployment.startswith(f"{namespace}/"))

        if not requests.flag(request, "watch"):
            return reply(objects.EventListing(items=found()))

        async def chunks() -> AsyncIterator[bytes]:
            counts: dict[int, int] = {}
            while True:
                events = found()
                for event in events:
                    if counts.get(event.id) != event.count:
                        yield streams.event("EVENT", event, event.id)
                counts = {event.id: event.count for event in events}
                await asyncio.sleep(EVENT_POLL_SECONDS)

        return await streams.send(request, chunks(), streams.EVENTS, self.stopping)

    async def _write(self, work: Awaitable[Answer]) -> Answer:
        """Carry a change through, even when the client leaves meanwhile."""
        task = asyncio.ensure_future(work)
        self._keep(task)
        return await asyncio.shield(task)

    def _keep(self, task: asyncio.Future[Any]) -> None:
        self._writes.add(task)

        def forget(done: asyncio.Future[Any]) -> None:
            self._writes.discard(done)
            if not done.cancelled():
                done.exception()

        task.add_done_callback(forget)


def application(platform: Platform, *, token: str = "") -> web.Application:
    """The API; with a token, only for those who send it."""
    handlers = Handlers(platform)
    middlewares = [_answering_failures, *([_asking_for(token)] if token else [])]
    app = web.Application(client_max_size=requests.MAX_BODY_BYTES, middlewares=middlewares)
    for operation in OPERATIONS:
        app.router.add_route(operation.method, operation.path, getattr(handlers, operation.name))

    async def stop_streams(_: web.Application) -> None:
        handlers.stopping.set()

    async def sign(_: web.Request, response: web.StreamResponse) -> None:
        response.headers["server"] = SERVER

    app.on_shutdown.append(stop_streams)
    app.on_response_prepare.append(sign)
    return app


def reply(value: object, status: int = 200) -> web.Response:
    """A value as JSON."""
    return web.Response(
        body=msgspec.json.encode(value),
        status=status,
        content_type="application/json",
        headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"},
    )


@web.middleware
async def _answering_failures(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        try:
            return await handler(request)
        except web.HTTPNotFound:
            raise UnknownRoute(f"there is no path {request.path[:200]!a}", hint="see /openapi.json") from None
        except web.HTTPMethodNotAllowed as error:
            allowed = tuple(sorted(error.allowed_methods))
            message = f"expected {' or '.join(allowed)} for this path, found {request.method}"
            raise MethodNotAllowed(message, allow=allowed) from None
        except web.HTTPRequestEntityTooLarge:
            raise TooLarge(f"expected a body of at most {requests.MAX_BODY_BYTES} bytes, found more") from None
        except web.HTTPException as error:
            raise DecodeError(error.reason) from None
    except Exception as error:
        status, failure = failures.answer(error)
        answer = reply(failure, status)
        if isinstance(error, MethodNotAllowed):
            answer.headers["Allow"] = ", ".join(error.allow)
        if status == 401:
            answer.headers["WWW-Authenticate"] = "Bearer"
        if status == 413:
            # What is left of the body is not read.
            answer.force_close()
        return answer


def _asking_for(token: str) -> Any:
    expected = f"Bearer {token}".encode()

    @web.middleware
    async def asking(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get("Authorization", "").encode(errors="surrogateescape")
        if request.path != "/healthz" and not hmac.compare_digest(given, expected):
            raise Unauthorized(
                "expected the token of this controller, found another one or none",
                hint="send the header `Authorization: Bearer TOKEN`; the token is in the file api-token of the "
                "controller's data directory",
            )
        return await handler(request)

    return asking


def _bounds(least: int | None, most: int | None) -> str:
    if least == 0 and most is None:
        return "no replica while nobody calls"
    if least == most and least:
        return f"{least} replica{'s' * (least != 1)} now"
    parts = [f"at least {least}"] if least is not None else []
    if most is not None:
        parts.append(f"at most {most}" if most else "any number of")
    return f"{' and '.join(parts)} replicas now"


def _check(source: Source, at: str) -> None:
    if bool(source.path) == bool(source.text):
        raise DecodeError("expected either path or text", at=at)
    for name, path in (("path", source.path), ("base", source.base)):
        if path and not os.path.isabs(path):
            raise DecodeError(f"expected an absolute path, found {path[:200]!a}", at=f"{at}.{name}")
    if source.path and (source.file or source.base):
        raise DecodeError("file and base belong to a text, not to a path", at=at)


class Serving:
    """The API on its sockets."""

    def __init__(self, platform: Platform, data: DataDirectory) -> None:
        self._platform = platform
        self._data = data
        self._runners: list[web.AppRunner] = []
        self._identity: tuple[int, int] | None = None
        self.url = ""
        """``http://host:port`` when it listens on TCP too."""

    @property
    def unix(self) -> Path:
        return self._data.api_socket

    async def start(self, tcp: str = "") -> None:
        """Listen; raises PortInUse, or PlatformError when ``tcp`` is not ``host:port``."""
        try:
            if tcp:
                host, port = address(tcp)
                app = application(self._platform, token=token(self._data.api_token))
                listener = _listen(host, port)
                await self._serve(app, listener)
                port = listener.getsockname()[1]
                self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
            listener = sockets.bind(self.unix)
            found = self.unix.stat()
            self._identity = (found.st_dev, found.st_ino)
            await self._serve(application(self._platform), listener)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End streams, let requests in hand finish for a moment, and listen no more."""
        for runner in self._runners:
            await runner.cleanup()
        self._runners.clear()
        with contextlib.suppress(OSError):
            found = self.unix.stat()
            if (found.st_dev, found.st_ino) == self._identity:
                self.unix.unlink()

    async def _serve(self, app: web.Application, listener: socket.socket) -> None:
        runner = web.AppRunner(
            app, handle_signals=False, access_log=None, handler_cancellation=True, shutdown_timeout=STOP_SECONDS
        )
        await runner.setup()
        self._runners.append(runner)
        await web.SockSite(runner, listener).start()


def address(text: str) -> tuple[str, int]:
    """``host:port`` or ``[::1]:port``, in two parts."""
    host, separator, port = text.rpartition(":")
    host = host.strip("[]")
    if not separator or not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise PlatformError(f"expected host:port for the API, found {text!r}", hint="for example 127.0.0.1:8090")
    return host, int(port)


def token(path: Path) -> str:
    """The token in a file; made, for its owner only, when there is none."""
    with contextlib.suppress(FileExistsError):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
    if path.stat().st_mode & 0o077:
        raise PlatformError(
            f"the token in {path} can be read by others",
            hint=f"delete it, so that a new one is made, or if you trust it: chmod 600 {path}",
        )
    found = path.read_text().strip()
    if len(found) < 16:
        raise PlatformError(f"expected a token of at least 16 characters in {path}", hint=f"delete {path}")
    return found


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ports.in_use(host, port) from error
        raise PlatformError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    return listener
