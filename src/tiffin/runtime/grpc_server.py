"""The gRPC services of a worker, beside its HTTP: inference, health and reflection, over one application.

Messages come and go as bytes: what is malformed is answered INVALID_ARGUMENT, where grpc would see a failure
of its own. Counted as HTTP calls are, under the method ``GRPC``.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from typing import Any

import grpc
import grpc.aio

from tiffin.errors import (
    CallError,
    MethodNotAllowed,
    NotImplementedHere,
    NotReady,
    PlatformError,
    TiffinError,
    UnknownRoute,
)
from tiffin.protocol.grpc_messages import HEALTH, INFERENCE, OLD_REFLECTION, REFLECTION, message, parsed
from tiffin.protocol.grpc_tensors import (
    FINAL,
    INTERNAL,
    WANTS_FINAL,
    Asked,
    GrpcTensors,
    Inference,
    status_of,
    stream_answer,
    stream_error,
)
from tiffin.runtime import grpc_reflection
from tiffin.runtime.exchange import Endpoint, Exchange
from tiffin.runtime.lifecycle import State
from tiffin.runtime.server import Server
from tiffin.runtime.tensor_models import Headers, Models, TensorModel, checked, find
from tiffin.spec import Listen

log = logging.getLogger(__name__)

_SERVICE = f"{INFERENCE}.GRPCInferenceService"
_METHODS = (
    "ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer", "ModelStreamInfer",
    "RepositoryIndex", "RepositoryModelLoad", "RepositoryModelUnload",
)  # fmt: skip
_FIXED = "the model of a replica stays loaded for its life; change the deployment, or delete it"
_WINDOW = 64
"""Calls of one stream in hand at a time."""
_WATCH_SECONDS = 0.5
_UNEXPECTED = "unexpected; see the server's log"
_LOADING = "the model is still loading; try again in a moment"
_CODES = {code.value[0]: code for code in grpc.StatusCode}

Context = Any
Answer = Callable[[bytes, Headers], Awaitable[bytes]]


def endpoints() -> dict[str, Endpoint]:
    """What is counted, by method's name; over HTTP/1.1 they are refused."""
    return {name: Endpoint("GRPC", f"/{_SERVICE}/{name}", _refuse) for name in _METHODS}


def _refuse(exchange: Exchange) -> None:
    raise MethodNotAllowed(f"expected a gRPC call of {exchange.head.path}", allow=("POST",))


