"""One call of one method of a service: decode, call, encode, in time, and while its caller is there."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import os
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any

from tiffin.codec.files import Scratch
from tiffin.codec.inputs import Arguments
from tiffin.errors import CallError
from tiffin.protocol import named_json
from tiffin.protocol.deadlines import seconds_waited
from tiffin.protocol.reply import Reply
from tiffin.runtime.exchange import Exchange
from tiffin.runtime.generator_steps import Steps
from tiffin.service import caller, context
from tiffin.service.endpoint import Endpoint as Method
from tiffin.service.exceptions import status_of
from tiffin.service.lifetime import Lifetime

if TYPE_CHECKING:
    from tiffin.runtime.service_application import ServiceApplication
    from tiffin.runtime.value_batches import Ask, Waiting

log = logging.getLogger(__name__)

_NOTHING: Any = object()

_LARGE_BODY = 262_144
"""Bytes from which on the input of an async method is decoded in a thread: about a millisecond's work."""


async def invoke(application: ServiceApplication, method: Method, arguments: Arguments) -> Any:
    """The value a method gives for decoded arguments, however it runs; not for streams.

    Neither the service's time limit nor its limit of calls at once is applied: that is the caller's part.
    """
    if method.batchable:
        return await submit(application, method, arguments)
    call = application.bind(method, arguments)
    return await call() if method.kind == "async" else await application.in_pool(call)


def items_of(application: ServiceApplication, method: Method, arguments: Arguments) -> AsyncIterator[Any]:
    """What a generator yields; each step of a plain one runs in a thread."""
    bound = application.bind(method, arguments)()
    return bound if method.kind == "async-generator" else _from_thread(application, bound)


async def _from_thread(application: ServiceApplication, items: Iterator[Any]) -> AsyncIterator[Any]:
    done = object()
    steps = Steps(items)
    try:
        while (item := await application.in_pool(steps.next, done)) is not done:
            yield item
    finally:
        if steps.leave():
            # In a thread, as what the author's own ``finally`` does may take its time.
            application.later(steps.close)


async def submit(application: ServiceApplication, method: Method, arguments: Arguments) -> Any:
    """Make one call of a batchable method, together with others that wait."""
    name, value = _batch_of(method, arguments)
    return await application.batches(method).submit(value, _asker(application, method, name))


def _batch_of(method: Method, arguments: Arguments) -> tuple[str | None, Any]:
    """The one argument that is not the context: its name (None: it is given by position) and its value."""
    for name, value in arguments.kwargs.items():
        if name != method.context_name:
            return name, value
    return None, arguments.args[0]


def _asker(application: ServiceApplication, method: Method, name: str | None) -> Ask:
    """What calls a method with a batch. The context it sees is the batch's: no call sees another's request."""
    found = application.askers.get(method.name)
    if found is not None:
        return found

    async def ask(batch: Any) -> Any:
        caller.current.set(None)  # what a batch asks of others is asked for all of its calls
        kwargs = {} if name is None else {name: batch}
        if method.context_name is not None:
            kwargs[method.context_name] = context.BatchContext(application.service.context.state)
        call = application.bind(method, Arguments((batch,) if name is None else (), kwargs))
        return await call() if method.kind == "async" else await application.in_pool(call)

    application.askers[method.name] = ask
    return ask


