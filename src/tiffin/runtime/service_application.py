"""An authored service behind its named JSON endpoints.

Methods that are not async run on a pool of threads, from decoding the request to encoding the answer in one
hop, so that they never hold up the loop. Async methods and generators run on the loop. A call whose caller has
gone is cancelled if it is async; a thread cannot be stopped, but a call that still waits for one is dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import logging
import math
import os
import random
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from tiffin.codec.files import Scratch
from tiffin.codec.inputs import Arguments
from tiffin.errors import CallError, ServiceError, TiffinError, TooManyCalls
from tiffin.protocol import named_json
from tiffin.protocol.reply import JSON, Reply
from tiffin.runtime.exchange import Endpoint, Exchange
from tiffin.runtime.metrics import Metrics
from tiffin.runtime.value_batches import ValueBatches
from tiffin.service import context, loading, pages
from tiffin.service.definition import Service
from tiffin.service.dependency import SyncMethods
from tiffin.service.endpoint import Endpoint as Method
from tiffin.service.exceptions import status_of
from tiffin.spec import ReplicaSpec, ServiceSource

log = logging.getLogger(__name__)

_NOTHING: Any = object()

_LARGE_BODY = 262_144
"""Bytes from which on the input of an async method is decoded in a thread: about a millisecond's work."""


