"""A plain class behind Seldon's endpoints, those of a node and those of the engine in front of it.

The class is called in a thread of its own, one call at a time: user classes are not assumed to be thread-safe.
``threads`` of the component raises that. Health and metadata answer meanwhile. The Open Inference Protocol V2
is answered as well, which Seldon's own wrapper does not do.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import math
import os
import sys
import uuid
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from tiffin.bundle import read_bundle
from tiffin.errors import (
    AuthorError,
    CallError,
    DecodeError,
    PredictError,
    ServiceError,
    TiffinError,
    TooManyCalls,
    UnknownRoute,
)
from tiffin.protocol import open_inference, seldon
from tiffin.protocol.reply import TEXT, Reply
from tiffin.protocol.seldon import Bounds
from tiffin.protocol.seldon_form import document_of
from tiffin.protocol.tensors import Array, TensorCall
from tiffin.runtime.class_description import example_of, graph_metadata, node_metadata, split_image
from tiffin.runtime.class_metrics import ClassMetrics
from tiffin.runtime.class_tensors import OUTPUT, ClassTensors
from tiffin.runtime.class_verbs import ClassVerbs
from tiffin.runtime.exchange import Endpoint, Exchange
from tiffin.runtime.metrics import Metrics
from tiffin.runtime.tensor_models import Description, Headers, Models, NamedArrays, OneAnswer, within
from tiffin.runtime.threads import Threads
from tiffin.service.plain_class import BadMetadata, open_class
from tiffin.spec import ClassSource, ReplicaSpec

log = logging.getLogger(__name__)

_PUID = b"seldon-puid"
_HTML = b"text/html; charset=utf-8"
_VERB_PATHS = (
    ("predict", ("/predict", "/api/v1.0/predictions", "/api/v0.1/predictions")),
    ("send_feedback", ("/send-feedback", "/api/v1.0/feedback", "/api/v0.1/feedback")),
    ("transform_input", ("/transform-input",)),
    ("transform_output", ("/transform-output",)),
    ("route", ("/route",)),
    ("aggregate", ("/aggregate",)),
)

Answer = Callable[[Exchange], Reply]


class _Call:
    """One call on its way through a thread; cancelled when its caller has left or waited too long."""

    __slots__ = ("answer", "exchange", "is_cancelled", "reply")

    def __init__(self, answer: Answer, exchange: Exchange) -> None:
        self.answer = answer
        self.exchange = exchange
        self.is_cancelled = False
        self.reply: Reply | None = None

    def cancel(self) -> None:
        self.is_cancelled = True


class ClassApplication:
    """One instance of the class per worker."""

    server_header = b"tiffin"

    def __init__(self, spec: ReplicaSpec) -> None:
        source = spec.component.source
        if not isinstance(source, ClassSource):
            raise ServiceError(f"expected a class, found a {type(source).__name__}")
        self._spec = spec
        self._source = source
        self._name = spec.model_name
        self._unit = source.unit or spec.component.name
        self._verbs: ClassVerbs | None = None
        self._tensors: ClassTensors | None = None
        self._metadata: dict[str, Any] | BadMetadata = {}
        self._example: dict[str, Any] | None = None
        self._about = ""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._came_from = os.getcwd()
        self._unregister: Callable[[], None] = lambda: None
        self._answered: deque[_Call] = deque()
        self._in_hand = 0
        self._limit = _share(spec)
        self._is_woken = False
        self._threads = Threads(spec.component.threads or 1, "predict")
        # Of its own, so that a long predict does not make a class look ill.
        self._health_thread = Threads(1, "health")

    # -- life ----------------------------------------------------------------------------------------------

    def use(self, metrics: Metrics, worker: int = 0) -> None:
        """Nothing is counted there beyond what the worker counts; the class's own metrics have a page entry."""

    def load(self) -> None:
        """Import the class, make its instance, call its ``load()``, and predict its example once, if it has one.

        The working directory of the process becomes that of the class.

        Raises:
            ServiceError: any of it failed; the text says where.
            BundleError: the bundle says nothing to serve.
        """
        directory, target = self._place()
        # In Seldon's images the class lies in the working directory, and opens its files by their bare names.
        os.chdir(directory)
        served = open_class(target, directory, {p.name: p.value for p in self._source.parameters})
        for warning in served.warnings:
            log.warning("%s", warning)
        served.load()
        limits = self._spec.limits
        bounds = Bounds(max_nesting=limits.max_nesting, max_bytes=limits.max_tensor_bytes)
        verbs = ClassVerbs(served, self._source.unit, self._source.image, bounds, self._new_metrics())
        try:
            environment = dict(os.environ) | self._spec.component.environment
            self._metadata = node_metadata(served, self._source.image or self._name, environment)
        except BadMetadata as error:
            log.error("the metadata cannot be served: %s", error)
            self._metadata = error
        shown = self._metadata if isinstance(self._metadata, dict) else {}
        self._example = example_of(served, shown, directory)
        if self._example is not None:
            # Without metrics: nobody called.
            self._warm_up(ClassVerbs(served, "", "", bounds), self._example)
        self._about = inspect.cleandoc(served.made_of.__doc__ or "")
        self._tensors = ClassTensors(self._name, served, max_tensor_bytes=limits.max_tensor_bytes)
        self._verbs = verbs
        log.info("serving %s from %s", target, directory)

    def _place(self) -> tuple[Path, str]:
        """The directory the class is in, and its target: the spec's own, or else the bundle's."""
        path = Path(self._spec.path)
        bundle = read_bundle(path)
        if bundle is None:
            if not self._source.target:
                raise ServiceError(
                    f"expected module:Class or a bundle, found neither for {path}",
                    hint="name the class as its target",
                )
            return path, self._source.target
        # Byte code written into a bundle would make it differ from what was built.
        sys.dont_write_bytecode = True
        return bundle.source, self._source.target or bundle.target

    def _new_metrics(self) -> ClassMetrics:
        """Where the class's metrics are counted; on the page of ``/metrics`` from here on."""
        from prometheus_client import REGISTRY

        name, version = split_image(self._source.image)
        metrics = ClassMetrics(
            {
                "deployment_name": self._spec.deployment,
                "model_name": self._unit,
                "model_image": name,
                "model_version": version,
            }
        )
        REGISTRY.register(metrics)
        self._unregister = partial(REGISTRY.unregister, metrics)
        return metrics

    def _warm_up(self, verbs: ClassVerbs, example: dict[str, Any]) -> None:
        try:
            # A copy, which the class may change; and only JSON can be shown.
            verbs.predict(seldon.parse(seldon.dumps(example)))
        except (TiffinError, TypeError, ValueError) as error:
            log.warning("the example of the class is not one it can be called with: %s", error)
            self._example = None

    async def start(self) -> None:
        """Start the threads."""
        self._loop = asyncio.get_running_loop()
        self._threads.start()
        self._health_thread.start()

    async def stop(self) -> None:
        """Let the threads end, and go back to where the process was started."""
        self._threads.stop()
        self._health_thread.stop()
        self._unregister()
        # A socket given by a relative path is removed after this.
        with contextlib.suppress(OSError):
            os.chdir(self._came_from)

    async def is_ready(self) -> bool:
        """A loaded class is ready."""
        return True

    async def is_alive(self) -> bool:
        """A replica whose loop turns is alive."""
        return True

    # -- endpoints -----------------------------------------------------------------------------------------

    def endpoints(self) -> Iterable[Endpoint]:
        """Seldon's paths, of node and engine, and those of V2 for this model's name."""
        found: list[Endpoint] = []
        for verb, paths in _VERB_PATHS:
            handler = partial(self._in_thread, partial(self._call, verb))
            found += [Endpoint(method, path, handler) for path in paths for method in ("POST", "GET")]
        status = partial(self._in_thread, self._health_status, threads=self._health_thread)
        v2 = f"/v2/models/{self._name}"
        return [
            *found,
            Endpoint("GET", "/health/ping", partial(_say, Reply(200, b"pong", _HTML)), exempt=True),
            Endpoint("GET", "/health/status", status),
            Endpoint("GET", "/api/v1.0/health/status", status),
            Endpoint("GET", "/api/v1.0/status", status),
            Endpoint("GET", "/live", partial(_say, Reply(200, b"live\n", TEXT)), exempt=True),
            Endpoint("GET", "/ready", self._ready, exempt=True),
            Endpoint("GET", "/metadata", self._show_node),
            Endpoint("GET", f"/api/v1.0/metadata/{self._unit}", self._show_node),
            Endpoint("GET", "/api/v1.0/metadata", self._show_graph),
            Endpoint("GET", "/tiffin/example", self._show_example),
            Endpoint("GET", "/", self._page, exempt=True),
            Endpoint("GET", "/v2", self._server_v2, exempt=True),
            Endpoint("GET", "/v2/health/live", partial(_say, Reply(200, b'{"live":true}')), exempt=True),
            Endpoint("GET", "/v2/health/ready", self._ready_v2, exempt=True),
            Endpoint("GET", v2, self._metadata_v2),
            Endpoint("GET", f"{v2}/ready", self._model_ready_v2, exempt=True),
            Endpoint("POST", f"{v2}/infer", partial(self._in_thread, self._infer_v2)),
        ]

    def render_error(self, path: str, error: TiffinError) -> Reply:
        """Seldon's ``{"status": ...}``, or V2's ``{"error": ...}`` below ``/v2``."""
        return open_inference.error(error) if path.startswith("/v2") else seldon.render_error(error)

    def _in_thread(self, answer: Answer, exchange: Exchange, threads: Threads | None = None) -> None:
        self._refuse_above_limit()
        call = _Call(answer, exchange)
        exchange.on_close = call.cancel
        self._in_hand += 1
        (threads or self._threads).submit(partial(self._answer, call))

    def _refuse_above_limit(self) -> None:
        if self._limit is not None and self._in_hand >= self._limit:
            raise TooManyCalls(f"expected at most {self._limit} calls at a time, found one more")

    def _answer(self, call: _Call) -> None:
        """Answer one exchange; runs in a thread, whatever the class raises stays in here."""
        if not call.is_cancelled:
            call.reply = self._reply_to(call)
        self._answered.append(call)
        # One wake-up of the loop serves all replies that are there by then.
        if self._is_woken:
            return
        self._is_woken = True
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(self._send)
        except RuntimeError:
            return  # The loop has closed: the drain time was over.

    def _send(self) -> None:
        # Before the replies are taken: one that comes later wakes the loop again.
        self._is_woken = False
        while self._answered:
            call = self._answered.popleft()
            self._in_hand -= 1
            if call.reply is not None and not call.is_cancelled:
                call.exchange.reply(call.reply)

    def _reply_to(self, call: _Call) -> Reply:
        head = call.exchange.head
        puid = head.header(_PUID) or str(uuid.uuid4()).encode("ascii")
        try:
            reply = call.answer(call.exchange)
        except TiffinError as error:
            if not isinstance(error, CallError):
                log.error("call %s failed: %s", puid.decode("latin-1"), error, exc_info=error.__cause__ or error)
            reply = self.render_error(head.path, error)
        except Exception as error:
            log.exception("call %s failed", puid.decode("latin-1"))
            reply = self.render_error(head.path, PredictError(type(error).__name__))
        reply.headers = (*reply.headers, (_PUID, puid))
        return reply

    def _call(self, verb: str, exchange: Exchange) -> Reply:
        document = document_of(exchange.head, exchange.body)
        reply: Reply = getattr(self._loaded(), verb)(document)
        return reply

    def tensor_models(self) -> Models:
        """The class, for calls that did not come over HTTP."""
        return {self._name: _ClassModel(self)}

    async def predict(self, call: TensorCall) -> Array:
        """Its answer to one call of tensors, from one of the threads.

        Raises:
            TiffinError: as over HTTP.
        """
        loop, tensors = self._loop, self._tensors
        assert loop is not None
        assert tensors is not None
        self._refuse_above_limit()
        waiting: asyncio.Future[Array] = loop.create_future()

        def settle(outcome: Array | BaseException) -> None:
            self._in_hand -= 1
            if waiting.done():
                return  # The caller has left.
            if isinstance(outcome, BaseException):
                waiting.set_exception(outcome)
            else:
                waiting.set_result(outcome)

        def work() -> None:
            outcome: Array | BaseException
            try:
                if call.cancelled:
                    raise PredictError("the caller left before its turn")
                outcome = tensors.predict(call)
            except TiffinError as error:
                outcome = error
            except Exception as error:
                outcome = PredictError(f"predict() raised {type(error).__name__}: {error}")
                outcome.__cause__ = error
            with contextlib.suppress(RuntimeError):  # The loop has closed: the drain time was over.
                loop.call_soon_threadsafe(settle, outcome)

        self._in_hand += 1
        self._threads.submit(work)
        try:
            return await within(self._spec.component.timeout_seconds, waiting)  # type: ignore[no-any-return]
        except BaseException:
            call.cancel()
            raise

    @property
    def model_name(self) -> str:
        """As callers know it."""
        return self._name

    def node(self) -> dict[str, Any]:
        """What the class says of itself; raises BadMetadata."""
        return self._node()

    def _health_status(self, exchange: Exchange) -> Reply:
        return self._loaded().health_status()

    def _infer_v2(self, exchange: Exchange) -> Reply:
        self._loaded()
        assert self._tensors is not None
        return self._tensors.infer(exchange.head, exchange.body)

    def _loaded(self) -> ClassVerbs:
        assert self._verbs is not None, "the worker calls only what is loaded"
        return self._verbs

    # -- small answers -------------------------------------------------------------------------------------

    def _ready(self, exchange: Exchange) -> None:
        is_ready = self._verbs is not None
        exchange.reply(Reply(200, b"ready\n", TEXT) if is_ready else Reply(503, b"loading\n", TEXT))

    def _ready_v2(self, exchange: Exchange) -> None:
        is_ready = self._verbs is not None
        exchange.reply(Reply(200 if is_ready else 503, b'{"ready":true}' if is_ready else b'{"ready":false}'))

    def _model_ready_v2(self, exchange: Exchange) -> None:
        if self._tensors is None:
            exchange.reply(open_inference.error_reply(503, f"Model with name {self._name} is not ready."))
        else:
            exchange.reply(self._tensors.ready())

    def _server_v2(self, exchange: Exchange) -> None:
        from tiffin import __version__

        facts = {"name": "tiffin", "version": __version__, "extensions": ["binary_tensor_data"]}
        exchange.reply(Reply(200, msgspec.json.encode(facts)))

    def _metadata_v2(self, exchange: Exchange) -> None:
        self._loaded()
        assert self._tensors is not None
        exchange.reply(self._tensors.metadata(self._node()))

    def _node(self) -> dict[str, Any]:
        if isinstance(self._metadata, AuthorError):
            raise self._metadata
        return self._metadata

    def _show_node(self, exchange: Exchange) -> None:
        exchange.reply(Reply(200, seldon.dumps(self._node()) + b"\n"))

    def _show_graph(self, exchange: Exchange) -> None:
        graph = graph_metadata(self._spec.deployment, self._unit, self._node())
        exchange.reply(Reply(200, seldon.dumps(graph) + b"\n"))

    def _show_example(self, exchange: Exchange) -> None:
        if self._example is None:
            raise UnknownRoute(
                "there is no example of a call: give the class an example attribute, init_metadata with the shape"
                " of its input, or a contract.json"
            )
        example = {
            "path": "/api/v1.0/predictions",
            "headers": {"content-type": "application/json"},
            "body": self._example,
        }
        exchange.reply(Reply(200, seldon.dumps(example) + b"\n"))

    def _page(self, exchange: Exchange) -> None:
        from tiffin.runtime.page import page
        from tiffin.runtime.page.of_model import describe_class

        exchange.reply(page(describe_class(self._name, self._about, self._example)))


class _ClassModel(OneAnswer):
    """A class, as what answers tensors."""

    def __init__(self, application: ClassApplication) -> None:
        self.name = application.model_name
        self._application = application

    def describe(self) -> Description:
        return Description(*ClassTensors.described(self._application.node()))

    async def infer(self, call: TensorCall, headers: Headers) -> NamedArrays:
        if not call.arrays:
            raise DecodeError("expected at least one input tensor, found none", at="inputs")
        return [(OUTPUT, await self._application.predict(call))]


def _share(spec: ReplicaSpec) -> int | None:
    """The concurrency limit of one worker: the deployment's, divided by its workers."""
    limit, workers = spec.component.max_concurrency, spec.component.workers
    if limit is None:
        return None
    return math.ceil(limit / ((os.cpu_count() or 1) if workers == "cpu" else workers))


def _say(reply: Reply, exchange: Exchange) -> None:
    exchange.reply(reply)
