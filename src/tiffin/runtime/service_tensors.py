"""A service behind the Open Inference Protocol V2: metadata, infer, generate, and generate as a stream of events.

numpy is imported with the first call: many a service has no other use for it, or does not have it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Iterable
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson

from tiffin.errors import CallError, DecodeError, NotImplementedHere, TiffinError, UnknownRoute
from tiffin.protocol.reply import Reply
from tiffin.protocol.tensor_errors import error as error_of
from tiffin.protocol.tensor_errors import error_reply
from tiffin.runtime.exchange import Endpoint, Exchange
from tiffin.runtime.service_models import OUTPUT, ServiceModel, first_of, is_end, models_of, require_numpy
from tiffin.runtime.tensor_models import checked

if TYPE_CHECKING:
    from tiffin.protocol.named_tensors import NamedTensors
    from tiffin.runtime.service_application import ServiceApplication

log = logging.getLogger(__name__)

TEXT_OUTPUT = "text_output"
"""What ``generate`` calls a text, as servers of language models do."""

_EVENTS = b"text/event-stream; charset=utf-8"
_EXTENSIONS = ["binary_tensor_data", "generate"]

Answer = Callable[[str, ServiceModel, Exchange], Coroutine[Any, Any, None]]


class ServiceTensors:
    """The facet of the tensor protocol: a method is a model."""

    def __init__(self, application: ServiceApplication) -> None:
        self._application = application
        self.models = models_of(application)
        self._protocols: dict[str, NamedTensors] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_started = False

    async def start(self) -> None:
        """From now on it is ready."""
        self._is_started = True

    async def stop(self) -> None:
        """End what is still being answered."""
        for task in list(self._tasks):
            task.cancel()

    def endpoints(self) -> Iterable[Endpoint]:
        """V2's paths, for every name of a model."""
        found = [
            Endpoint("GET", "/v2", self._server, exempt=True),
            Endpoint("GET", "/v2/health/live", self._live, exempt=True),
            Endpoint("GET", "/v2/health/ready", self._ready, exempt=True),
            Endpoint("GET", "/v2/models", self._list, exempt=True),
        ]
        for name, model in self.models.items():
            at = f"/v2/models/{name}"
            found += [
                Endpoint("GET", at, partial(self._metadata, name)),
                Endpoint("GET", f"{at}/ready", partial(self._model_ready, name), exempt=True),
            ]
            answers: tuple[tuple[str, Answer], ...] = (
                ("infer", self._infer), ("generate", self._generate), ("generate_stream", self._events)
            )  # fmt: skip
            for word, answer in answers:
                found.append(Endpoint("POST", f"{at}/{word}", partial(self._answer, answer, name, model)))
        return found

    def render_error(self, path: str, error: TiffinError) -> Reply:
        """``{"error": ...}``; a model that there is not is named as KServe names it."""
        parts = path.split("/")
        if isinstance(error, UnknownRoute) and len(parts) > 3 and parts[2] == "models":
            if parts[3] not in self.models:
                there = ", ".join(self.models) or "none"
                error = UnknownRoute(f"Model with name {parts[3][:64]} does not exist. There are: {there}")
            elif len(parts) > 4 and parts[4] == "versions":
                error = NotImplementedHere("Model versions are not served; leave /versions/... out of the path.")
        return error_of(error)

    # -- calls ---------------------------------------------------------------------------------------------

    def _answer(self, answer: Answer, name: str, model: ServiceModel, exchange: Exchange) -> None:
        task = asyncio.get_running_loop().create_task(self._answered(answer(name, model, exchange), exchange))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        exchange.on_close = partial(_cancel, task)

    async def _answered(self, work: Coroutine[Any, Any, None], exchange: Exchange) -> None:
        try:
            await work
        except TiffinError as error:
            exchange.reply(self._failed(error))
        except Exception as error:
            log.exception("a call failed")
            exchange.reply(error_of(TiffinError(str(error))))

    def _failed(self, error: TiffinError) -> Reply:
        if not isinstance(error, CallError):
            cause = error.__cause__
            log.error("a call failed: %s", error, exc_info=cause and self._application.users_part(cause))
        return error_of(error)

    async def _infer(self, name: str, model: ServiceModel, exchange: Exchange) -> None:
        protocol = self._protocol(name)
        call = protocol.read(exchange.head, exchange.body)
        checked(protocol.wanted(call), model)
        exchange.reply(protocol.write(call, await model.infer(call, exchange.head.headers)))

    async def _generate(self, name: str, model: ServiceModel, exchange: Exchange) -> None:
        fields = _fields(exchange.body)
        value = await model.value(model.from_fields(fields), exchange.head.headers)
        exchange.reply(Reply(200, _answer_text(name, fields, model, value)))

    async def _events(self, name: str, model: ServiceModel, exchange: Exchange) -> None:
        """What goes wrong before the first item has a status of its own, what goes wrong later is an event."""
        fields = _fields(exchange.body)
        async with aclosing(model.items(model.from_fields(fields), exchange.head.headers)) as items:
            first = await first_of(items)
            begun = b"" if is_end(first) else _event(_answer_text(name, fields, model, first))
            exchange.start(Reply(200, begun, _EVENTS, ((b"cache-control", b"no-store"),)))
            try:
                async for item in items:
                    await exchange.send(_event(_answer_text(name, fields, model, item)))
            except ConnectionResetError:
                return
            except asyncio.CancelledError:
                exchange.abort()
                raise
            except TiffinError as error:
                with contextlib.suppress(ConnectionResetError):
                    await exchange.send(_event(self._failed(error).body))
            exchange.finish()

    # -- small answers -------------------------------------------------------------------------------------

    def _server(self, exchange: Exchange) -> None:
        from tiffin import __version__

        body = {"name": "tiffin", "version": __version__, "extensions": _EXTENSIONS}
        exchange.reply(Reply(200, orjson.dumps(body)))

    def _live(self, exchange: Exchange) -> None:
        exchange.reply(Reply(200, b'{"live":true}'))

    def _ready(self, exchange: Exchange) -> None:
        self._ask(exchange, Reply(200, b'{"ready":true}'), error_reply(503, "Server is not ready."))

    def _model_ready(self, name: str, exchange: Exchange) -> None:
        yes = Reply(200, orjson.dumps({"name": name, "ready": True}))
        self._ask(exchange, yes, error_reply(503, f"Model with name {name} is not ready."))

    def _ask(self, exchange: Exchange, yes: Reply, no: Reply) -> None:
        async def answer() -> None:
            exchange.reply(yes if self._is_started and await self._application.is_ready() else no)

        task = asyncio.get_running_loop().create_task(self._answered(answer(), exchange))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _list(self, exchange: Exchange) -> None:
        exchange.reply(Reply(200, orjson.dumps({"models": list(self.models)})))

    def _metadata(self, name: str, exchange: Exchange) -> None:
        exchange.reply(self._protocol(name).metadata(*self.models[name].describe()))

    def _protocol(self, name: str) -> NamedTensors:
        found = self._protocols.get(name)
        if found is None:
            require_numpy()
            from tiffin.protocol.named_tensors import NamedTensors

            most = self._application.spec.limits.max_tensor_bytes
            found = self._protocols[name] = NamedTensors(name, max_tensor_bytes=most)
        return found


def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()


def _fields(body: bytes) -> dict[str, Any]:
    try:
        fields = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError as error:
        raise DecodeError(f"expected a JSON object, found: {error}") from None
    if not isinstance(fields, dict):
        raise DecodeError(f"expected a JSON object, found {type(fields).__name__}")
    return fields


def _answer_text(name: str, fields: dict[str, Any], model: ServiceModel, value: Any) -> bytes:
    """The object of an answer: a dict's and a model's own keys, a text's, or the only output's."""
    if isinstance(value, str | bytes):
        text = value if isinstance(value, str) else value.decode("utf-8", "replace")
        outputs: dict[str, Any] = {TEXT_OUTPUT: text}
    else:
        encoded = orjson.loads(model.written(value))
        outputs = encoded if isinstance(encoded, dict) else {OUTPUT: encoded}
    identifier = {"id": fields["id"]} if isinstance(fields.get("id"), str) else {}
    return orjson.dumps({"model_name": name, "model_version": "", **identifier, **outputs})


def _event(data: bytes) -> bytes:
    return b"data: %b\n\n" % data
