"""``SyncHTTPClient``: a service's endpoints as methods that block."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from threading import Event
from typing import TYPE_CHECKING, Any

from tiffin.client import service_calls as shared
from tiffin.client.service_answers import failure, value_of
from tiffin.client.service_calls import ResultStatus, ServiceClient
from tiffin.client.service_files import Files
from tiffin.client.service_routes import Route, outgoing
from tiffin.client.service_values import Items

if TYPE_CHECKING:
    import httpx

log = logging.getLogger(__name__)


class SyncHTTPClient(ServiceClient):
    """Calls a service of Tiffin or BentoML; its endpoints are methods.

    Example::

        with tiffin.SyncHTTPClient("http://localhost:3000") as client:
            client.score(x=[[5.1, 3.5, 1.4, 0.2]])

    Args:
        url: ``http(s)://host:port``, ``tcp://host:port`` or ``file:///path/of.sock``.
        media_type: ``application/json``; there is no other.
        service: A Service whose schema is taken instead of asking for it.
        server_ready_timeout: Seconds to wait until it is ready; ``None`` is ``timeout``, 0 does not wait.
        token: Sent as ``Authorization: Bearer``; ``None`` takes ``BENTO_CLOUD_API_KEY``.
        timeout: Seconds without a byte before a call is given up.
        app: An ASGI application that is called in this process instead.

    Raises:
        ServiceUnavailable: it is not ready in time.
        BentoMLException: it has no schema. Calls raise the subclass for the answer's status.
        MissingExtra: httpx is not installed.
    """

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, **options)
        self.client: httpx.Client = self._httpx.Client(**self._options())
        try:
            if self._ready_seconds > 0:
                self.wait_until_server_ready(self.server_ready_timeout)
            self._learn(self.client.get("/schema.json") if self.service is None else None)
        except BaseException:
            self.close()
            raise

    def _unix(self, path: str) -> Any:
        return self._httpx.HTTPTransport(uds=path)

    def _application(self, app: Any) -> Any:
        return shared.Application(self._httpx, app)

    def wait_until_server_ready(self, timeout: float | None = None) -> None:
        """Wait until it is ready; raises ServiceUnavailable after ``timeout`` seconds (``None``: the client's)."""
        seconds = self.timeout if timeout is None else timeout
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            try:
                if self.client.get(shared.READY, timeout=left).status_code == 200:
                    return
            except self._httpx.TransportError:
                pass
            Event().wait(shared.POLL_SECONDS)
        raise self._not_ready(seconds)

    def is_ready(self, timeout: float | None = None) -> bool:
        """Whether it is ready now."""
        try:
            answer = self.client.get(shared.READY, timeout=self.timeout if timeout is None else timeout)
        except self._httpx.TransportError:
            return False
        return bool(answer.status_code == 200)

    def request(self, method: str, url: str, **options: Any) -> httpx.Response:
        """Any request, with httpx's options; ``url`` is relative to the service's."""
        return self.client.request(method, url, **options)

    def call(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call an endpoint by its name; a stream is an iterator of its items.

        Raises:
            NotFound: there is no such endpoint.
            TypeError: arguments that do not fit it.
        """
        route = self._route(name)
        return self._stream(route, args, kwargs) if route.is_stream else self._call(route, args, kwargs)

    def _call(self, route: Route, args: Any, kwargs: Any) -> Any:
        with Files() as files:
            response = self.client.post(route.route, **outgoing(route, args, kwargs, files).options())
        return self._value(route, response)

    def _value(self, route: Route, response: httpx.Response) -> Any:
        return value_of(route, response.headers, _checked(response).content, self._received)

    def _stream(self, route: Route, args: Any, kwargs: Any) -> Iterator[Any]:
        with Files() as files:
            options = outgoing(route, args, kwargs, files).options()
            with self.client.stream("POST", route.route, **options) as response:
                if response.status_code >= 400:
                    response.read()
                    _checked(response)
                items = Items(route.output)
                for chunk in response.iter_bytes():
                    yield from items.feed(chunk)
                yield from items.end()

    def _submit(self, route: Route, args: Any, kwargs: Any) -> Task:
        with Files() as files:
            options = outgoing(route, args, kwargs, files).options()
            response = self.client.post(f"{route.route}/submit", **options)
        return Task(shared.task_id(_checked(response)), route, self)

    def _task(self, method: str, route: Route, verb: str, task: str) -> httpx.Response:
        return _checked(self.request(method, f"{route.route}/{verb}", params={"task_id": task}))

    def close(self) -> None:
        """Close the connections, and remove the files of answers."""
        self.client.close()
        self._received.close()

    def __enter__(self) -> SyncHTTPClient:
        """The client itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()


@dataclass(frozen=True)
class Task:
    """A call that was submitted."""

    id: str
    endpoint: Route = field(repr=False)
    client: SyncHTTPClient = field(repr=False)

    def get_status(self) -> ResultStatus:
        """How far it is."""
        return ResultStatus(self.client._task("GET", self.endpoint, "status", self.id).json()["status"])

    def get(self) -> Any:
        """Its result; raises what it failed with, or InvalidArgument while it has not ended."""
        return self.client._value(self.endpoint, self.client._task("GET", self.endpoint, "get", self.id))

    def wait(self, timeout: float | None = None) -> Any:
        """Its result, when it has ended; raises TimeoutError after ``timeout`` seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        while not self.get_status().is_final:
            if end is not None and time.monotonic() > end:
                raise TimeoutError(f"the task {self.id} has not ended within {timeout:g} seconds")
            Event().wait(shared.POLL_SECONDS)
        return self.get()

    def cancel(self) -> None:
        """Ask for its end; raises when it has ended already."""
        self.client._task("PUT", self.endpoint, "cancel", self.id)

    def retry(self) -> Task:
        """The same call as a new task."""
        answer = self.client._task("POST", self.endpoint, "retry", self.id)
        return Task(shared.task_id(answer), self.endpoint, self.client)


def _checked(response: httpx.Response) -> httpx.Response:
    if response.status_code >= 400:
        raise failure(response.status_code, response.content)
    return response
