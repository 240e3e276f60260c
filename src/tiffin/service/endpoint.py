"""``@api``: one method that callers can reach, and what its signature says."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from tiffin.errors import ServiceError

if TYPE_CHECKING:
    from tiffin.codec.inputs import Input, Parameter
    from tiffin.codec.outputs import Output

Kind = Literal["plain", "async", "generator", "async-generator"]
F = TypeVar("F", bound=Callable[..., Any])

_CONTEXT_NAMES = ("ctx", "context")
_CONTEXT_TYPES = ("Context", "ServiceContext")  # the second is the real bentoml's


class Endpoint:
    """One method of a service, as ``Service.apis[name]`` holds it.

    Args:
        func: The method, as a function that takes ``self``.
        route: Its path; ``None`` is ``/`` and the method's name.
        input_spec: A pydantic model that stands in for the parameters.
        output_spec: A pydantic model that stands in for the return annotation.
        batchable: Whether calls may be joined; the method then takes and gives one batch.
        batch_dim: The dimension that grows in a batch, for input and output.
        max_batch_size: Most items in a batch, at least 2.
        max_latency_ms: Longest time a call waits for its batch, in milliseconds; it is then refused with 503.
        cost: What one item of a batch costs (tokens, pixels): a function of the item.
        max_batch_cost: Most cost in a batch; a call over it is cut, an item that alone is over it gets a 413.

    Raises:
        ServiceError: an option is out of its range.
    """

    def __init__(
        self,
        func: Callable[..., Any],
        *,
        route: str | None = None,
        input_spec: type[Any] | None = None,
        output_spec: type[Any] | None = None,
        batchable: bool = False,
        batch_dim: int | tuple[int, int] = 0,
        max_batch_size: int = 100,
        max_latency_ms: int = 60_000,
        cost: Callable[[Any], float] | None = None,
        max_batch_cost: float | None = None,
    ) -> None:
        self.func = func
        self.name: str = func.__name__
        self.route = f"/{self.name}" if route is None else route
        self.batchable = batchable
        self.batch_dim = batch_dim if isinstance(batch_dim, tuple) else (batch_dim, batch_dim)
        self.max_batch_size = max_batch_size
        self.max_latency_ms = max_latency_ms
        self.cost = cost
        self.max_batch_cost = max_batch_cost
        self.is_task = False
        self.doc = inspect.getdoc(func)
        self.kind = _kind_of(func)
        self.is_stream = self.kind in ("generator", "async-generator")
        self._input_spec = input_spec
        self._output_spec = output_spec
        self._check_options()
        self.__doc__ = func.__doc__

    def _check_options(self) -> None:
        at = self.func.__qualname__
        if self.name.startswith("__"):
            raise ServiceError("expected a name that does not start with '__' for an endpoint", at=at)
        if not self.route.startswith("/"):
            raise ServiceError(f"expected a route that starts with '/', found {self.route!r}", at=at)
        if self.max_batch_size < 2:
            raise ServiceError(f"expected max_batch_size of 2 or more, found {self.max_batch_size}", at=at)
        if self.max_latency_ms <= 0:
            raise ServiceError(f"expected max_latency_ms above 0, found {self.max_latency_ms}", at=at)
        if (self.cost is None) != (self.max_batch_cost is None):
            raise ServiceError("expected cost and max_batch_cost together, found one of them", at=at)
        if self.cost is not None and not self.batchable:
            raise ServiceError("expected batchable=True beside cost and max_batch_cost", at=at)
        if self.cost is not None and not callable(self.cost):
            raise ServiceError(f"expected cost as a function of an item, found {self.cost!r}", at=at)
        if self.max_batch_cost is not None and not 0 < self.max_batch_cost < float("inf"):
            raise ServiceError(f"expected max_batch_cost above 0, found {self.max_batch_cost}", at=at)
        if self.batchable and self.is_stream:
            raise ServiceError(
                "expected a method that returns its batch, found a generator with batchable=True", at=at
            )

    @overload
    def __get__(self, instance: None, owner: type) -> Endpoint: ...
    @overload
    def __get__(self, instance: object, owner: type) -> Callable[..., Any]: ...
    def __get__(self, instance: object | None, owner: type) -> Any:
        """The endpoint itself on the class; on an instance the method, to be called as it was written."""
        if instance is None:
            return self
        bound: Any = functools.partial(self.func, instance)
        if self._field_defaults:
            bound = _filling(bound, self._field_defaults)
        functools.update_wrapper(bound, self.func)
        bound.local = bound
        return bound

    @cached_property
    def _field_defaults(self) -> dict[str, Any]:
        """Parameters whose default is a pydantic Field: direct calls get its value."""
        return {
            name: parameter.default
            for name, parameter in inspect.signature(self.func).parameters.items()
            if type(parameter.default).__name__ == "FieldInfo"
        }

    @cached_property
    def context_name(self) -> str | None:
        """The parameter that receives the Context, ``ctx`` or ``context``, if there is one."""
        for name in _CONTEXT_NAMES:
            parameter = inspect.signature(self.func).parameters.get(name)
            if parameter is not None and self._is_context(parameter.annotation):
                return name
        return None

    def _is_context(self, annotation: Any) -> bool:
        if annotation is inspect.Parameter.empty:
            return True
        if isinstance(annotation, str):
            return annotation.rpartition(".")[2].strip("'\"") in _CONTEXT_TYPES
        return getattr(annotation, "__name__", "") in _CONTEXT_TYPES

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """The parameters callers fill; without ``self`` and the context."""
        from tiffin.codec.inputs import MISSING, Parameter

        kinds: dict[Any, str] = {
            inspect.Parameter.POSITIONAL_ONLY: "root",
            inspect.Parameter.VAR_POSITIONAL: "args",
            inspect.Parameter.VAR_KEYWORD: "kwargs",
        }
        found = []
        for name, parameter in list(inspect.signature(self.func).parameters.items())[1:]:
            if name == self.context_name:
                continue
            default = MISSING if parameter.default is inspect.Parameter.empty else parameter.default
            kind: Any = kinds.get(parameter.kind, "plain")
            name = kind if kind in ("args", "kwargs") else name
            found.append(
                Parameter(name, self._annotation(parameter.annotation, f"parameter {name!r}"), default, kind)
            )
        return tuple(found)

    @cached_property
    def unannotated(self) -> tuple[str, ...]:
        """Parameters that say nothing of what they take: the schema, forms and clients suffer from it."""
        _, *parameters = inspect.signature(self.func).parameters.values()
        return tuple(
            parameter.name
            for parameter in parameters
            if parameter.annotation is parameter.empty and parameter.name != self.context_name
        )

    def _annotation(self, annotation: Any, what: str) -> Any:
        if annotation is inspect.Parameter.empty:
            return Any
        if not isinstance(annotation, str):
            return annotation
        module = sys.modules.get(self.func.__module__)
        names = {**getattr(self.func, "__globals__", {}), **vars(module or object)}
        try:
            return eval(annotation, names)  # the author's own annotation, as typing reads it
        except Exception as error:
            raise ServiceError(
                f"cannot read the annotation {annotation!r} of {what}: {error}",
                hint="import the name at the top of the module, outside of TYPE_CHECKING",
                at=self.func.__qualname__,
            ) from error

    @cached_property
    def input(self) -> Input:
        """How a request becomes arguments; ServiceError when the signature cannot be served."""
        from tiffin.codec.inputs import Input

        parameters = self.parameters
        if self.batchable and (len(parameters) != 1 or parameters[0].kind in ("args", "kwargs")):
            raise ServiceError(
                f"expected one parameter, the batch, with batchable=True, found {len(parameters)}",
                hint="join the inputs in one array, frame or list of models",
                at=self.func.__qualname__,
            )
        try:
            if self._input_spec is None:
                return Input(parameters)
            return Input(parameters if parameters and parameters[0].kind == "root" else (), model=self._input_spec)
        except ServiceError:
            raise
        except Exception as error:  # pydantic's schema errors have no common base below Exception
            raise self._unreadable("parameters", error) from error

    @cached_property
    def output(self) -> Output:
        """How an answer becomes bytes; ServiceError when the annotation cannot be served."""
        from tiffin.codec.outputs import Output

        annotation = self._annotation(inspect.signature(self.func).return_annotation, "the return value")
        if _is_own_answer(annotation):
            annotation = Any
        try:
            return Output(annotation, is_stream=self.is_stream, model=self._output_spec)
        except Exception as error:
            raise self._unreadable("return annotation", error) from error

    def _unreadable(self, what: str, error: Exception) -> ServiceError:
        # pydantic goes on with advice for its own users.
        reason = str(error).partition("\n")[0].partition(" Set `arbitrary_types_allowed")[0].rstrip(".")
        return ServiceError(
            f"cannot serve the {what}: {reason}",
            hint="use JSON types, models, records, arrays, frames, PIL or Path; or give input_spec, output_spec",
            at=self.func.__qualname__,
        )

    @property
    def input_spec(self) -> type[Any]:
        """The pydantic model of the input."""
        return self.input.model

    def schema(self) -> dict[str, Any]:
        """What ``/schema.json`` says of the endpoint; clients build their methods from it."""
        return {
            "name": self.name,
            "route": self.route,
            "batchable": self.batchable,
            "input": flatten(self.input.json_schema()),
            "output": flatten(self.output.json_schema()),
            "is_task": self.is_task,
        }


def _kind_of(func: Callable[..., Any]) -> Kind:
    func = inspect.unwrap(func)
    if inspect.isasyncgenfunction(func):
        return "async-generator"
    if inspect.isgeneratorfunction(func):
        return "generator"
    return "async" if inspect.iscoroutinefunction(func) else "plain"


def _filling(bound: Callable[..., Any], defaults: dict[str, Any]) -> Callable[..., Any]:
    """The method, with the values of Field defaults for what a direct call leaves out."""
    from tiffin.codec.inputs import MISSING, resolve_default

    names = list(inspect.signature(bound).parameters)

    def call(*args: Any, **kwargs: Any) -> Any:
        for index, name in enumerate(names):
            if name in defaults and name not in kwargs and index >= len(args):
                value = resolve_default(defaults[name])
                if value is not MISSING:
                    kwargs[name] = value
        return bound(*args, **kwargs)

    return call


def flatten(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema of an object without ``$ref``, ``allOf`` and ``anyOf`` in it, as clients expect.

    Of alternatives the first is kept: ``int | None`` reads as ``int``.
    """
    if not schema.get("properties"):
        return schema
    definitions = schema.pop("$defs", {})
    return _flat(schema, definitions, ())