class ServiceApplication:
    """One service, imported when this is made, instantiated by ``load``.

    Args:
        spec: Where the service is, and what the deployment sets over its decorator.
        service: The Service itself, when it was imported already.

    Raises:
        ServiceError: it cannot be imported, or a signature cannot be served.
    """

    def __init__(self, spec: ReplicaSpec, service: Service[Any] | None = None) -> None:
        self._spec = spec
        context.server_context.worker_index = context.server_context.worker_index or 1
        self.service = service or _import(spec)
        context.server_context.service_name = self.service.name
        context.server_context.bento_name = spec.deployment
        component, settings = spec.component, self.service.settings
        self.timeout_seconds = component.timeout_seconds or settings.timeout_seconds
        self._threads = component.threads or settings.threads or min(32, (os.cpu_count() or 1) + 4)
        self._limit = _share(component.max_concurrency or settings.max_concurrency, component.workers)
        self.server_header = f"BentoML Service/{self.service.name}".encode("latin-1", "replace")
        self._instance: Any = None
        self._in_flight = 0
        self._pool: ThreadPoolExecutor | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._deferred = False
        self._metrics: Metrics | None = None
        self._worker = 0
        self._batches: dict[str, ValueBatches] = {}

    # -- life ----------------------------------------------------------------------------------------------

    def use(self, metrics: Metrics, worker: int = 0) -> None:
        """Where to count batches, and which worker this is (from 0; a service's code counts from 1)."""
        self._metrics = metrics
        self._worker = worker
        context.server_context.worker_index = worker + 1

    def load(self) -> None:
        """Run the deployment hooks and make the instance, and those of the services it depends on."""
        for warning in self.service.warnings:
            log.warning("%s: %s", self.service.name, warning)
        if self._worker == 0:
            for service in self.service.all_services().values():
                for name in service.hooks("deployment"):
                    self._run(getattr(service.inner, name), f"{service.name}.{name}")
        self._make()

    def _make(self) -> None:
        try:
            self._instance = self.service.shared()
        except TiffinError:
            raise
        except Exception as error:
            if isinstance(error, RuntimeError) and "event loop" in str(error) and self._loop is None:
                # An __init__ that starts tasks needs the loop; it gets it in start().
                self._deferred = True
                return
            raise self._raised(f"{self.service.name}.__init__", error) from error
        for name in self.service.dependencies:
            self._run(partial(getattr, self._instance, name), f"{self.service.name}.{name}")
        for model in self.service.models:
            if hasattr(model, "resolve"):
                model.resolve()

    def _run(self, function: Callable[[], Any], what: str) -> Any:
        try:
            return function()
        except TiffinError:
            raise
        except Exception as error:
            raise self._raised(what, error) from error

    def _raised(self, what: str, error: Exception) -> ServiceError:
        directory = Path(self._spec.path)
        failure = ServiceError(
            f"{what} raised {type(error).__name__}: {error}", hint="the traceback is in the log"
        )
        log.error(
            "%s raised", what, exc_info=(type(error), error, loading.users_frames(error.__traceback__, directory))
        )
        return failure

    async def start(self) -> None:
        """Bind to the loop, and run the start-up hooks."""
        self._loop = SyncMethods.loop = asyncio.get_running_loop()
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix=self.service.name)
        if self._deferred:
            self._make()
        context.set_current_service(self._instance)
        await self._hooks("startup")

    async def stop(self) -> None:
        """Run the shut-down hooks, then let go of the threads."""
        for task in self._tasks:
            task.cancel()
        await self._hooks("shutdown")
        context.set_current_service(None)
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    async def _hooks(self, moment: Any) -> None:
        services = list(self.service.all_services().values())
        for service in reversed(services) if moment == "startup" else services:
            for name in service.hooks(moment):
                hook = getattr(self._instance_of(service), name)
                try:
                    # Plain hooks run on a thread as methods do: they may take long, and health must answer.
                    result = await asyncio.to_thread(hook) if not _is_async(hook) else hook()
                    if inspect.isawaitable(result):
                        await result
                except Exception as error:
                    if moment == "startup":
                        raise self._raised(f"{service.name}.{name}", error) from error
                    log.exception("a %s hook failed", moment, extra={"hook": name})

    def _instance_of(self, service: Service[Any]) -> Any:
        return self._instance if service is self.service else service.shared()

    async def is_ready(self) -> bool:
        """What the service's ``__is_ready__`` says; true without one."""
        return await self._ask("__is_ready__")

    async def is_alive(self) -> bool:
        """What the service's ``__is_alive__`` says; true without one."""
        return await self._ask("__is_alive__")

    async def _ask(self, name: str) -> bool:
        hook = getattr(self._instance, name, None)
        if hook is None:
            return True
        result = hook() if _is_async(hook) else await asyncio.to_thread(hook)
        return bool(await result if inspect.isawaitable(result) else result)

    # -- endpoints -----------------------------------------------------------------------------------------

    def endpoints(self) -> Iterable[Endpoint]:
        """One POST endpoint for each method, and what describes them."""
        found = [Endpoint("POST", self.service.route_of(m), self._handler(m)) for m in self.service.apis.values()]
        taken = {endpoint.template for endpoint in found if endpoint.method == "GET"}
        found_pages = (
            ("/schema.json", self._schema),
            ("/docs.json", self._docs),
            ("/tiffin/example", self._example),
            ("/", self._page),
        )
        return [*found, *(Endpoint("GET", p, h, exempt=True) for p, h in found_pages if p not in taken)]

    def render_error(self, path: str, error: TiffinError) -> Reply:
        """An error as BentoML renders it."""
        return named_json.error_reply(error)

    def _schema(self, exchange: Exchange) -> None:
        exchange.reply(Reply(200, json.dumps(self.service.schema(), separators=(",", ":")).encode(), JSON))

    def _docs(self, exchange: Exchange) -> None:
        from tiffin.service.openapi import document

        exchange.reply(Reply(200, json.dumps(document(self.service)).encode(), JSON))

    def _example(self, exchange: Exchange) -> None:
        found = pages.example_of(self.service)
        if found is None:
            raise CallError("there is no example: the service has no endpoints")
        exchange.reply(Reply(200, json.dumps(found).encode(), JSON))

    def _page(self, exchange: Exchange) -> None:
        host = exchange.head.header(b"host").decode("latin-1") or "localhost"
        exchange.reply(Reply(200, pages.page(self.service, host).encode(), b"text/html; charset=utf-8"))

    # -- calls ---------------------------------------------------------------------------------------------

    def _handler(self, method: Method) -> Callable[[Exchange], None]:
        def handle(exchange: Exchange) -> None:
            if self._limit is not None and self._in_flight >= self._limit:
                raise TooManyCalls("Too many requests")
            assert self._pool is not None
            assert self._loop is not None
            call = Call(self, method, exchange)
            self._in_flight += 1
            if method.kind == "plain" and not method.batchable:
                call.begin()
                self._pool.submit(call.work)
            else:
                task = self._loop.create_task(call.run())
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
                call.begin(task)

        return handle

    def ended(self) -> None:
        """One call less."""
        self._in_flight -= 1

    def bind(self, method: Method, arguments: Arguments) -> Callable[[], Any]:
        """A function that makes the call."""
        return partial(method.func, self._instance, *arguments.args, **arguments.kwargs)

    def batches(self, method: Method) -> ValueBatches:
        """Where calls of a batchable method wait for each other."""
        found = self._batches.get(method.name)
        if found is None:
            found = self._batches[method.name] = ValueBatches(
                max_items=method.max_batch_size,
                max_wait_seconds=method.max_latency_ms / 1000,
                dimensions=method.batch_dim,
                metrics=self._metrics,
            )
        return found

    @property
    def instance(self) -> Any:
        """The service's instance."""
        return self._instance

    @property
    def max_nesting(self) -> int:
        """Deepest JSON taken."""
        return self._spec.limits.max_nesting

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop calls are answered on."""
        assert self._loop is not None
        return self._loop

    async def in_pool(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run in one of the threads."""
        return await self.loop.run_in_executor(self._pool, function, *arguments)


