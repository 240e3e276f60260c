"""Calls from other services: the facet that takes and gives frames, on replicas that others depend on."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from tiffin.codec import frame_values, framing
from tiffin.codec.inputs import Arguments
from tiffin.errors import UnsupportedMedia
from tiffin.protocol.reply import Reply
from tiffin.runtime.exchange import Endpoint, Exchange
from tiffin.runtime.service_call import Call
from tiffin.service import caller, context, remote, remote_errors
from tiffin.service.endpoint import Endpoint as Method
from tiffin.service.frame_types import ArgumentTypes

if TYPE_CHECKING:
    from tiffin.runtime.service_application import ServiceApplication


class ServiceFrames:
    """The facet: ``POST /tiffin/call/METHOD`` for each method, whatever its own route is."""

    def __init__(self, application: ServiceApplication) -> None:
        self._application = application

    async def start(self) -> None:
        """Nothing to begin."""

    async def stop(self) -> None:
        """Nothing to let go of."""

    def endpoints(self) -> Iterable[Endpoint]:
        """Their limits and time-outs are those of the methods."""
        for method in self._application.service.apis.values():
            kind = type("FramedCall", (FramedCall,), {"types": ArgumentTypes(method), "__slots__": ()})
            yield Endpoint("POST", f"{remote.PATH}/{method.name}", self._application.handler(method, kind))


class FramedCall(Call):
    """A call whose request, answer and errors are frames. ``types`` are its method's."""

    __slots__ = ()
    types: ArgumentTypes

    def __init__(self, application: ServiceApplication, method: Method, exchange: Exchange) -> None:
        super().__init__(application, method, exchange)
        waits = caller.timeout_of(exchange.head.headers)
        if waits is not None:
            self._seconds = min(self._seconds, waits)

    def _arguments(self) -> Arguments:
        head, body = self._exchange.head, self._exchange.body
        if head.headers.get(b"content-type") != framing.MEDIA_TYPE:
            raise UnsupportedMedia(f"expected {framing.MEDIA_TYPE.decode()}: only other services call here")
        # Methods may write into what they are given, as they could in one process; a request's body is bytes.
        tree = frame_values.decode(bytearray(body), partial(self._save))
        arguments = self.types.arguments(tree)
        method = self._method
        if method.context_name is not None:
            request = context.Request(head, body)
            self._context = context.Context(
                self._application.service.context.state, request, scratch=self._scratch, lifetime=self._life
            )
            arguments.kwargs[method.context_name] = self._context
        return arguments

    def _save(self, name: str, data: memoryview) -> Any:
        return remote.write_file(self._scratch.directory, name, data)

    def _encode(self, value: Any) -> Reply:
        return Reply(200, b"".join(frame_values.encode(value)), framing.MEDIA_TYPE)

    def _stream_head(self) -> Reply:
        return Reply(200, b"", framing.STREAM_MEDIA_TYPE)

    def _chunk(self, item: Any) -> bytes:
        return b"".join(framing.record(framing.ITEM, frame_values.encode(item)))

    def _last_chunk(self) -> bytes:
        return b"".join(framing.record(framing.END))

    async def _break_off(self, error: Exception) -> None:
        failure = remote_errors.told(error, self._where)
        try:
            await self._exchange.send(b"".join(framing.record(framing.FAILURE, frame_values.encode(failure))))
        except ConnectionResetError:
            return
        self._exchange.finish()

    def _rendered(self, error: BaseException) -> Reply:
        failure = remote_errors.told(error, self._where)
        return Reply(failure.status, b"".join(frame_values.encode(failure)), framing.MEDIA_TYPE)

    @property
    def _where(self) -> str:
        return f"{self._application.service.name}.{self._method.name}"
