"""``AsyncHTTPClient``: a service's endpoints as coroutines."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Generator
from dataclasses import dataclass, field
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


class AsyncHTTPClient(ServiceClient):
    """Calls a service of Tiffin or BentoML; its endpoints are methods to await, streams are async iterators.

    Example::

        async with tiffin.AsyncHTTPClient("http://localhost:3000") as client:
            await client.score(x=[[5.1, 3.5, 1.4, 0.2]])

    It connects, waits and learns its methods when it is entered, or awaited. Options and exceptions are those of
    ``SyncHTTPClient``.
    """

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, **options)
        self.client: httpx.AsyncClient = self._httpx.AsyncClient(**self._options())

    async def _set_up(self) -> AsyncHTTPClient:
        try:
            if self._ready_seconds > 0:
                await self.wait_until_server_ready(self.server_ready_timeout)
            self._learn(await self.client.get("/schema.json") if self.service is None else None)
        except BaseException:
            await self.close()
            raise
        return self

    def __await__(self) -> Generator[Any, None, AsyncHTTPClient]:
        """Connect, without a ``with``; close it yourself."""
        return self._set_up().__await__()

    def _unix(self, path: str) -> Any:
        return self._httpx.AsyncHTTPTransport(uds=path)

    def _application(self, app: Any) -> Any:
        return self._httpx.ASGITransport(app=app)

    async def wait_until_server_ready(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - as the blocking one
        """Wait until it is ready; raises ServiceUnavailable after ``timeout`` seconds (``None``: the client's)."""
        seconds = self.timeout if timeout is None else timeout
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            try:
                if (await self.client.get(shared.READY, timeout=left)).status_code == 200:
                    return
            except self._httpx.TransportError:
                pass
            await asyncio.sleep(shared.POLL_SECONDS)
        raise self._not_ready(seconds)

    async def is_ready(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - as the blocking one
        """Whether it is ready now."""
        try:
            answer = await self.client.get(shared.READY, timeout=self.timeout if timeout is None else timeout)
        except self._httpx.TransportError:
            return False
        return bool(answer.status_code == 200)

    async def request(self, method: str, url: str, **options: Any) -> httpx.Response:
        """Any request, with httpx's options; ``url`` is relative to the service's."""
        return await self.client.request(method, url, **options)

    def call(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call an endpoint by its name; a stream is an iterator of its items.

        Raises:
            NotFound: there is no such endpoint.
            TypeError: arguments that do not fit it.
        """
        route = self._route(name)
        return self._stream(route, args, kwargs) if route.is_stream else self._call(route, args, kwargs)

    async def _call(self, route: Route, args: Any, kwargs: Any) -> Any:
        with Files() as files:
            response = await self.client.post(route.route, **outgoing(route, args, kwargs, files).options())
        return self._value(route, response)

    def _value(self, route: Route, response: httpx.Response) -> Any:
        return value_of(route, response.headers, _checked(response).content, self._received)

    async def _stream(self, route: Route, args: Any, kwargs: Any) -> AsyncIterator[Any]:
        with Files() as files:
            options = outgoing(route, args, kwargs, files).options()
            async with self.client.stream("POST", route.route, **options) as response:
                if response.status_code >= 400:
                    await response.aread()
                    _checked(response)
                items = Items(route.output)
                async for chunk in response.aiter_bytes():
                    for item in items.feed(chunk):
                        yield item
                for item in items.end():
                    yield item

    async def _submit(self, route: Route, args: Any, kwargs: Any) -> AsyncTask:
        with Files() as files:
            options = outgoing(route, args, kwargs, files).options()
            response = await self.client.post(f"{route.route}/submit", **options)
        return AsyncTask(shared.task_id(_checked(response)), route, self)

    async def _task(self, method: str, route: Route, verb: str, task: str) -> httpx.Response:
        return _checked(await self.request(method, f"{route.route}/{verb}", params={"task_id": task}))

    async def close(self) -> None:
        """Close the connections, and remove the files of answers."""
        await self.client.aclose()
        self._received.close()

    async def __aenter__(self) -> AsyncHTTPClient:
        """Connect."""
        return await self._set_up()

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        await self.close()


@dataclass(frozen=True)
class AsyncTask:
    """A call that was submitted."""

    id: str
    endpoint: Route = field(repr=False)
    client: AsyncHTTPClient = field(repr=False)

    async def get_status(self) -> ResultStatus:
        """How far it is."""
        return ResultStatus((await self.client._task("GET", self.endpoint, "status", self.id)).json()["status"])

    async def get(self) -> Any:
        """Its result; raises what it failed with, or InvalidArgument while it has not ended."""
        return self.client._value(self.endpoint, await self.client._task("GET", self.endpoint, "get", self.id))

    async def wait(self, timeout: float | None = None) -> Any:  # noqa: ASYNC109 - as the blocking one
        """Its result, when it has ended; raises TimeoutError after ``timeout`` seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        while not (await self.get_status()).is_final:
            if end is not None and time.monotonic() > end:
                raise TimeoutError(f"the task {self.id} has not ended within {timeout:g} seconds")
            await asyncio.sleep(shared.POLL_SECONDS)
        return await self.get()

    async def cancel(self) -> None:
        """Ask for its end; raises when it has ended already."""
        await self.client._task("PUT", self.endpoint, "cancel", self.id)

    async def retry(self) -> AsyncTask:
        """The same call as a new task."""
        answer = await self.client._task("POST", self.endpoint, "retry", self.id)
        return AsyncTask(shared.task_id(answer), self.endpoint, self.client)


def _checked(response: httpx.Response) -> httpx.Response:
    if response.status_code >= 400:
        raise failure(response.status_code, response.content)
    return response
