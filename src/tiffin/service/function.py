"""A plain function as a service: its annotations say what travels, its name is the route."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from tiffin.errors import ServiceError
from tiffin.service.definition import Service
from tiffin.service.endpoint import Endpoint


def service_of(function: Callable[..., Any]) -> Service[Any]:
    """The service with this one endpoint, at ``/<name>``; its methods' rules are a method's.

    Raises:
        ServiceError: the signature cannot be served, or the function has no name.
    """
    name = function.__name__
    if not name.isidentifier():
        raise ServiceError(f"expected a function with a name, found {name}")

    method = _with_self(function)
    endpoint = Endpoint(method)
    title = "".join(word.capitalize() for word in name.split("_")) or name
    members = {name: endpoint, "__doc__": inspect.getdoc(function), "__module__": function.__module__}
    return Service(type(title, (), members), name=name)


def _with_self(function: Callable[..., Any]) -> Callable[..., Any]:
    """A method that calls the function, of the same kind: async, a generator, both or neither."""
    if inspect.isasyncgenfunction(function):
        method = _async_generator(function)
    elif inspect.iscoroutinefunction(function):
        method = _async(function)
    elif inspect.isgeneratorfunction(function):
        method = _generator(function)
    else:
        method = _plain(function)
    functools.update_wrapper(method, function)
    del method.__wrapped__  # type: ignore[attr-defined]  # its signature has no self
    own = inspect.signature(function)
    others = list(own.parameters.values())
    is_whole = bool(others) and others[0].kind is inspect.Parameter.POSITIONAL_ONLY
    kind = inspect.Parameter.POSITIONAL_ONLY if is_whole else inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter("_self", kind), *others]
    method.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    return method


def _plain(function: Callable[..., Any]) -> Callable[..., Any]:
    def method(_self: Any, /, *args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return method


def _async(function: Callable[..., Any]) -> Callable[..., Any]:
    async def method(_self: Any, /, *args: Any, **kwargs: Any) -> Any:
        return await function(*args, **kwargs)

    return method


def _generator(function: Callable[..., Any]) -> Callable[..., Any]:
    def method(_self: Any, /, *args: Any, **kwargs: Any) -> Any:
        yield from function(*args, **kwargs)

    return method


def _async_generator(function: Callable[..., Any]) -> Callable[..., Any]:
    async def method(_self: Any, /, *args: Any, **kwargs: Any) -> Any:
        async for item in function(*args, **kwargs):
            yield item

    return method
