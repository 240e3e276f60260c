"""Models written with KServe's SDK, behind KServe's endpoints.

Their hooks run apart from the connections: async ones on an event loop of their own, in a thread, and plain ones
in a further thread, one call at a time (``threads`` of the component raises that). Health answers meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import logging
import os
import re
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from tiffin.bundle import read_bundle
from tiffin.errors import (
    CallError,
    NotImplementedHere,
    NotReady,
    PredictError,
    ServiceError,
    TiffinError,
    TooManyCalls,
)
from tiffin.protocol.reply import Reply
from tiffin.runtime import kserve_messages as messages
from tiffin.runtime import kserve_program
from tiffin.runtime.exchange import Endpoint, Exchange
from tiffin.runtime.kserve_example import example_of
from tiffin.runtime.metrics import Metrics
from tiffin.runtime.tensor_models import Models
from tiffin.service.kserve_compat import server, upstream
from tiffin.service.kserve_compat.server import Handed
from tiffin.spec import ContainerSource, ReplicaSpec

log = logging.getLogger(__name__)

_VARIABLE = re.compile(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)")
_HEALTH_SECONDS = 1.0
_WARM_UP_SECONDS = 120.0


class KServeApplication:
    """What one program handed over, served by this worker."""

    server_header = b"tiffin"

    def __init__(self, spec: ReplicaSpec) -> None:
        source = spec.component.source
        if not isinstance(source, ContainerSource):
            raise ServiceError(f"expected a program, found a {type(source).__name__}")
        self._spec = spec
        self._source = source
        self._handed = Handed()
        self._example: dict[str, Any] | None = None
        self._wire: asyncio.AbstractEventLoop | None = None
        self._loop = asyncio.new_event_loop()
        self._hooks = ThreadPoolExecutor(spec.component.threads or 1, thread_name_prefix="predict")
        self._thread = threading.Thread(target=self._loop.run_forever, name="model", daemon=True)
        self._in_hand = 0
        self._histograms: dict[str, Any] = {}

    # -- life ----------------------------------------------------------------------------------------------

    def use(self, metrics: Metrics, worker: int = 0) -> None:
        """Times of hooks are counted by kserve's own histograms."""

    def load(self) -> None:
        """Run the program up to its server, start the models, and call them once with their example.

        Raises:
            ServiceError: any of it failed; the text says where.
        """
        directory, command = self._place()
        _fetch_by_address()
        words = [self._filled(word) for word in (*command, *self._source.arguments)]
        self._handed = kserve_program.run(words, directory)
        if (self._handed.settings.get("workers") or 1) > 1:
            log.warning("workers of ModelServer are not honoured: the deployment says how many")
        self._thread.start()
        for model in self._handed.models.values():
            if getattr(model, "engine", False):
                self._run(model.start_engine()).result()
        self._warm_up(directory)
        from kserve import metrics

        self._histograms = {
            "preprocess": metrics.PRE_HIST_TIME,
            "predict": metrics.PREDICT_HIST_TIME,
            "postprocess": metrics.POST_HIST_TIME,
            "explain": metrics.EXPLAIN_HIST_TIME,
        }
        log.info("serving %s of %s", ", ".join(self._handed.models), " ".join(command))

    def _place(self) -> tuple[Path, list[str]]:
        path = Path(self._spec.path)
        bundle = read_bundle(path)
        if bundle is not None:
            # Byte code written into a bundle would make it differ from what was built.
            sys.dont_write_bytecode = True
        directory = bundle.source if bundle is not None else path
        return directory, _without_python(list(self._source.command))

    def _filled(self, word: str) -> str:
        """``$(NAME)`` is a variable, as in Kubernetes; a mount's place in the container is its place here."""
        word = _VARIABLE.sub(lambda found: os.environ.get(found[1], found[0]), word)
        for place, artefact in self._source.mounts.items():
            word = word.replace(place, artefact.uri)
        return word

    def _warm_up(self, directory: Path) -> None:
        """Predictors are called once; a transformer would call its predictor, which may not be there yet."""
        name, model = next(iter(self._handed.models.items()))
        self._example = example_of(name, model, directory, prefers_v1=self._spec.protocol == "kserve-v1")
        config = getattr(model, "predictor_config", None)
        if self._example is None:
            return
        if config is not None and config.predictor_host:
            self._example["is_complete"] = False
            return
        body = msgspec.json.encode(self._example["body"])
        call = partial(self._answer, name, "predict", self._example["path"].startswith("/v2"))
        try:
            self._run(call({"content-type": "application/json"}, body)).result(_WARM_UP_SECONDS)
        except (TiffinError, TimeoutError) as error:
            log.warning("the example of %s is not one it can be called with: %s", name, error)
            self._example = None

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def start(self) -> None:
        """Bind to the loop of the connections."""
        self._wire = asyncio.get_running_loop()

    async def stop(self) -> None:
        """Stop the models, and let go of threads and connections."""
        for model in self._handed.models.values():
            with contextlib.suppress(Exception):
                async with asyncio.timeout(5):
                    await asyncio.to_thread(model.stop)
        if self._thread.is_alive():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2):
                    await asyncio.wrap_future(self._run(upstream.close()))
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._hooks.shutdown(wait=False, cancel_futures=True)

    def tensor_models(self) -> Models:
        """None: programs of KServe's SDK are asked over HTTP, with its own messages."""
        return {}

    async def is_ready(self) -> bool:
        """Whether every model says it is healthy; one that is busy is not asked for long."""
        return all([await self._is_healthy(model) for model in self._handed.models.values()])

    async def _is_healthy(self, model: Any) -> bool:
        if not hasattr(model, "healthy"):
            return bool(model.ready)

        async def ask() -> bool:
            found = model.healthy()
            return bool(await found if inspect.isawaitable(found) else found)

        question = self._run(ask())
        try:
            async with asyncio.timeout(_HEALTH_SECONDS):
                return bool(await asyncio.wrap_future(question))
        except TimeoutError:
            return bool(model.ready)

    async def is_alive(self) -> bool:
        """A replica whose loop turns is alive."""
        return True

    # -- endpoints -----------------------------------------------------------------------------------------

    def endpoints(self) -> Iterable[Endpoint]:
        """KServe's paths, for each model the program handed over; before that, only what has no model."""
        found = [
            Endpoint("GET", "/", partial(_say, b'{"status":"alive"}'), exempt=True),
            Endpoint("GET", "/v1/models", self._list, exempt=True),
            Endpoint("GET", "/v2", self._server_metadata, exempt=True),
            Endpoint("GET", "/v2/health/live", partial(_say, b'{"live":true}'), exempt=True),
            Endpoint("GET", "/v2/health/ready", self._server_ready, exempt=True),
            Endpoint("GET", "/v2/models", self._list, exempt=True),
            Endpoint("GET", "/tiffin/example", self._show_example),
        ]
        for name in self._handed.models:
            v1, v2 = f"/v1/models/{name}", f"/v2/models/{name}"
            found += [
                Endpoint("GET", v1, partial(self._model_ready, name), exempt=True),
                Endpoint("POST", f"{v1}:predict", partial(self._call, name, "predict", False)),
                Endpoint("POST", f"{v1}:explain", partial(self._call, name, "explain", False)),
                Endpoint("GET", v2, partial(self._metadata, name)),
                Endpoint("GET", f"{v2}/ready", partial(self._model_ready, name), exempt=True),
                Endpoint("POST", f"{v2}/infer", partial(self._call, name, "predict", True)),
            ]
        return found

    def render_error(self, path: str, error: TiffinError) -> Reply:
        """``{"error": ...}``; an unknown model is named as KServe names it."""
        parts = path.split("/")
        if error.status == 404 and len(parts) > 3 and parts[1] in ("v1", "v2") and parts[2] == "models":
            name = parts[3].partition(":")[0]
            if name not in self._handed.models:
                error.message = f"Model with name {name[:64]} does not exist."
            elif len(parts) > 4 and parts[4] == "versions":
                error = NotImplementedHere("Model versions are not served; leave /versions/... out of the path.")
        return messages.error_reply(error)

    def _call(self, name: str, verb: str, is_v2: bool, exchange: Exchange) -> None:
        limit = self._spec.component.max_concurrency
        if limit is not None and self._in_hand >= limit:
            raise TooManyCalls(f"expected at most {limit} calls at a time, found one more")
        self._in_hand += 1
        headers, body, path = messages.headers_of(exchange.head), exchange.body, exchange.head.path
        task = self._run(self._exchange(exchange, path, self._answer(name, verb, is_v2, headers, body)))
        exchange.on_close = task.cancel
        task.add_done_callback(lambda _: self._on_wire(self._left))

    def _left(self) -> None:
        self._in_hand -= 1

    def _on_wire(self, work: Callable[[], None]) -> None:
        assert self._wire is not None
        with contextlib.suppress(RuntimeError):  # The loop has closed: the drain time was over.
            self._wire.call_soon_threadsafe(work)

    async def _exchange(
        self, exchange: Exchange, path: str, answer: Awaitable[Reply | AsyncIterator[Any]]
    ) -> None:
        try:
            reply = await answer
            if not isinstance(reply, Reply):
                await self._stream(exchange, reply)
                return
        except TiffinError as error:
            if not isinstance(error, CallError):
                log.error("a call failed: %s", error, exc_info=error.__cause__)
            reply = self.render_error(path, error)
            if isinstance(error, NotReady):
                reply.headers = (*reply.headers, (b"retry-after", b"1"))
        except Exception as error:
            log.exception("a call failed")
            reply = self.render_error(path, PredictError(type(error).__name__))
        self._on_wire(partial(exchange.reply, reply))

    async def _stream(self, exchange: Exchange, parts: AsyncIterator[Any]) -> None:
        assert self._wire is not None
        self._on_wire(partial(exchange.start, Reply(200, b"", b"text/event-stream")))
        try:
            async for part in parts:
                chunk = part if isinstance(part, bytes) else str(part).encode()
                if chunk:
                    sent = asyncio.run_coroutine_threadsafe(exchange.send(chunk), self._wire)
                    await asyncio.wrap_future(sent)
        except ConnectionResetError:
            return
        except Exception:
            log.exception("a stream broke off")
            self._on_wire(exchange.abort)
            return
        self._on_wire(exchange.finish)

    # -- one call ------------------------------------------------------------------------------------------

    async def _answer(
        self, name: str, verb: str, is_v2: bool, headers: dict[str, str], body: bytes
    ) -> Reply | AsyncIterator[Any]:
        """Decode, go through the hooks, encode; in the context the program's server was made in."""
        context = (self._handed.context or contextvars.Context()).copy()
        context.run(upstream.caller.set, headers)
        task = self._loop.create_task(self._through(name, verb, is_v2, headers, body), context=context)
        return await task

    async def _through(
        self, name: str, verb: str, is_v2: bool, headers: dict[str, str], body: bytes
    ) -> Reply | AsyncIterator[Any]:
        model = self._handed.models[name]
        event: messages.Event | None = None
        if is_v2:
            payload = messages.read_v2(headers, body, name, self._spec.limits.max_tensor_bytes)
        else:
            payload, event = messages.read_v1(headers, body)
        answer_headers: dict[str, str] = {}
        more = (answer_headers,) if server.wants_response_headers(model) else ()
        payload = await self._hook(model, "preprocess", payload, headers)
        _check_instances(model, payload)
        result = await self._hook(model, verb, payload, headers, *(more if verb == "predict" else ()))
        result = await self._hook(model, "postprocess", result, headers, *more)
        if isinstance(result, AsyncIterator):
            return result
        return messages.write(result, event, name, answer_headers)

    async def _hook(self, model: Any, name: str, *arguments: Any) -> Any:
        hook = getattr(model, name)
        timer = self._histograms[name].labels(model.name).time() if self._histograms else contextlib.nullcontext()
        try:
            with timer:
                if server.is_coroutine(hook):
                    return await hook(*arguments)
                context = contextvars.copy_context()
                found = await self._loop.run_in_executor(self._hooks, partial(context.run, hook, *arguments))
                return await found if inspect.isawaitable(found) else found
        except asyncio.CancelledError:
            raise
        except (Exception, SystemExit) as error:
            if isinstance(error, KeyError) and _lacks(arguments[0], error):
                # What KServe's server answers with 500: the model read what the caller did not send.
                raise messages.Refused(f'Expected "{error.args[0]}" in the request', 400) from error
            problem = error if isinstance(error, Exception) else ServiceError(f"{name} called sys.exit()")
            raise messages.failure(problem, f"{type(model).__name__}.{name}()") from error

    # -- small answers -------------------------------------------------------------------------------------

    def _list(self, exchange: Exchange) -> None:
        exchange.reply(Reply(200, msgspec.json.encode({"models": list(self._handed.models)})))

    def _server_metadata(self, exchange: Exchange) -> None:
        from tiffin import __version__

        facts = {"name": "tiffin", "version": __version__, "extensions": ["binary_tensor_data"]}
        exchange.reply(Reply(200, msgspec.json.encode(facts)))

    def _server_ready(self, exchange: Exchange) -> None:
        if self._wire is None:
            raise NotReady("Server is not ready.")
        exchange.reply(Reply(200, b'{"ready":true}'))

    def _model_ready(self, name: str, exchange: Exchange) -> None:
        if self._wire is None or not self._handed.models[name].ready:
            raise NotReady(f"Model with name {name} is not ready.")
        exchange.reply(Reply(200, msgspec.json.encode({"name": name, "ready": True})))

    def _metadata(self, name: str, exchange: Exchange) -> None:
        model = self._handed.models[name]

        async def described() -> Reply:
            inputs = await self._hook_types(model, "get_input_types")
            outputs = await self._hook_types(model, "get_output_types")
            facts = {"name": name, "versions": None, "platform": "", "inputs": inputs, "outputs": outputs}
            return Reply(200, msgspec.json.encode(facts))

        self._run(self._exchange(exchange, exchange.head.path, described()))

    async def _hook_types(self, model: Any, name: str) -> Any:
        found = getattr(model, name)() if hasattr(model, name) else []
        return await found if inspect.isawaitable(found) else found

    def _show_example(self, exchange: Exchange) -> None:
        if self._example is None:
            raise CallError(
                "there is no example of a call: give the model an example attribute, or get_input_types()"
            )
        exchange.reply(Reply(200, msgspec.json.encode(self._example)))


