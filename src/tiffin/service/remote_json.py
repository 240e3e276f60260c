"""Any server that speaks as BentoML's do, with the methods its ``/schema.json`` tells: ``depends(url=...)``."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from tiffin.codec.framing import Part
from tiffin.errors import NotReady, ServiceError
from tiffin.service import caller as callers
from tiffin.service import json_values
from tiffin.service.caller import Caller
from tiffin.service.connections import Place
from tiffin.service.connections_async import Asynchronous
from tiffin.service.connections_blocking import Blocking
from tiffin.service.frame_types import result_converter
from tiffin.service.incoming import Incoming
from tiffin.service.remote import PATIENCE_SECONDS, save_answer

if TYPE_CHECKING:
    from tiffin.service.definition import Service

SCHEMA_SECONDS = 30.0


class JsonService:
    """A service at an address.

    Args:
        address: Of the server.
        service: The class, where it is here: its methods are then called as they were written, and answers become
            what their annotations say. Without it every method is a plain one, and ``to_async`` gives coroutines.
    """

    def __init__(self, address: str, service: Service[Any] | None = None) -> None:
        self._place = Place.read(address)
        self._address = address
        self._service = service
        self._blocking = Blocking(self._place, address)
        self._asynchronous = Asynchronous(self._place, address)
        self._lock = threading.Lock()
        self._routes: dict[str, dict[str, Any]] | None = None

    @property
    def name(self) -> str:
        """The address, or the service's name."""
        return self._service.name if self._service is not None else self._address

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or (self._service is not None and name not in self._service.apis):
            raise AttributeError(f"{self.name} has no endpoint {name!r}")
        method = JsonMethod(self, name)
        kind = self._service.apis[name].kind if self._service is not None else None
        if kind == "async":
            return method.call_async
        if kind == "async-generator":
            return method.stream_async
        return method.call

    async def disconnect(self) -> None:
        """Close its connections, those of this loop and of threads; the next call makes new ones."""
        self._blocking.close()
        await self._asynchronous.close()

    @cached_property
    def to_async(self) -> Any:
        """Every endpoint as a coroutine; the text of one that streams comes by ``stream_async``."""
        return _Chosen(lambda name: JsonMethod(self, name).call_async)

    @cached_property
    def to_sync(self) -> Any:
        """Every endpoint as a plain method."""
        return _Chosen(lambda name: JsonMethod(self, name).call)

    def route(self, name: str) -> dict[str, Any]:
        """What the server says of an endpoint; asked for once.

        Raises:
            ServiceError: it has no such endpoint, or is no server of this kind.
            NotReady: it cannot be reached.
        """
        with self._lock:
            if self._routes is None:
                self._routes = self._ask()
        if name not in self._routes:
            there = ", ".join(self._routes) or "none"
            raise ServiceError(f"{self._address} has no endpoint {name!r}", hint=f"there is {there}")
        return self._routes[name]

    def _ask(self) -> dict[str, dict[str, Any]]:
        head = f"GET {self._place.path}/schema.json HTTP/1.1\r\nhost: {self._place.authority}\r\n\r\n"
        deadline = time.monotonic() + SCHEMA_SECONDS
        with self._blocking.ask([head.encode("latin-1")], deadline, None) as answer:
            body = answer.read(deadline)
        if answer.incoming.status in (502, 503, 504):
            raise NotReady(f"{self._address} is not ready: it answered {answer.incoming.status}")
        try:
            if answer.incoming.status != 200:
                raise ValueError(f"status {answer.incoming.status}")
            return {str(route["name"]): dict(route) for route in json.loads(body)["routes"]}
        except (ValueError, TypeError, KeyError) as error:
            raise ServiceError(
                f"expected /schema.json as BentoML's and Tiffin's servers give it at {self._address}: {error!r}"
            ) from error


class _Chosen:
    def __init__(self, chosen: Callable[[str], Any]) -> None:
        self._chosen = chosen

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._chosen(name)


