"""What the two clients of a service share; and why they stand on httpx.

The transport is bought: connection pools, redirects, TLS, proxies and Unix sockets, blocking and not, are what
httpx is, and ``request()`` gives back its responses as BentoML's clients do. It is the extra ``client``; serving
never needs it. ``tiffin client`` writes clients that need nothing at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from abc import ABC, abstractmethod
from enum import Enum
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from tiffin.client.service_files import Received
from tiffin.client.service_routes import Route, routes_of
from tiffin.errors import MissingExtra
from tiffin.service.exceptions import BentoMLException, NotFound, ServiceUnavailable

if TYPE_CHECKING:
    import httpx

POLL_SECONDS = 0.05
READY = "/readyz"


class ResultStatus(Enum):
    """How far a task is."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def is_final(self) -> bool:
        """Whether it stays so."""
        return self in (ResultStatus.COMPLETED, ResultStatus.FAILED, ResultStatus.CANCELED)


def library() -> Any:
    """httpx; raises MissingExtra."""
    try:
        import httpx
    except ImportError as error:
        raise MissingExtra(
            "expected httpx, which clients of services need, found it is not installed",
            hint="pip install 'tiffin[client]'; or write a client without it: tiffin client URL -o client.py",
        ) from error
    return httpx


class ServiceClient(ABC):
    """Endpoints of one service as methods; the subclasses send."""

    def __init__(
        self,
        url: str,
        *,
        media_type: str = "application/json",
        service: Any = None,
        server_ready_timeout: float | None = None,
        token: str | None = None,
        timeout: float = 30,
        app: Any = None,
    ) -> None:
        if media_type != "application/json":
            raise ValueError(f"expected media_type 'application/json', found {media_type!r}: pickles are not sent")
        self.url = url
        self.timeout = timeout
        self.server_ready_timeout = server_ready_timeout
        self.app = app
        self.service = service
        self.endpoints: dict[str, Route] = {}
        self.default_headers = {"user-agent": "tiffin-client"}
        token = os.environ.get("BENTO_CLOUD_API_KEY") if token is None else token
        if token:
            self.default_headers["authorization"] = f"Bearer {token}"
        self._httpx = library()
        self._received = Received()

    def _options(self) -> dict[str, Any]:
        """Keywords for httpx's clients."""
        parts = urlsplit(self.url)
        options: dict[str, Any] = {
            "headers": self.default_headers,
            "timeout": self.timeout,
            "follow_redirects": True,
            "base_url": self.url,
        }
        if parts.scheme == "file":
            options["base_url"] = "http://localhost"
            options["transport"] = self._unix(unquote(parts.path))
        elif parts.scheme == "tcp":
            options["base_url"] = f"http://{parts.netloc}"
        elif parts.scheme not in ("http", "https"):
            raise ValueError(f"expected an address of http, https, tcp or file, found {self.url!r}")
        if self.app is not None:
            options["transport"] = self._application(self.app)
        return options

    @abstractmethod
    def _unix(self, path: str) -> Any:
        """A transport of httpx over a Unix socket."""

    @abstractmethod
    def _application(self, app: Any) -> Any:
        """A transport of httpx into an ASGI application."""

    @property
    def _ready_seconds(self) -> float:
        """How long to wait until it is ready; 0 asks nothing."""
        if self.app is not None:
            return 0.0
        return self.timeout if self.server_ready_timeout is None else self.server_ready_timeout

    def _not_ready(self, seconds: float) -> ServiceUnavailable:
        return ServiceUnavailable(f"Server is not ready after {seconds:g} seconds")

    def _learn(self, response: httpx.Response | None) -> None:
        """Make the methods from the answer of ``/schema.json``, or from the service itself."""
        if response is None:
            schema = self.service.schema()
        elif response.status_code != 200:
            raise BentoMLException(f"Failed to fetch schema from {response.url}: {response.status_code}")
        else:
            schema = response.json()
        try:
            self.endpoints = routes_of(schema)
        except (KeyError, TypeError) as error:
            raise BentoMLException(f"{self.url}/schema.json is no schema of a service: no {error}") from error
        for name, route in self.endpoints.items():
            method = self._method(route)
            method.__name__ = method.__qualname__ = name
            method.__doc__ = route.doc or None
            method.__signature__ = route.signature()
            setattr(self, f"api_{name}" if hasattr(type(self), name) or name in vars(self) else name, method)

    def _method(self, route: Route) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            return self.call(route.name, *args, **kwargs)

        if route.is_task:
            call.submit = lambda *args, **kwargs: self._submit(route, args, kwargs)  # type: ignore[attr-defined]
        return call

    def _route(self, name: str) -> Route:
        try:
            return self.endpoints[name]
        except KeyError:
            raise NotFound(f"Endpoint {name} not found") from None

    def call(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call an endpoint by its name."""
        raise NotImplementedError

    def _submit(self, route: Route, args: Any, kwargs: Any) -> Any:
        raise NotImplementedError


def task_id(response: httpx.Response) -> str:
    """The id in the answer to a submitted task."""
    return str(response.json()["task_id"])


class Application:
    """A blocking httpx transport to an ASGI application, which runs on a loop in a thread of its own."""

    def __init__(self, httpx: Any, app: Any) -> None:
        self._httpx = httpx
        self._transport = httpx.ASGITransport(app=app)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tiffin-client", daemon=True)
        self._thread.start()

    def handle_request(self, request: Any) -> Any:
        """Ask, and wait for the whole answer."""
        return asyncio.run_coroutine_threadsafe(self._ask(request), self._loop).result()

    async def _ask(self, request: Any) -> Any:
        httpx = self._httpx
        again = httpx.Request(request.method, request.url, headers=request.headers, content=request.read())
        response = await self._transport.handle_async_request(again)
        content = await response.aread()
        return httpx.Response(response.status_code, headers=response.headers, content=content, request=request)

    def close(self) -> None:
        """Stop the loop."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Application:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(RuntimeError):
            self.close()
