"""A service that runs elsewhere, with the methods it would have here: what ``depends`` gives where it runs apart.

A plain method blocks its thread, an async one is awaited, generators stream; ``to_async`` and ``to_sync`` give the
other kind. Values travel in frames (``codec.framing``), errors keep status, message and class.
"""

from __future__ import annotations

import contextlib
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from tiffin.codec import frame_values, framing
from tiffin.codec.framing import Part
from tiffin.errors import CallError, DecodeError, ServiceError
from tiffin.service import caller as callers
from tiffin.service import remote_errors
from tiffin.service.caller import Caller
from tiffin.service.connections import Place
from tiffin.service.connections_async import Asynchronous
from tiffin.service.connections_blocking import Blocking
from tiffin.service.frame_types import result_converter
from tiffin.service.incoming import Incoming

if TYPE_CHECKING:
    from tiffin.service.definition import Service
    from tiffin.service.endpoint import Endpoint

PATH = "/tiffin/call"
"""Where a replica that is called by other services takes frames: ``/tiffin/call/METHOD``."""

PATIENCE_SECONDS = 300.0
"""How long is waited where nobody waits for the answer: in ``__init__`` and start-up hooks."""

_nothing = threading.Event()  # is never set: whoever waits for it pauses


class RemoteService:
    """Stands for an instance of a service that runs at an address."""

    def __init__(self, service: Service[Any], address: str) -> None:
        place = Place.read(address)
        self._service = service
        self._place = place
        self._blocking = Blocking(place, service.name)
        self._asynchronous = Asynchronous(place, service.name)

    def __getattr__(self, name: str) -> Any:
        endpoint = self._service.apis.get(name)
        if endpoint is None:
            if name.startswith("__"):
                raise AttributeError(name)
            raise AttributeError(
                f"{self._service.name} runs apart, so only its endpoints can be called here; {name!r} is none"
            )
        method = RemoteMethod(self, endpoint)
        call = RemoteTask(method) if endpoint.is_task else method.natural
        self.__dict__[name] = call
        return call

    async def disconnect(self) -> None:
        """Close its connections, those of this loop and of threads; the next call makes new ones."""
        self._blocking.close()
        await self._asynchronous.close()

    @cached_property
    def to_async(self) -> Any:
        """Every endpoint as a coroutine or an async generator."""
        return _Methods(self, lambda method: method.stream_async if method.is_stream else method.call_async)

    @cached_property
    def to_sync(self) -> Any:
        """Every endpoint as a plain method or generator, for code in threads."""
        return _Methods(self, lambda method: method.stream if method.is_stream else method.call)

    @property
    def name(self) -> str:
        """The service's."""
        return self._service.name

    def wait(self, deadline: float) -> bool:
        """Ask until it is ready, or it is late; whether it is. A pool without replicas gets one by that."""
        place = self._place
        head = f"GET {place.path}/readyz HTTP/1.1\r\nhost: {place.authority}\r\n\r\n".encode("latin-1")
        while time.monotonic() < deadline:
            with contextlib.suppress(CallError), self._blocking.ask([head], deadline, None) as answer:
                answer.read(deadline)
                # Whoever is asked for a token is asked by the gateway, and has none yet.
                if answer.incoming.status in (200, 401, 403):
                    return True
            _nothing.wait(0.05)
        return False

    def __repr__(self) -> str:
        where = self._place.unix or f"{self._place.host}:{self._place.port}"
        return f"<{self._service.name} at {where}>"


class _Methods:
    def __init__(self, remote: RemoteService, chosen: Callable[[RemoteMethod], Any]) -> None:
        self._remote = remote
        self._chosen = chosen

    def __getattr__(self, name: str) -> Any:
        endpoint = self._remote._service.apis.get(name)
        if endpoint is None:
            return getattr(self._remote, name)  # which raises
        call = self._chosen(RemoteMethod(self._remote, endpoint))
        self.__dict__[name] = call
        return call