async def submit(application: ServiceApplication, method: Method, arguments: Arguments) -> Any:
    """Make one call of a batchable method, together with others that wait.

    The batch is the one argument that is not the context: ``args[0]``, or the only other one in ``kwargs``. The
    context a method sees is that of the batch's first call.
    """
    name = next((key for key in arguments.kwargs if key != method.context_name), None)
    value = arguments.kwargs[name] if name is not None else arguments.args[0]

    async def ask(batch: Any) -> Any:
        if name is not None:
            joined = Arguments((), {**arguments.kwargs, name: batch})
        else:
            joined = Arguments((batch,), arguments.kwargs)
        call = application.bind(method, joined)
        return await call() if method.kind == "async" else await application.in_pool(call)

    return await application.batches(method).submit(value, ask)


class Call:
    """One call of one method, from its request to its answer; answered once, by whoever comes first."""

    __slots__ = ("_answered", "_application", "_context", "_exchange", "_method", "_scratch", "_task", "_timer")

    def __init__(self, application: ServiceApplication, method: Method, exchange: Exchange) -> None:
        self._application = application
        self._method = method
        self._exchange = exchange
        self._scratch = Scratch()
        self._context: context.Context | None = None
        self._answered = False
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, task: asyncio.Task[None] | None = None) -> None:
        """Watch the time, and the caller."""
        application = self._application
        self._task = task
        self._exchange.on_close = self._gone
        self._timer = application.loop.call_later(application.timeout_seconds, self._late)

    # In the thread

    def work(self) -> None:
        """A plain method, whole: decode, call, encode."""
        if self._answered:  # while it waited for a thread its time ran out, or its caller left
            self._back(None)
            return
        try:
            value = self._application.bind(self._method, self._arguments())()
            reply = named_json.encode(self._method, value, self._response())
        except BaseException as error:
            reply = self._failed(error)
        self._back(reply)

    def _back(self, reply: Reply | None) -> None:
        self._scratch.close()
        with contextlib.suppress(RuntimeError):  # the loop has closed: nobody waits any more
            self._application.loop.call_soon_threadsafe(self._end, reply)

    def _end(self, reply: Reply | None) -> None:
        self._application.ended()
        if reply is not None:
            self._answer(reply)

    # On the loop

    async def run(self) -> None:
        """An async or batchable method, or a generator."""
        try:
            if self._method.is_stream:
                await self._stream()
            else:
                self._answer(await self._reply())
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._answer(self._failed(error))
        finally:
            self._application.ended()
            self._scratch.close()

    async def _reply(self) -> Reply:
        method, application = self._method, self._application
        arguments = await self._decoded()
        if method.batchable:
            value = await submit(application, method, arguments)
        else:
            value = await application.bind(method, arguments)()
        if isinstance(value, os.PathLike):
            return await application.in_pool(named_json.encode, method, value, self._response())  # type: ignore[no-any-return]
        return named_json.encode(method, value, self._response())

    async def _decoded(self) -> Arguments:
        if len(self._exchange.body) < _LARGE_BODY:
            return self._arguments()
        return await self._application.in_pool(self._arguments)  # type: ignore[no-any-return]

    async def _stream(self) -> None:
        """Send items as they come; what goes wrong before the first one still gets a status of its own."""
        output, exchange = self._method.output, self._exchange
        bound = self._application.bind(self._method, await self._decoded())
        items: Any = bound() if self._method.kind == "async-generator" else self._from_thread(bound())
        first = await anext(items, _NOTHING)
        started = output.chunk(first) if first is not _NOTHING else b""
        head = named_json.stream_head(self._method, self._response())
        if not self._claim():
            await items.aclose()
            return
        # Only now: a stream that has begun is not cut off by the time limit.
        head.body, head.headers = started, (*head.headers, _request_id())
        exchange.on_close = self._cancel
        exchange.start(head)
        try:
            async for item in items:
                await exchange.send(output.chunk(item))
        except ConnectionResetError:
            await items.aclose()
        except asyncio.CancelledError:
            await items.aclose()
            exchange.abort()
            raise
        except Exception:
            log.exception("a stream broke off", extra={"endpoint": self._method.name})
            exchange.abort()
        else:
            exchange.finish()

    async def _from_thread(self, items: Iterator[Any]) -> AsyncIterator[Any]:
        """A plain generator, each step in a thread."""
        done = object()
        try:
            while (item := await self._application.in_pool(next, items, done)) is not done:
                yield item
        finally:
            if inspect.isgenerator(items) and not items.gi_running:
                items.close()

    # Both

    def _arguments(self) -> Arguments:
        """Decode the request, and add the context."""
        method, exchange = self._method, self._exchange
        arguments = named_json.decode(
            method, exchange.head, exchange.body, self._scratch, max_nesting=self._application.max_nesting
        )
        if method.context_name is not None:
            request = context.Request(exchange.head, exchange.body)
            state = self._application.service.context.state
            self._context = context.Context(state, request, scratch=self._scratch)
            arguments.kwargs[method.context_name] = self._context
        return arguments

    def _response(self) -> context.Response | None:
        return None if self._context is None else self._context.response

    def _failed(self, error: BaseException) -> Reply:
        reply = named_json.error_reply(error)
        if reply.status >= 500 and not isinstance(error, CallError):
            log.error("%s failed", self._method.name, exc_info=error)
        elif status_of(error) is not None:
            log.debug("%s answered %d", self._method.name, reply.status)
        return reply

    def _answer(self, reply: Reply) -> None:
        if self._claim():
            reply.headers = (*reply.headers, _request_id())
            self._exchange.reply(reply)

    def _claim(self) -> bool:
        """Whether the answer is still ours to give."""
        if self._answered:
            return False
        self._answered = True
        self._exchange.on_close = None
        if self._timer is not None:
            self._timer.cancel()
        return True

    def _late(self) -> None:
        if self._claim():
            self._exchange.reply(named_json.error_reply(named_json.deadline(self._application.timeout_seconds)))
            self._cancel()

    def _gone(self) -> None:
        if self._claim():
            self._cancel()

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()


def _import(spec: ReplicaSpec) -> Service[Any]:
    source = spec.component.source
    assert isinstance(source, ServiceSource)
    try:
        found = loading.load(source.target, spec.path)
    except ServiceError as error:
        for note in getattr(error, "__notes__", ()):
            log.error("%s", note)
        raise
    if not isinstance(found, Service):
        raise ServiceError(f"expected a class decorated with @service at {source.target!r}, found a plain class")
    return found


def _share(limit: int | None, workers: int | str) -> int | None:
    """One worker's part of the service's limit, rounded up."""
    if limit is None:
        return None
    return math.ceil(limit / (workers if isinstance(workers, int) else os.cpu_count() or 1))


def _is_async(hook: Any) -> bool:
    return inspect.iscoroutinefunction(inspect.unwrap(hook))


def _request_id() -> tuple[bytes, bytes]:
    return (b"x-bentoml-request-id", b"%016x" % random.getrandbits(64))
