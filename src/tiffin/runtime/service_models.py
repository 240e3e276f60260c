"""The methods of a service as models that answer tensors, and which names they have."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from functools import cached_property
from typing import TYPE_CHECKING, Any

import orjson

from tiffin.codec.files import Scratch
from tiffin.codec.inputs import Arguments
from tiffin.errors import CallError, DecodeError, NotImplementedHere, PredictError, TiffinError
from tiffin.protocol import named_json
from tiffin.protocol.deadlines import seconds_waited
from tiffin.protocol.head import Head
from tiffin.runtime.service_call import invoke, items_of
from tiffin.runtime.tensor_models import Description, Headers, NamedArrays, within
from tiffin.service import caller, context
from tiffin.service.endpoint import Endpoint as Method
from tiffin.service.exceptions import status_of
from tiffin.service.lifetime import Lifetime

if TYPE_CHECKING:
    from tiffin.protocol.tensor_values import TensorInput
    from tiffin.protocol.tensors import TensorCall
    from tiffin.runtime.service_application import ServiceApplication

log = logging.getLogger(__name__)

OUTPUT = "output-0"
"""What the only output of a method is called."""
PLATFORM = "tiffin_service"
MAIN = "predict"

Decode = Callable[[Scratch], Arguments]


class Refused(CallError):
    """The method chose an answer: the status and text of its exception."""

    code = "refused"

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def models_of(application: ServiceApplication) -> dict[str, ServiceModel]:
    """Every method that takes and gives no files, by its own name; the main one by the deployment's name too.

    The main one is ``predict``, or the only one. A method called as the deployment is keeps the name for itself.
    """
    found: dict[str, ServiceModel] = {}
    for name, method in application.service.apis.items():
        if getattr(method, "is_task", False):
            continue
        model = ServiceModel(application, method)
        if not model.has_files:
            found[name] = model
    main = found.get(MAIN) or (next(iter(found.values())) if len(found) == 1 else None)
    if main is not None:
        found.setdefault(application.spec.model_name, main)
    return found


class ServiceModel:
    """One method."""

    def __init__(self, application: ServiceApplication, method: Method) -> None:
        self.name = method.name
        self.streams = method.is_stream
        self.method = method
        self._application = application
        self._fields = frozenset(method.input.model.model_fields)
        self._is_root = method.input.root_kind not in ("", "model")

    @property
    def has_files(self) -> bool:
        """Whether it takes or gives files, which no tensor can hold."""
        return bool(self.method.input.file_fields) or self.method.output.json_schema().get("type") == "file"

    @cached_property
    def _input(self) -> TensorInput:
        require_numpy()
        from tiffin.protocol.tensor_values import TensorInput

        return TensorInput(self.method.input, self.method.batch_dim[0] if self.method.batchable else None)

    def describe(self) -> Description:
        """From its signature."""
        require_numpy()
        from tiffin.protocol.tensor_results import specs_of

        batch = self.method.batch_dim[1] if self.method.batchable else None
        return Description(PLATFORM, self._input.specs(), specs_of(self.method.output, batch))

    async def infer(self, call: TensorCall, headers: Headers) -> NamedArrays:
        """The one answer to a call of tensors.

        Raises:
            CallError: the tensors do not fit the signature, or the method refused; TooManyCalls, DeadlineExceeded.
            PredictError: the method raised, or gave back what no tensor can hold.
        """
        from tiffin.protocol.tensor_results import tensors_of

        return tensors_of(await self.value(lambda scratch: self._input.arguments(call, scratch), headers))

    async def stream(self, call: TensorCall, headers: Headers) -> AsyncGenerator[NamedArrays, None]:
        """An answer for each item; raises as ``infer``."""
        from tiffin.protocol.tensor_results import tensors_of

        decode: Decode = lambda scratch: self._input.arguments(call, scratch)  # noqa: E731
        async with aclosing(self.items(decode, headers)) as items:
            async for item in items:
                yield tensors_of(item)

    def from_fields(self, fields: dict[str, Any]) -> Decode:
        """How arguments are made of JSON values by name, those of ``parameters`` among them.

        Raises:
            CallError: a field that the method has no parameter for.
        """
        values = {name: value for name, value in fields.items() if name not in ("id", "parameters")}
        further = fields.get("parameters")
        if further is not None and "parameters" not in self._fields:
            if not isinstance(further, dict):
                raise Refused(400, f"parameters: expected an object, found {type(further).__name__}")
            values = {**further, **values}
        elif further is not None:
            values["parameters"] = further
        if "id" in self._fields and "id" in fields:
            values["id"] = fields["id"]
        for name in values:
            if name not in self._fields:
                raise Refused(400, f"expected fields among {', '.join(sorted(self._fields))}, found {name[:64]!r}")
        body = orjson.dumps(next(iter(values.values()), {}) if self._is_root else values)
        return lambda scratch: self.method.input.from_json(body, scratch)

    def written(self, value: Any) -> bytes:
        """One value or item as JSON; raises PredictError when it is not what the annotation says."""
        return self.method.output.encode(value).body

    async def value(self, decode: Decode, headers: Headers) -> Any:
        """What the method gives; raises as ``infer``."""
        if self.streams:
            raise Refused(400, f"Model with name {self.name} gives a stream: POST .../generate_stream")
        application = self._application
        async with self._call(headers) as call:
            arguments = call.arguments(decode)
            value = await within(call.seconds, invoke(application, self.method, arguments))
            call.check(value)
            return value

    async def items(self, decode: Decode, headers: Headers) -> AsyncGenerator[Any, None]:
        """What the method yields, or its one value; the time limit is for the first. Raises as ``infer``."""
        if not self.streams:
            yield await self.value(decode, headers)
            return
        application = self._application
        async with self._call(headers) as call:
            items: Any = items_of(application, self.method, call.arguments(decode))
            async with aclosing(items):
                first = await within(call.seconds, anext(items, _END))
                call.begun()
                if first is _END:
                    return
                yield first
                async for item in items:
                    yield item

    def _call(self, headers: Headers) -> _Call:
        return _Call(self._application, self.method, headers)


_END: Any = object()


class _Call:
    """One call's surroundings: counted, with a scratch directory, a context, and an end that code can see."""

    def __init__(self, application: ServiceApplication, method: Method, headers: Headers) -> None:
        self._application = application
        self._method = method
        self._headers = headers
        self._scratch = Scratch()
        waited = seconds_waited(headers)
        self.seconds = min(application.timeout_seconds, waited or application.timeout_seconds)
        self._lifetime = Lifetime(time.monotonic() + self.seconds)
        self._caller: caller.Caller | None = None
        self._context: context.Context | None = None

    async def __aenter__(self) -> _Call:
        self._application.admit()
        if self._application.calls_others:
            self._caller = caller.Caller(self._headers, self._lifetime.ends_at, self._scratch)
            caller.current.set(self._caller)
        return self

    async def __aexit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self._application.ended()
        if error is not None:
            self._lifetime.cancel()
            if self._caller is not None:
                self._caller.leave()
        self._scratch.close()
        if isinstance(error, Exception) and not isinstance(error, TiffinError):
            raise told(error, self._method.name) from error

    def arguments(self, decode: Decode) -> Arguments:
        """The arguments, with the context where the method wants one."""
        arguments = decode(self._scratch)
        if self._method.context_name is not None:
            head = Head("POST", f"/v2/models/{self._method.name}/infer", b"", dict(self._headers), 0, True)
            self._context = context.Context(
                self._application.service.context.state,
                context.Request(head, b""),
                scratch=self._scratch,
                lifetime=self._lifetime,
            )
            arguments.kwargs[self._method.context_name] = self._context
        return arguments

    def begun(self) -> None:
        """A stream that has begun is not cut off by the time limit."""
        self._lifetime.ends_at = None
        if self._caller is not None:
            self._caller.deadline = None

    def check(self, value: Any) -> None:
        """Raise Refused where the method chose a status that is no success."""
        status = self._context.response.status_code if self._context is not None else 200
        if status >= 300:
            text = value if isinstance(value, str) else f"{self._method.name} answered {status}"
            raise Refused(int(status), text)