class GrpcServer:
    """One worker's.

    Args:
        server: state, limits and counters, shared with HTTP.
        models: what is served, once it was loaded.
        counted: from ``endpoints``, with their places in the table.
    """

    def __init__(self, server: Server, models: Callable[[], Models], counted: dict[str, Endpoint]) -> None:
        self._server = server
        self._models = models
        self._counted = counted
        self._tensors = GrpcTensors(max_tensor_bytes=server.limits.max_tensor_bytes)
        self._messages: dict[str, Any] = {}
        self._grpc: grpc.aio.Server | None = None

    async def start(self, listen: Listen) -> None:
        """Listen; raises PlatformError when that cannot be done."""
        most = self._server.limits.max_body_bytes
        self._grpc = grpc.aio.server(
            options=(
                ("grpc.max_receive_message_length", most),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", 1),
                ("grpc.max_metadata_size", self._server.limits.max_head_bytes),
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
            )
        )
        self._grpc.add_generic_rpc_handlers(self._handlers())
        address = f"unix:{listen.unix}" if listen.unix else _tcp(listen)
        try:
            self._grpc.add_insecure_port(address)
        except RuntimeError as error:
            raise PlatformError(f"cannot listen for gRPC on {address}: {error}") from None
        await self._grpc.start()
        if listen.unix:
            os.chmod(listen.unix, 0o600)

    async def stop(self, grace_seconds: float) -> None:
        """Take no more calls, and give those in hand this long."""
        if self._grpc is not None:
            await self._grpc.stop(grace_seconds)

    def _handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        answers: dict[str, Answer] = {
            "ServerLive": self._server_live,
            "ServerReady": self._server_ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._server_metadata,
            "ModelMetadata": self._model_metadata,
            "ModelInfer": self._infer,
            "RepositoryIndex": self._index,
            "RepositoryModelLoad": self._fixed,
            "RepositoryModelUnload": self._fixed,
        }
        inference = {
            name: grpc.unary_unary_rpc_method_handler(self._unary(self._counted[name], answer))
            for name, answer in answers.items()
        }
        inference["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(self._stream)
        health = {
            "Check": grpc.unary_unary_rpc_method_handler(self._unary(None, self._check)),
            "Watch": grpc.unary_stream_rpc_method_handler(self._watch),
        }
        found = [
            grpc.method_handlers_generic_handler(_SERVICE, inference),
            grpc.method_handlers_generic_handler(f"{HEALTH}.Health", health),
        ]
        for package in (REFLECTION, OLD_REFLECTION):
            name = f"{package}.ServerReflection"
            handler = grpc.stream_stream_rpc_method_handler(grpc_reflection.answerer(package))
            found.append(grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": handler}))
        return tuple(found)

    # -- calls ---------------------------------------------------------------------------------------------

    def _unary(self, endpoint: Endpoint | None, answer: Answer) -> Callable[[bytes, Context], Awaitable[bytes]]:
        server = self._server

        async def handle(data: bytes, context: Context) -> bytes:
            began = time.perf_counter()
            server.in_flight += 1
            status = 499  # What is left when the caller, or its deadline, cancels the call.
            try:
                reply = await answer(data, _headers(context))
                status = 200
                return reply
            except TiffinError as error:
                status = error.status
                failure = _told(error)
            except Exception:
                log.exception("a gRPC call failed")
                status = 500
                failure = (INTERNAL, _UNEXPECTED)
            finally:
                server.in_flight -= 1
                if status == 499:
                    server.metrics.dropped()
                if endpoint is not None:
                    server.metrics.request(endpoint.index, status, time.perf_counter() - began)
            await context.abort(_CODES[failure[0]], failure[1])
            raise AssertionError("abort raises")

        return handle

    def _loaded(self) -> Models:
        if self._server.state not in (State.READY, State.DRAINING):
            raise NotReady(_LOADING)
        return self._models()

    def _read(self, data: bytes) -> tuple[Inference, TensorModel]:
        models = self._loaded()
        request = self._tensors.read(data)
        model = find(models, request.model, request.version)
        checked(request.call.context.wanted, model)
        return request, model

    async def _infer(self, data: bytes, headers: Headers) -> bytes:
        request, model = self._read(data)
        if model.streams:
            raise NotImplementedHere(f"Model with name {model.name} gives a stream: call ModelStreamInfer.")
        outputs = await model.infer(request.call, headers)
        return self._tensors.write(request.model, request.call.context, outputs)

    # -- streams -------------------------------------------------------------------------------------------

    async def _stream(self, requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        """Triton's stream: calls are answered in their order, and one that fails does not end it."""
        headers = _headers(context)
        queue: asyncio.Queue[AsyncGenerator[bytes, None] | None] = asyncio.Queue(_WINDOW)
        begun: set[asyncio.Task[bytes]] = set()

        async def take() -> None:
            try:
                async for data in requests:
                    await queue.put(self._begun(data, headers, begun))
            finally:
                await queue.put(None)

        taking = asyncio.create_task(take())
        try:
            while (answers := await queue.get()) is not None:
                async with aclosing(answers):
                    async for answer in answers:
                        yield answer
        finally:
            taking.cancel()
            for task in begun:
                task.cancel()
            with suppress(asyncio.CancelledError):
                await taking

    def _begun(
        self, data: bytes, headers: Headers, begun: set[asyncio.Task[bytes]]
    ) -> AsyncGenerator[bytes, None]:
        """The answers of one call; one that has only one is on its way already, to share a batch with the next."""
        try:
            request, model = self._read(data)
        except TiffinError as error:
            return self._counting(_raising(error), None)
        if model.streams:
            return self._counting(self._several(request, model, headers), request)
        task = asyncio.create_task(self._one(request, model, headers))
        begun.add(task)
        task.add_done_callback(begun.discard)
        return self._counting(_awaited(task), request)

    async def _one(self, request: Inference, model: TensorModel, headers: Headers) -> bytes:
        outputs = await model.infer(request.call, headers)
        return stream_answer(self._tensors.write(request.model, request.call.context, outputs, {FINAL: True}))

    async def _several(
        self, request: Inference, model: TensorModel, headers: Headers
    ) -> AsyncGenerator[bytes, None]:
        asked: Asked = request.call.context
        write = self._tensors.write
        async with aclosing(model.stream(request.call, headers)) as answers:
            async for outputs in answers:
                yield stream_answer(write(request.model, asked, outputs, {FINAL: False}))
        if asked.parameters.get(WANTS_FINAL) is True:
            yield stream_answer(write(request.model, asked._replace(wanted=None), (), {FINAL: True}))

    async def _counting(
        self, answers: AsyncGenerator[bytes, None], request: Inference | None
    ) -> AsyncGenerator[bytes, None]:
        """The answers, and what went wrong as the last one; the stream goes on with the next call."""
        server = self._server
        began = time.perf_counter()
        server.in_flight += 1
        status, text = 499, ""  # What is left when the caller, or its deadline, cancels the stream.
        try:
            async with aclosing(answers):
                async for answer in answers:
                    yield answer
            status = 200
        except TiffinError as error:
            status, text = error.status, _told(error)[1]
        except Exception:
            log.exception("a gRPC call failed")
            status, text = 500, _UNEXPECTED
        finally:
            server.in_flight -= 1
            if status == 499:
                server.metrics.dropped()
            index = self._counted["ModelStreamInfer"].index
            server.metrics.request(index, status, time.perf_counter() - began)
        if text:
            yield stream_error(text, *((request.model, request.call.context.id) if request else ()))

    # -- what is known -------------------------------------------------------------------------------------

    def _message(self, name: str, /, **fields: Any) -> bytes:
        data: bytes = self._kind(name)(**fields).SerializeToString()
        return data

    def _kind(self, name: str) -> Any:
        kind = self._messages.get(name)
        if kind is None:
            kind = self._messages[name] = message(f"{INFERENCE}.{name}")
        return kind

    async def _server_live(self, data: bytes, headers: Headers) -> bytes:
        return self._message("ServerLiveResponse", live=True)

    async def _is_ready(self) -> bool:
        return self._server.state is State.READY and await self._server.application.is_ready()

    async def _server_ready(self, data: bytes, headers: Headers) -> bytes:
        return self._message("ServerReadyResponse", ready=await self._is_ready())

    async def _model_ready(self, data: bytes, headers: Headers) -> bytes:
        asked = parsed(self._kind("ModelReadyRequest"), data)
        if self._server.state is State.STARTING:
            return self._message("ModelReadyResponse", ready=False)
        find(self._models(), asked.name, asked.version)
        return self._message("ModelReadyResponse", ready=await self._is_ready())

    async def _server_metadata(self, data: bytes, headers: Headers) -> bytes:
        from tiffin import __version__

        return self._message("ServerMetadataResponse", name="tiffin", version=__version__, extensions=[])

    async def _model_metadata(self, data: bytes, headers: Headers) -> bytes:
        asked = parsed(self._kind("ModelMetadataRequest"), data)
        model = find(self._loaded(), asked.name, asked.version)
        found = model.describe()
        sides = {
            side: [{"name": s.name, "datatype": s.datatype, "shape": list(s.shape)} for s in specs]
            for side, specs in (("inputs", found.inputs), ("outputs", found.outputs))
        }
        return self._message("ModelMetadataResponse", name=asked.name, platform=found.platform, **sides)

    async def _index(self, data: bytes, headers: Headers) -> bytes:
        asked = parsed(self._kind("RepositoryIndexRequest"), data)
        is_ready = await self._is_ready()
        models = [] if self._server.state is State.STARTING else list(self._models())
        state = "READY" if is_ready else "UNAVAILABLE"
        listed = [{"name": name, "state": state} for name in models if is_ready or not asked.ready]
        return self._message("RepositoryIndexResponse", models=listed)

    async def _fixed(self, data: bytes, headers: Headers) -> bytes:
        raise NotImplementedHere(_FIXED)

    # -- health --------------------------------------------------------------------------------------------

    async def _serving(self, name: str) -> int | None:
        """The standard's numbers: 1 serving, 2 not serving; ``None`` for a name that means nothing here."""
        is_started = self._server.state is not State.STARTING
        if name not in ("", _SERVICE) and not (is_started and name in self._models()):
            return None
        return 1 if await self._is_ready() else 2

    async def _check(self, data: bytes, headers: Headers) -> bytes:
        name = parsed(message(f"{HEALTH}.HealthCheckRequest"), data).service
        status = await self._serving(name)
        if status is None:
            raise UnknownRoute(f"there is no service or model {name[:64]!r}")
        answer: bytes = message(f"{HEALTH}.HealthCheckResponse")(status=status).SerializeToString()
        return answer

    async def _watch(self, data: bytes, context: Context) -> AsyncIterator[bytes]:
        try:
            name = parsed(message(f"{HEALTH}.HealthCheckRequest"), data).service
        except TiffinError as error:
            code, text = status_of(error)
            await context.abort(_CODES[code], text)
            return
        kind, last = message(f"{HEALTH}.HealthCheckResponse"), None
        while True:
            status = await self._serving(name)
            found = 3 if status is None else status
            if found != last:
                last = found
                yield kind(status=found).SerializeToString()
            await asyncio.sleep(_WATCH_SECONDS)


async def _awaited(task: asyncio.Task[bytes]) -> AsyncGenerator[bytes, None]:
    yield await task


async def _raising(error: TiffinError) -> AsyncGenerator[bytes, None]:
    for _ in ():
        yield b""  # Never: it makes this a generator.
    raise error


def _told(error: TiffinError) -> tuple[int, str]:
    """The status of an error and its text for the caller; what the caller cannot fix goes to the log."""
    if not isinstance(error, CallError):
        log.error("a gRPC call failed: %s", error, exc_info=error.__cause__)
    return status_of(error)


def _headers(context: Context) -> Headers:
    """The metadata of a call as headers."""
    return {
        key.encode("latin-1", "replace"): value if isinstance(value, bytes) else value.encode("latin-1", "replace")
        for key, value in context.invocation_metadata() or ()
    }


def _tcp(listen: Listen) -> str:
    host = f"[{listen.host}]" if ":" in listen.host else listen.host
    return f"{host}:{listen.port}"