def _check_instances(model: Any, payload: Any) -> None:
    if isinstance(payload, dict):
        for key in ("instances", "inputs"):
            if key in payload and not isinstance(payload[key], list):
                config = getattr(model, "predictor_config", None)
                if key == "instances" or (config is not None and config.predictor_protocol != "v1"):
                    raise messages.Refused(f'Expected "{key}" to be a list', 400)


def _lacks(payload: Any, error: KeyError) -> bool:
    """Whether a model looked for one of the protocol's own keys in a payload that has none of it."""
    key = error.args[0] if error.args else None
    return key in ("instances", "inputs") and isinstance(payload, dict) and key not in payload


def _without_python(command: list[str]) -> list[str]:
    """``model.py`` of ``python model.py``: this process is that Python already."""
    if command and os.path.basename(command[0]).startswith("python"):
        command = command[1:]
        while command and command[0].startswith("-") and command[0] != "-m":
            command = command[1:]
    return command


def _fetch_by_address() -> None:
    """``kserve.Storage`` fetches with what Tiffin fetches with."""
    from tiffin.kits import paths
    from tiffin.service import kserve_compat

    def fetch(uri: str) -> Path:
        from tiffin.models import storage

        return storage.fetch(uri, base=Path.cwd(), cache=paths.data_directory().cache)

    kserve_compat.fetch = fetch


def _say(body: bytes, exchange: Exchange) -> None:
    exchange.reply(Reply(200, body))