def _flat(schema: dict[str, Any], definitions: dict[str, Any], seen: tuple[str, ...]) -> dict[str, Any]:
    for word in ("allOf", "anyOf"):
        if word in schema:
            alternatives = schema[word]
            schema = {key: value for key, value in schema.items() if key != word} | alternatives[0]
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        if name in seen or name not in definitions:  # a model that contains itself stops here
            return {**rest, "type": "object"}
        return rest | _flat(definitions[name], definitions, (*seen, name))
    if schema.get("type") == "object" and "properties" in schema:
        properties = {k: _flat(v, definitions, seen) for k, v in schema["properties"].items()}
        return schema | {"properties": properties}
    if schema.get("type") == "array" and isinstance(schema.get("items"), dict):
        return schema | {"items": _flat(schema["items"], definitions, seen)}
    return schema


def _is_own_answer(annotation: Any) -> bool:
    """Whether a method says that it gives a Response of Starlette's, which says itself what it sends."""
    bases = getattr(annotation, "__mro__", ())
    return any(base.__name__ == "Response" and base.__module__ == "starlette.responses" for base in bases)


@overload
def api(func: Callable[..., Any], /) -> Endpoint: ...
@overload
def api(
    *,
    route: str | None = ...,
    name: str | None = ...,
    input_spec: type[Any] | None = ...,
    output_spec: type[Any] | None = ...,
    batchable: bool = ...,
    batch_dim: int | tuple[int, int] = ...,
    max_batch_size: int = ...,
    max_latency_ms: int = ...,
    cost: Callable[[Any], float] | None = ...,
    max_batch_cost: float | None = ...,
) -> Callable[[Callable[..., Any]], Endpoint]: ...
def api(func: Callable[..., Any] | None = None, /, *, name: str | None = None, **options: Any) -> Any:
    """Make a method an endpoint, with or without options.

    Example::

        @tiffin.api
        def predict(self, x: np.ndarray) -> np.ndarray: ...

    Callers reach it by POST at ``route``, which is ``/`` and the method's name when it is not given. ``name`` is
    accepted for BentoML's sake; the endpoint is called as its method. The other options are those of Endpoint.
    """
    if func is not None:
        return Endpoint(func)
    return lambda method: Endpoint(method, **options)
