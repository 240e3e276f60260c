"""Tasks of a service over HTTP, in BentoML's words: submit, status, get, retry, cancel.

===============================  =====================================================================
``POST <route>/submit``          the body of a call -> ``{"task_id": ..., "status": "in_progress"}``
``GET <route>/status?task_id=``  status, times, progress
``GET <route>/get?task_id=``     the answer as it would have been given; 400 while there is none
``POST <route>/retry?task_id=``  the same request as a new task
``PUT <route>/cancel?task_id=``  200: it has ended; 202: whoever runs it was asked to stop; 409: too late
===============================  =====================================================================
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import uuid
from collections.abc import Awaitable, Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import msgspec

from tiffin.errors import CallError, NotReady
from tiffin.kits import paths
from tiffin.protocol import named_json
from tiffin.protocol.reply import JSON, Reply
from tiffin.runtime.exchange import Endpoint, Exchange
from tiffin.runtime.service_call import request_id
from tiffin.runtime.tasks import transitions
from tiffin.runtime.tasks.calls import TaskCall
from tiffin.runtime.tasks.isolation import Isolation
from tiffin.runtime.tasks.keeper import Keeper, states_of
from tiffin.runtime.tasks.record import Policy, Task, Webhook, describe, pack_request, unpack_reply
from tiffin.runtime.tasks.running import Run
from tiffin.runtime.tasks.store import KeyReused, NoSuchTask, StoreUnreachable, TaskStore, open_store
from tiffin.runtime.tasks.webhooks import Rules, Webhooks
from tiffin.service.task_endpoint import TaskEndpoint
from tiffin.service.task_run import CurrentTask
from tiffin.spec import tasks as places

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from tiffin.runtime.service_application import ServiceApplication

log = logging.getLogger(__name__)

MAX_QUEUED = 10_000
"""Tasks that may wait in one queue; more are refused with 429."""

_MAX_KEY = 255
_Handle = Callable[[TaskEndpoint, Exchange], Awaitable[Reply]]


class ServiceTasks:
    """The facet of a service that has tasks."""

    def __init__(self, application: ServiceApplication) -> None:
        self._application = application
        spec = application.spec
        self._methods = {m.name: m for m in application.service.apis.values() if isinstance(m, TaskEndpoint)}
        self._owner = f"{spec.namespace}/{spec.deployment}/"
        self._isolation = Isolation(spec)
        self._webhooks = Webhooks(Rules.from_environment(os.environ))
        self._under_way: set[asyncio.Task[None]] = set()
        url = spec.tasks or places.store_url(
            os.environ, paths.data_directory().root, namespace=spec.namespace, deployment=spec.deployment
        )
        self._keeper = Keeper(
            partial(open_store, url),
            queue_name=places.queue_name(spec.namespace, spec.deployment, application.service.name, spec.variant),
            methods=tuple(self._methods),
            slots=application.service.settings.concurrency,
            make_run=self._run,
            ended=application.task_ended,
            webhooks=self._webhooks,
        )
        self._gauges = _Gauges(self._keeper, {"namespace": spec.namespace, "deployment": spec.deployment})

    def _run(self, task: Task, request: bytes) -> Run:
        return Run(self._application, self._methods[task.method], task, request, self._isolation)

    async def start(self) -> None:
        """Open the store, and take up what waits.

        Raises:
            PlatformError: the store does not answer.
        """
        for method in self._methods.values():
            if method.webhook is not None:
                self._webhooks.rules.check(method.webhook)
        await self._keeper.start()
        self._gauges.register()

    async def stop(self) -> None:
        """Give back what does not end soon."""
        self._gauges.unregister()
        await self._keeper.stop()
        self._isolation.close()
        self._webhooks.close()

    def endpoints(self) -> Iterable[Endpoint]:
        """Five for each task."""
        for method in self._methods.values():
            route = self._application.service.route_of(method).rstrip("/")
            for verb, name, handle in (
                ("POST", "submit", self._submit),
                ("GET", "status", self._status),
                ("GET", "get", self._get),
                ("POST", "retry", self._retry),
                ("PUT", "cancel", self._cancel),
            ):
                yield Endpoint(verb, f"{route}/{name}", self._handler(method, handle))

    def _handler(self, method: TaskEndpoint, handle: _Handle) -> Callable[[Exchange], None]:
        async def answer(exchange: Exchange) -> None:
            try:
                reply = await handle(method, exchange)
            except StoreUnreachable as error:
                log.error("%s", error)
                reply = named_json.error_reply(NotReady("the store of the tasks does not answer; try again"))
                reply.headers = ((b"retry-after", b"5"),)
            except Exception as error:
                reply = named_json.error_reply(error)
                if reply.status >= 500:
                    log.exception("%s failed", exchange.head.path)
            reply.headers = (*reply.headers, request_id())
            exchange.reply(reply)

        def begin(exchange: Exchange) -> None:
            task = asyncio.get_running_loop().create_task(answer(exchange))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

        return begin

    # -- the five ------------------------------------------------------------------------------------------

    async def _submit(self, method: TaskEndpoint, exchange: Exchange) -> Reply:
        head, body = exchange.head, exchange.body
        key = head.headers.get(b"idempotency-key")
        if key is not None and not 0 < len(key) <= _MAX_KEY:
            raise CallError(f"expected an Idempotency-Key of 1 to {_MAX_KEY} bytes, found {len(key)}")
        hook = self._hook(method, head.header(b"webhook-url") or head.header(b"x-webhook"))
        call = TaskCall(self._application, method, head, body, CurrentTask(""))
        await self._application.in_pool(call.check)
        task = Task(
            id=uuid.uuid4().hex,
            queue=self._keeper.queue,
            method=method.name,
            created_at=self._keeper.now(),
            key="" if key is None else f"{method.name}:{key.decode('latin-1')}",
            fingerprint="" if key is None else _fingerprint(head.header(b"content-type"), body),
            policy=Policy(
                retries=method.retries, max_attempts=method.max_attempts, keep_seconds=method.keep_seconds
            ),
            webhook=hook,
        )
        request = pack_request(head, body)

        def add(store: TaskStore) -> Task:
            found = store.add(transitions.submitted(task), request, limit=MAX_QUEUED)
            self._keeper.wake(store)
            return found

        found = await self._keeper.ask(add)
        if found.fingerprint != task.fingerprint:
            raise KeyReused("expected the request this Idempotency-Key was used with before, found another one")
        return _json(200, {"task_id": found.id, "status": describe(found)["status"]})

    def _hook(self, method: TaskEndpoint, given: bytes) -> Webhook | None:
        url = given.decode("latin-1") or method.webhook or ""
        if not url:
            return None
        self._webhooks.rules.check(url)
        return Webhook(url=url)

    async def _status(self, method: TaskEndpoint, exchange: Exchange) -> Reply:
        return _json(200, describe(await self._find(method, exchange)))

    async def _get(self, method: TaskEndpoint, exchange: Exchange) -> Reply:
        task = await self._find(method, exchange)
        if task.state == "canceled":
            raise CallError(f"task {task.id} was canceled")
        if not task.is_ended:
            raise CallError(f"task {task.id} is not completed yet")
        blob = await self._keeper.ask(lambda store: store.reply(task.id))
        return unpack_reply(blob) if blob is not None else _json(500, {"error": task.error})

    async def _retry(self, method: TaskEndpoint, exchange: Exchange) -> Reply:
        task = await self._find(method, exchange)
        fresh = transitions.again(task, uuid.uuid4().hex, self._keeper.now())

        def add(store: TaskStore) -> None:
            request = store.request(task.id)
            if request is None:
                raise NoSuchTask("task_id not found")
            # It joins the queue of whoever is asked, which is one that works it off.
            store.add(msgspec.structs.replace(fresh, queue=self._keeper.queue), request, limit=MAX_QUEUED)
            self._keeper.wake(store)

        await self._keeper.ask(add)
        return _json(200, {"task_id": fresh.id, "status": "in_progress"})

    async def _cancel(self, method: TaskEndpoint, exchange: Exchange) -> Reply:
        task = await self._find(method, exchange)
        found = await self._keeper.ask(lambda store: self._keeper.cancel(store, task.id))
        if found is None:
            raise NoSuchTask("task_id not found")
        return _json(200 if found.is_ended else 202, describe(found))

    async def _find(self, method: TaskEndpoint, exchange: Exchange) -> Task:
        given = parse_qs(exchange.head.query.decode("latin-1")).get("task_id")
        if not given:
            raise CallError("task_id is required")
        task = await self._keeper.ask(lambda store: store.get(given[-1]))
        # Several deployments may share a store: an id of one is none of another.
        if task is None or task.method != method.name or not task.queue.startswith(self._owner):
            raise NoSuchTask("task_id not found")
        return task


def _json(status: int, said: dict[str, Any]) -> Reply:
    return Reply(status, json.dumps(said, separators=(",", ":")).encode(), JSON)


def _fingerprint(content_type: bytes, body: bytes) -> str:
    # A form's boundary is another one each time; what is between them is compared as it is.
    media_type, _, parameters = content_type.partition(b";")
    _, _, boundary = parameters.partition(b"boundary=")
    boundary = boundary.partition(b";")[0].strip(b' "')
    if boundary:
        body = body.replace(boundary, b"")
    return hashlib.sha256(media_type.strip().lower() + b"\0" + body).hexdigest()


_registered: dict[tuple[str, ...], _Gauges] = {}


class _Gauges:
    """What waits and runs, for the metrics page: of the whole queue, whichever worker is asked."""

    def __init__(self, keeper: Keeper, labels: dict[str, str]) -> None:
        self._keeper = keeper
        self._labels = labels

    def register(self) -> None:
        """In the place of an application of the same deployment that was left without an end (``to_asgi``)."""
        from prometheus_client import REGISTRY

        key = tuple(self._labels.values())
        if (before := _registered.pop(key, None)) is not None:
            REGISTRY.unregister(before)
        _registered[key] = self
        REGISTRY.register(self)

    def unregister(self) -> None:
        from prometheus_client import REGISTRY

        key = tuple(self._labels.values())
        if _registered.get(key) is self:
            del _registered[key]
            REGISTRY.unregister(self)

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that registering asks for no values."""
        return ()

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.core import GaugeMetricFamily

        counts, names, values = self._keeper.counts, list(self._labels), list(self._labels.values())
        tasks = GaugeMetricFamily("tiffin_tasks", "Tasks of the queue, by state.", labels=[*names, "state"])
        for state, number in states_of(counts).items():
            tasks.add_metric([*values, state], number)
        yield tasks
        oldest = counts.oldest_queued
        age = GaugeMetricFamily(
            "tiffin_task_oldest_queued_seconds", "How long the oldest queued task has waited.", labels=names
        )
        age.add_metric(values, 0.0 if oldest is None else max(0.0, self._keeper.now() - oldest))
        yield age