class JsonMethod:
    """One endpoint of a server."""

    def __init__(self, remote: JsonService, name: str) -> None:
        self._remote = remote
        self._name = name
        self._where = f"{remote.name}.{name}"
        service = remote._service
        seconds = service.settings.timeout_seconds if service is not None else 0.0
        self._seconds = max(seconds, PATIENCE_SECONDS)
        self._convert = result_converter(service.apis[name]) if service is not None else None

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """Call it, and wait in this thread; of one that streams an iterator of what it sends."""
        route = self._remote.route(self._name)
        if route.get("output", {}).get("is_stream"):
            return self._stream(route, args, kwargs)
        who = callers.current.get()
        deadline = self._deadline(who)
        with self._remote._blocking.ask(self._request(route, args, kwargs, who), deadline, who) as answer:
            answer.read(deadline)
        return self._result(route, answer.incoming, who)

    async def call_async(self, *args: Any, **kwargs: Any) -> Any:
        """Call it, and wait on this loop; of one that streams an async iterator of what it sends."""
        route = await self._route()
        if route.get("output", {}).get("is_stream"):
            return self.stream_async(*args, **kwargs)
        who = callers.current.get()
        deadline = self._deadline(who)
        request = self._request(route, args, kwargs, who)
        async with self._remote._asynchronous.ask(request, deadline) as answer:
            await answer.read(deadline)
        return self._result(route, answer.incoming, who)

    def _stream(self, route: dict[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[Any]:
        who = callers.current.get()
        deadline = self._deadline(who)
        with self._remote._blocking.ask(self._request(route, args, kwargs, who), deadline, who) as answer:
            incoming = answer.incoming
            if incoming.status != 200:
                raise json_values.error_of(self._where, incoming.status, answer.read(deadline))
            while True:
                if incoming.body:
                    yield _taken(incoming)
                elif incoming.is_complete:
                    return
                else:
                    answer.more(time.monotonic() + self._seconds)

    async def stream_async(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        """What it sends, as it comes."""
        route = await self._route()
        who = callers.current.get()
        deadline = self._deadline(who)
        request = self._request(route, args, kwargs, who)
        async with self._remote._asynchronous.ask(request, deadline) as answer:
            incoming = answer.incoming
            if incoming.status != 200:
                raise json_values.error_of(self._where, incoming.status, await answer.read(deadline))
            while True:
                if incoming.body:
                    yield _taken(incoming)
                elif incoming.is_complete:
                    return
                else:
                    await answer.more(time.monotonic() + self._seconds)

    async def _route(self) -> dict[str, Any]:
        if self._remote._routes is not None:
            return self._remote.route(self._name)
        import asyncio

        return await asyncio.to_thread(self._remote.route, self._name)

    def _deadline(self, who: Caller | None) -> float:
        if who is not None and who.deadline is not None:
            return who.deadline
        return time.monotonic() + self._seconds

    def _request(
        self, route: dict[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any], who: Caller | None
    ) -> list[Part]:
        schema = route.get("input", {})
        media_type, body = json_values.encode(schema, json_values.bound(self._where, schema, args, kwargs))
        place = self._remote._place
        head = f"POST {place.path}{route['route']} HTTP/1.1\r\nhost: {place.authority}\r\n".encode("latin-1")
        head += b"content-type: %b\r\ncontent-length: %d\r\n" % (media_type, len(body))
        # Credentials of the call stay here: this is somebody else's server.
        return [head + (who.traced if who is not None else b"") + b"\r\n", body]

    def _result(self, route: dict[str, Any], incoming: Incoming, who: Caller | None) -> Any:
        if incoming.status >= 400:
            raise json_values.error_of(self._where, incoming.status, incoming.body)
        save = partial(save_answer, who)
        found = json_values.decode(route.get("output", {}), incoming.headers, incoming.body, save)
        return found if self._convert is None else self._convert(found)


def _taken(incoming: Incoming) -> str | bytes:
    """What came of a stream: text where it is some, at the bounds the network gave it."""
    data = bytes(incoming.body)
    if incoming.headers.get(b"content-type", b"").startswith(b"text/"):
        # A character may be cut in two: its first bytes wait for the others.
        for held in range(4):
            try:
                text = data[: len(data) - held].decode()
            except UnicodeDecodeError:
                continue
            if text or incoming.is_complete:
                del incoming.body[: len(data) - held]
                return text
    incoming.body.clear()
    return data
