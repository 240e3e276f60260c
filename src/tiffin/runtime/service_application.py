"""An authored service behind its named JSON endpoints.

Methods that are not async run on a pool of threads, from decoding the request to encoding the answer in one
hop, so that they never hold up the loop. Async methods and generators run on the loop. A call whose caller has
gone is cancelled if it is async; a thread cannot be stopped, but a call that still waits for one is dropped.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import math
import os
import threading
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from tiffin.codec.inputs import Arguments
from tiffin.errors import ServiceError, TiffinError, TooManyCalls
from tiffin.protocol import named_json
from tiffin.protocol.reply import Reply
from tiffin.runtime import bundled_models
from tiffin.runtime.exchange import Endpoint, Exchange
from tiffin.runtime.facets import Facet, facets_of
from tiffin.runtime.metrics import Metrics
from tiffin.runtime.service_around import around
from tiffin.runtime.service_call import Call
from tiffin.runtime.service_tensors import ServiceTensors
from tiffin.runtime.tensor_models import Models
from tiffin.runtime.value_batches import Ask, ValueBatches
from tiffin.service import context, graph, loading, monitoring
from tiffin.service.definition import Service
from tiffin.service.dependency import SyncMethods
from tiffin.service.endpoint import Endpoint as Method
from tiffin.spec import ReplicaSpec, ServiceSource

if TYPE_CHECKING:
    from tiffin.runtime.service_program import ServiceProgram

log = logging.getLogger(__name__)

DEPENDENCY_SECONDS = 120.0
"""How long a service waits, before it is made, for those it depends on that run apart."""


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
        context.server_context.service_type = "service" if spec.component.is_dependency else "entry_service"
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
        self.askers: dict[str, Ask] = {}
        graph.connect(self.service, spec.dependencies)
        self.calls_others = graph.calls_others(self.service)
        self._tensors = ServiceTensors(self)
        self._facets = [self._tensors, *facets_of(self)]
        self._program: ServiceProgram | None = None
        if self.service.has_program:
            from tiffin.runtime import service_program

            self._program = service_program.ServiceProgram(self)
            self._facets = [self._program]

    # -- life ----------------------------------------------------------------------------------------------

    def use(self, metrics: Metrics, worker: int = 0) -> None:
        """Where to count batches, and which worker this is (from 0; a service's code counts from 1)."""
        self._metrics = metrics
        self._worker = worker
        context.server_context.worker_index = worker + 1
        settings = self.service.settings
        if not settings.has_metrics:
            metrics.without_users()
            return
        labels = {
            "service_name": context.server_context.bento_name or self.service.name,
            "service_version": context.server_context.bento_version,
            "runner_name": self.service.name,
        }
        names = {self.service.route_of(method): name for name, method in self.service.apis.items()}
        metrics.as_bento(settings.metrics_namespace, labels, names)

    def load(self) -> None:
        """Run the deployment hooks and make the instance, and those of the services it depends on."""
        bundled_models.pin(Path(self._spec.path))
        for name in graph.wait(self.service, DEPENDENCY_SECONDS):
            log.warning("%s, which %s depends on, is not ready yet", name, self.service.name)
        for warning in self.service.warnings:
            log.warning("%s: %s", self.service.name, warning)
        self._deploy()
        self._make()

    def _deploy(self) -> None:
        """Run the deployment hooks once for the replica: the first worker does, the others wait for it."""
        services = [service for service in graph.services_here(self.service) if service.hooks("deployment")]
        metrics = self._metrics
        if not services or (metrics is not None and metrics.is_deployed):
            return
        if self._worker and metrics is not None:
            pause = threading.Event()
            while not metrics.is_deployed:  # Should the first worker fail, its supervisor ends this one.
                pause.wait(0.01)
            return
        for service in services:
            for name in service.hooks("deployment"):
                self._run(getattr(service.inner, name), f"{service.name}.{name}")
        if metrics is not None:
            metrics.deployed()

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
        failure = ServiceError(
            f"{what} raised {type(error).__name__}: {error}", hint="the traceback is in the log"
        )
        log.error("%s raised", what, exc_info=self.users_part(error))
        return failure

    def users_part(self, error: BaseException) -> tuple[type[BaseException], BaseException, TracebackType | None]:
        """What the log shows of an exception: from the first frame of the author's on, or all if there is none."""
        frames = loading.users_frames(error.__traceback__, Path(self._spec.path))
        return type(error), error, frames

    async def start(self) -> None:
        """Bind to the loop, and run the start-up hooks."""
        self._loop = SyncMethods.loop = asyncio.get_running_loop()
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix=self.service.name)
        if self._deferred:
            self._make()
        context.set_current_service(self._instance)
        monitoring.configure(self.service.settings.monitoring)
        await self._hooks("startup")
        if self._metrics is not None and hasattr(self._instance, "__metrics__"):
            self._metrics.editor = self._edit_metrics
        for facet in self._facets:
            await facet.start()

    async def stop(self) -> None:
        """Stop the facets, run the shut-down hooks, then let go of the threads."""
        for facet in reversed(self._facets):
            await facet.stop()
        for task in self._tasks:
            task.cancel()
        await self._hooks("shutdown")
        context.set_current_service(None)
        await graph.close(self.service)
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    async def _hooks(self, moment: Any) -> None:
        services = graph.services_here(self.service)
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
        return (self._program is None or await self._program.is_ready()) and await self._ask("__is_ready__")

    async def is_alive(self) -> bool:
        """What the service's ``__is_alive__`` says; true without one."""
        return (self._program is None or await self._program.is_alive()) and await self._ask("__is_alive__")

    async def _ask(self, name: str) -> bool:
        hook = getattr(self._instance, name, None)
        if hook is None:
            return True
        result = hook() if _is_async(hook) else await asyncio.to_thread(hook)
        return bool(await result if inspect.isawaitable(result) else result)

    async def _edit_metrics(self, page: str) -> str:
        hook = self._instance.__metrics__
        result = hook(page) if _is_async(hook) else await asyncio.to_thread(hook, page)
        text = await result if inspect.isawaitable(result) else result
        if not isinstance(text, str):
            raise ServiceError(f"expected text from __metrics__, found {type(text).__name__}")
        return text

    # -- endpoints -----------------------------------------------------------------------------------------

    def endpoints(self) -> Iterable[Endpoint]:
        """One POST endpoint for each method, then what the facets add; a method's path is never taken from it."""
        found = [Endpoint("POST", self.service.route_of(m), self._handler(m)) for m in self.service.apis.values()]
        taken = {(endpoint.method, endpoint.template) for endpoint in found}
        for facet in self._facets:
            for endpoint in facet.endpoints():
                if (endpoint.method, endpoint.template) not in taken:
                    taken.add((endpoint.method, endpoint.template))
                    found.append(endpoint)
        return around(self, found)

    def render_error(self, path: str, error: TiffinError) -> Reply:
        """An error as BentoML renders it, or as the tensor protocol does below ``/v2``."""
        if path.startswith("/v2/") or path == "/v2":
            return self._tensors.render_error(path, error)
        return named_json.error_reply(error)

    def tensor_models(self) -> Models:
        """Its methods, but for those of files."""
        return self._tensors.models

    # -- calls ---------------------------------------------------------------------------------------------

    def _handler(self, method: Method) -> Callable[[Exchange], None]:
        return self.handler(method, Call)

    def handler(self, method: Method, kind: type[Call]) -> Callable[[Exchange], None]:
        """What takes calls of a method that look on the wire as ``kind`` says."""

        def handle(exchange: Exchange) -> None:
            if self._limit is not None and self._in_flight >= self._limit:
                raise TooManyCalls("Too many requests")
            assert self._pool is not None
            assert self._loop is not None
            call = kind(self, method, exchange)
            self._in_flight += 1
            if method.batchable and call.join_batch():
                return
            if method.kind == "plain" and not method.batchable:
                call.begin()
                self._pool.submit(call.work)
            else:
                task = self._loop.create_task(call.run())
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
                call.begin(task)

        return handle

    def admit(self) -> None:
        """One call more; raises TooManyCalls when that is one too many."""
        if self._limit is not None and self._in_flight >= self._limit:
            raise TooManyCalls("Too many requests")
        self._in_flight += 1

    def ended(self) -> None:
        """One call less."""
        self._in_flight -= 1

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Have something done on the loop; it is cancelled when the replica stops."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

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
                route=self.service.route_of(method),
                cost=method.cost,
                **({} if method.max_batch_cost is None else {"max_cost": method.max_batch_cost}),
            )
        return found

    @property
    def worker(self) -> int:
        """Which worker this is, from 0."""
        return self._worker

    @property
    def program_port(self) -> int:
        """Where the service's program listens; 0 while it does not."""
        return 0 if self._metrics is None else self._metrics.program_port

    def program_listens(self, port: int) -> None:
        """It does, from now on; the other workers find it."""
        if self._metrics is not None and not self._worker:
            self._metrics.program_port = port

    @property
    def facets(self) -> list[Facet]:
        """The further ways to reach the service."""
        return self._facets

    async def metrics_page(self) -> bytes:
        """What ``/metrics`` says, for a path of the service's own."""
        return b"" if self._metrics is None else await self._metrics.edited_page()

    def task_ended(self, state: str) -> None:
        """Count a task that has ended."""
        if self._metrics is not None:
            self._metrics.task_ended(state)

    @property
    def instance(self) -> Any:
        """The service's instance."""
        return self._instance

    @property
    def spec(self) -> ReplicaSpec:
        """What this replica was told."""
        return self._spec

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
        """Run in one of the threads, as part of the call that is current."""
        if self.calls_others:
            function, arguments = contextvars.copy_context().run, (function, *arguments)
        return await self.loop.run_in_executor(self._pool, function, *arguments)

    def later(self, function: Callable[[], None]) -> None:
        """Run in one of the threads, or at once when they have ended; nobody waits for it, errors are logged."""

        def work() -> None:
            try:
                function()
            except Exception:
                log.exception("a generator failed while it was closed")

        try:
            assert self._pool is not None
            self._pool.submit(work)
        except RuntimeError:
            work()


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