def told(error: Exception, name: str) -> TiffinError:
    """What callers are told of an exception of a method, or of its input."""
    if named_json.is_validation_error(error):
        return _refusal(error)
    status = status_of(error)
    if status is not None and status < 500:
        return Refused(status, "Authorization error" if status in (401, 403) else str(error))
    if status in (501, 503, 504):
        log.error("%s failed", name, exc_info=error)
        return Refused(status, named_json.UNEXPECTED)
    failure = PredictError(f"{name} raised {type(error).__name__}: {error}")
    failure.__cause__ = error
    return failure


def _refusal(error: Any) -> DecodeError:
    """What pydantic found, for the caller: the first thing, and how many there are."""
    found = error.errors(include_context=False, include_input=False, include_url=False)
    place = ".".join(map(str, found[0]["loc"]))
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return DecodeError(f"{found[0]['msg']}{more}", at=f"inputs: {place}" if place else "inputs")


def require_numpy() -> None:
    """Raise NotImplementedHere where tensors cannot be held."""
    try:
        import numpy  # noqa: F401
    except ImportError:
        raise NotImplementedHere(
            "Tensors need numpy, which is not installed: pip install 'tiffin[numpy]'"
        ) from None


async def first_of(items: AsyncIterator[Any]) -> Any:
    """The first item, or the mark that there is none."""
    return await anext(items, _END)


def is_end(item: Any) -> bool:
    """Whether it is the mark that there is no item."""
    return item is _END