class RemoteTask:
    """A task of a service elsewhere: it can be called, as any method, and not submitted."""

    def __init__(self, method: RemoteMethod) -> None:
        self._call = method.natural
        self._where = method.where

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run it now."""
        return self._call(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise ServiceError(
            f"{self._where}.{name} is not part of this version of Tiffin where the service runs apart",
            hint="call the method, which runs it at once, or have a method of the service submit it",
        )


class RemoteMethod:
    """One endpoint of a service elsewhere."""

    def __init__(self, remote: RemoteService, endpoint: Endpoint) -> None:
        self._remote = remote
        self._endpoint = endpoint
        self.where = f"{remote._service.name}.{endpoint.name}"
        self._timeout = max(remote._service.settings.timeout_seconds, PATIENCE_SECONDS)
        self._names = [p.name for p in endpoint.parameters if p.kind == "plain"]
        self._takes_more = any(p.kind != "plain" for p in endpoint.parameters)
        self._convert = result_converter(endpoint)
        place = remote._place
        self._head = (
            f"POST {place.path}{PATH}/{endpoint.name} HTTP/1.1\r\nhost: {place.authority}\r\n".encode("latin-1")
            + b"content-type: %b\r\n" % framing.MEDIA_TYPE
        )
        self.is_stream = endpoint.is_stream

    @property
    def natural(self) -> Any:
        """A function of the kind the method is."""
        match self._endpoint.kind:
            case "async":
                return self.call_async
            case "generator":
                return self.stream
            case "async-generator":
                return self.stream_async
        return self.call

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """Call it, and wait in this thread."""
        who = callers.current.get()
        deadline = self._deadline(who)
        with self._remote._blocking.ask(self._request(args, kwargs, who), deadline, who) as answer:
            answer.read(deadline)
        return self._result(answer.incoming, who)

    async def call_async(self, *args: Any, **kwargs: Any) -> Any:
        """Call it, and wait on this loop."""
        who = callers.current.get()
        deadline = self._deadline(who)
        async with self._remote._asynchronous.ask(self._request(args, kwargs, who), deadline) as answer:
            await answer.read(deadline)
        return self._result(answer.incoming, who)

    def stream(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """What it yields, as it comes; closing the generator tells it to stop."""
        who = callers.current.get()
        with self._remote._blocking.ask(self._request(args, kwargs, who), self._deadline(who), who) as answer:
            if answer.incoming.status != 200:
                answer.read(self._deadline(who))
                self._refused(answer.incoming, who)
            while True:
                record = answer.incoming.take_record()
                if record is None:
                    self._check_more(answer.incoming)
                    answer.more(time.monotonic() + self._timeout)
                elif record[0] == framing.END:
                    self._drain(answer.incoming, partial(answer.more, time.monotonic() + 1))
                    return
                else:
                    yield self._item(*record, who)

    async def stream_async(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        """What it yields, as it comes; closing the generator tells it to stop."""
        who = callers.current.get()
        request = self._request(args, kwargs, who)
        async with self._remote._asynchronous.ask(request, self._deadline(who)) as answer:
            if answer.incoming.status != 200:
                await answer.read(self._deadline(who))
                self._refused(answer.incoming, who)
            while True:
                record = answer.incoming.take_record()
                if record is None:
                    self._check_more(answer.incoming)
                    await answer.more(time.monotonic() + self._timeout)
                elif record[0] == framing.END:
                    while not answer.incoming.is_complete:
                        await answer.more(time.monotonic() + 1)
                    return
                else:
                    yield self._item(*record, who)

    # -- out -----------------------------------------------------------------------------------------------

    def _deadline(self, who: Caller | None) -> float:
        if who is not None and who.deadline is not None:
            return who.deadline
        return time.monotonic() + self._timeout

    def _request(self, args: tuple[Any, ...], kwargs: dict[str, Any], who: Caller | None) -> list[Part]:
        frame = frame_values.encode(self._bound(args, kwargs))
        head = self._head + b"content-length: %d\r\n" % framing.size_of(frame)
        if who is not None:
            head += who.traced
            if who.authorization:
                head += b"authorization: %b\r\n" % who.authorization
            if who.deadline is not None:
                head += b"%b: %g\r\n" % (callers.TIMEOUT_HEADER, max(0.1, callers.seconds_left(who.deadline)))
        head += b"\r\n"
        # One piece where it is small: one system call less, and one packet.
        return [head + frame[0], *frame[1:]] if len(frame[0]) < 65_536 else [head, *frame]

    def _bound(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        if self._endpoint.context_name is not None:
            kwargs.pop(self._endpoint.context_name, None)  # it gets one of its own
        if self._takes_more:
            return args, kwargs
        if len(args) > len(self._names):
            raise TypeError(f"{self.where}() takes {len(self._names)} arguments, found {len(args)}")
        named = dict(zip(self._names, args, strict=False))
        for name, value in kwargs.items():
            if name in named or name not in self._names:
                problem = "multiple values for" if name in named else "an unexpected"
                raise TypeError(f"{self.where}() got {problem} argument {name!r}")
            named[name] = value
        return (), named

    # -- in ------------------------------------------------------------------------------------------------

    def _result(self, incoming: Incoming, who: Caller | None) -> Any:
        if incoming.status != 200:
            self._refused(incoming, who)
        return self._convert(frame_values.decode(incoming.body, partial(save_answer, who)))

    def _item(self, kind: int, frame: bytearray, who: Caller | None) -> Any:
        value = frame_values.decode(frame, partial(save_answer, who))
        if kind == framing.FAILURE:
            raise remote_errors.raised(_failure(value))
        return self._convert(value)

    def _refused(self, incoming: Incoming, who: Caller | None) -> None:
        """Raise what an answer that is none stands for."""
        if incoming.headers.get(b"content-type") == framing.MEDIA_TYPE:
            raise remote_errors.raised(_failure(frame_values.decode(incoming.body, partial(save_answer, who))))
        raise remote_errors.of_status(incoming.status, self.where, incoming.body.decode("utf-8", "replace"))

    def _check_more(self, incoming: Incoming) -> None:
        if incoming.is_complete:
            raise remote_errors.of_status(incoming.status, self.where, "the stream ended in its middle")

    def _drain(self, incoming: Incoming, more: Callable[[], None]) -> None:
        """The end of the body, so that the connection can be used again."""
        while not incoming.is_complete:
            more()


def _failure(value: Any) -> remote_errors.Failure:
    try:
        return msgspec.convert(value, remote_errors.Failure)
    except msgspec.ValidationError as error:
        raise DecodeError(f"expected what went wrong, found something else: {error}") from None


_lasting: tempfile.TemporaryDirectory[str] | None = None


def save_answer(who: Caller | None, name: str, data: memoryview) -> Path:
    """A file that came: until the call is answered, or, outside of calls, until the process ends."""
    global _lasting
    if who is not None and who.scratch is not None:
        directory = who.scratch.directory
    else:
        if _lasting is None:
            _lasting = tempfile.TemporaryDirectory(prefix="tiffin-answers-")
        directory = _lasting.name
    return write_file(directory, name, data)


def write_file(directory: str, name: str, data: memoryview) -> Path:
    """A new file in a directory, with a name of ours that ends like the given one."""
    ending = name.replace("\\", "/").rpartition("/")[2].replace("\0", "")[-100:]
    with tempfile.NamedTemporaryFile(dir=directory, suffix=ending, delete=False) as file:
        file.write(data)
    return Path(file.name)