class Call:
    """One call of one method, from its request to its answer; answered once, by whoever comes first.

    What it looks like on the wire is that of ``protocol.named_json``; a subclass may speak otherwise.
    """

    __slots__ = (
        "_answered",
        "_application",
        "_caller",
        "_context",
        "_exchange",
        "_life",
        "_method",
        "_scratch",
        "_seconds",
        "_task",
        "_timer",
        "_waiting",
    )

    def __init__(self, application: ServiceApplication, method: Method, exchange: Exchange) -> None:
        self._application = application
        self._method = method
        self._exchange = exchange
        self._scratch = Scratch()
        self._context: context.Context | None = None
        self._answered = False
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: Waiting | None = None
        self._life: Lifetime | None = None
        waits = seconds_waited(exchange.head.headers)
        limit = application.timeout_seconds
        self._seconds = limit if waits is None or waits > limit else waits
        self._caller: caller.Caller | None = None

    def begin(self, task: asyncio.Task[None] | None = None) -> None:
        """Watch the time, and the caller."""
        application = self._application
        self._task = task
        self._exchange.on_close = self._gone
        self._timer = application.loop.call_later(self._seconds, self._late)
        # Work that can be ended, or told that it is for nobody, is not done for a caller that closed its side.
        if task is not None:
            self._exchange.left_at_eof = True
        if self._method.context_name is not None:
            self._exchange.left_at_eof = True
            self._life = Lifetime(time.monotonic() + self._seconds)
        if application.calls_others:
            deadline = time.monotonic() + self._seconds
            self._caller = caller.Caller(self._exchange.head.headers, deadline, self._scratch)

    # In the thread

    def work(self) -> None:
        """A plain method, whole: decode, call, encode."""
        if self._answered:  # while it waited for a thread its time ran out, or its caller left
            self._back(None)
            return
        caller.current.set(self._caller)
        try:
            reply = self._encode(self._application.bind(self._method, self._arguments())())
        except named_json.OwnAnswer as own:
            self._back(None, own.response)
            return
        except BaseException as error:
            reply = self._failed(error)
        self._back(reply)

    def _back(self, reply: Reply | None, own: Any = None) -> None:
        if own is None:
            self._scratch.close()
        with contextlib.suppress(RuntimeError):  # the loop has closed: nobody waits any more
            self._application.loop.call_soon_threadsafe(self._end, reply, own)

    def _end(self, reply: Reply | None, own: Any = None) -> None:
        if own is not None:
            self._application.spawn(self._give(own))
            return
        self._application.ended()
        if reply is not None:
            self._answer(reply)

    async def _give(self, response: Any) -> None:
        """Let a Response of the author's send itself, in its own time, with what it does behind its answer."""
        try:
            await self._send_own(response)
        finally:
            self._application.ended()
            self._scratch.close()

    async def _send_own(self, response: Any) -> None:
        from tiffin.runtime.asgi import AsgiCall, http_scope

        if not self._claim():
            return
        exchange = self._exchange
        response.raw_headers.append(request_id())
        call = AsgiCall(exchange)
        try:
            scope = http_scope(exchange.head, body_bytes=len(exchange.body), state={})
            await response(scope, call.receive, call.send)
        except Exception as error:
            if not isinstance(error, OSError):
                log.exception("the answer of %s failed", self._method.name)
            call.fail(self._rendered(error))

    # On the loop

    def join_batch(self) -> bool:
        """Wait for the method's next batch, without a task of the call's own; False when it needs one after all.

        Measured: a third of what a batchable call costs besides its method were the task and its coroutines.
        """
        if len(self._exchange.body) >= _LARGE_BODY or self._method.input.file_fields:
            return False
        application, method = self._application, self._method
        try:
            name, value = _batch_of(method, self._arguments())
            ask = _asker(application, method, name)
            self._waiting = application.batches(method).offer(value, ask, self._batched)
        except BaseException as error:
            self._finish(self._failed(error))
            return True
        if self._waiting is None:
            return False  # More than one batch: it is decoded again, by the task that waits for its parts.
        self.begin()
        return True

    def _batched(self, outcome: Any) -> None:
        self._waiting = None
        try:
            reply = self._failed(outcome) if isinstance(outcome, Exception) else self._encode(outcome)
        except BaseException as error:
            reply = self._failed(error)
        self._finish(reply)

    def _finish(self, reply: Reply | None) -> None:
        self._application.ended()
        self._scratch.close()
        if reply is not None:
            self._answer(reply)

    async def run(self) -> None:
        """An async or batchable method, or a generator."""
        caller.current.set(self._caller)
        try:
            if self._method.is_stream:
                await self._stream()
            else:
                self._answer(await self._reply())
        except asyncio.CancelledError:
            raise
        except named_json.OwnAnswer as own:
            await self._send_own(own.response)
        except BaseException as error:
            self._answer(self._failed(error))
        finally:
            self._application.ended()
            self._scratch.close()

    async def _reply(self) -> Reply:
        method, application = self._method, self._application
        arguments = await self._decoded()
        value = await invoke(application, method, arguments)
        if isinstance(value, os.PathLike):
            return await application.in_pool(self._encode, value)  # type: ignore[no-any-return]
        return self._encode(value)

    async def _decoded(self) -> Arguments:
        # A file may be given by its address, and fetching it takes time.
        if len(self._exchange.body) < _LARGE_BODY and not self._method.input.file_fields:
            return self._arguments()
        return await self._application.in_pool(self._arguments)  # type: ignore[no-any-return]

    async def _stream(self) -> None:
        """Send items as they come; what goes wrong before the first one still gets a status of its own."""
        exchange = self._exchange
        items: Any = items_of(self._application, self._method, await self._decoded())
        first = await anext(items, _NOTHING)
        started = self._chunk(first) if first is not _NOTHING else b""
        head = self._stream_head()
        if not self._claim():
            await items.aclose()
            return
        # Only now: a stream that has begun is not cut off by the time limit.
        if self._life is not None:
            self._life.ends_at = None
        if self._caller is not None:
            self._caller.deadline = None
        head.body, head.headers = started, (*head.headers, request_id())
        exchange.on_close = self._cancel
        exchange.start(head)
        try:
            async for item in items:
                await exchange.send(self._chunk(item))
            if last := self._last_chunk():
                await exchange.send(last)
        except ConnectionResetError:
            await items.aclose()
        except asyncio.CancelledError:
            await items.aclose()
            exchange.abort()
            raise
        except Exception as error:
            log.exception("a stream broke off", extra={"endpoint": self._method.name})
            await self._break_off(error)
        else:
            exchange.finish()

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
            self._context = context.Context(state, request, scratch=self._scratch, lifetime=self._life)
            arguments.kwargs[method.context_name] = self._context
        return arguments

    def _encode(self, value: Any) -> Reply:
        return named_json.in_part(named_json.encode(self._method, value, self._response()), self._exchange.head)

    def _stream_head(self) -> Reply:
        return named_json.stream_head(self._method, self._response())

    def _chunk(self, item: Any) -> bytes:
        return self._method.output.chunk(item)

    def _last_chunk(self) -> bytes:
        """What is sent after the last item."""
        return b""

    async def _break_off(self, error: Exception) -> None:
        """A stream that has begun cannot go on."""
        self._exchange.abort()

    def _response(self) -> context.Response | None:
        return None if self._context is None else self._context.response

    def _rendered(self, error: BaseException) -> Reply:
        return named_json.error_reply(error)

    def _failed(self, error: BaseException) -> Reply:
        reply = self._rendered(error)
        if reply.status >= 500 and not isinstance(error, CallError):
            log.error("%s failed", self._method.name, exc_info=self._application.users_part(error))
        elif status_of(error) is not None:
            log.debug("%s answered %d", self._method.name, reply.status)
        return reply

    def _answer(self, reply: Reply) -> None:
        if self._claim():
            reply.headers = (*reply.headers, request_id())
            self._exchange.reply(reply)
            if self._context is not None and self._context.response.background is not None and reply.status < 400:
                self._application.spawn(self._do_behind(self._context.response.background))

    async def _do_behind(self, work: Callable[[], Any]) -> None:
        """What the author does once the answer has been sent."""
        try:
            is_async = inspect.iscoroutinefunction(work) or inspect.iscoroutinefunction(type(work).__call__)
            result = work() if is_async else await self._application.in_pool(work)
            if inspect.isawaitable(result):
                await result
        except Exception:
            log.exception("the work behind an answer of %s failed", self._method.name)

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
            self._exchange.reply(self._rendered(named_json.deadline(self._seconds)))
            self._cancel()

    def _gone(self) -> None:
        if self._claim():
            self._cancel()

    def _cancel(self) -> None:
        if self._life is not None:
            self._life.cancel()
        if self._task is not None:
            self._task.cancel()
        if self._waiting is not None:
            self._waiting.cancelled = True
            self._waiting = None
            self._finish(None)
        if self._caller is not None:
            self._caller.leave()


def request_id() -> tuple[bytes, bytes]:
    """The header that numbers an answer."""
    return (b"x-bentoml-request-id", b"%016x" % random.getrandbits(64))
