"""``@service`` itself: what reads its keywords and makes a class a Service."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, TypeVar, overload

from tiffin.errors import ServiceError
from tiffin.service import config as config_module
from tiffin.service.definition import Service

T = TypeVar("T")


def _refuse(what: str, hint: str) -> NoReturn:
    raise ServiceError(f"{what} is not part of this version of Tiffin", hint=hint)


@overload
def service(inner: type[T], /) -> Service[T]: ...
@overload
def service(
    *,
    name: str | None = ...,
    image: Any = ...,
    description: str | None = ...,
    path_prefix: str | None = ...,
    envs: list[dict[str, str]] | None = ...,
    labels: dict[str, str] | None = ...,
    cmd: list[str] | None = ...,
    **config: Any,
) -> Callable[[type[T]], Service[T]]: ...
def service(inner: type[Any] | None = None, /, **options: Any) -> Any:
    """Make a class a service, with or without options.

    Example::

        @tiffin.service(resources={"cpu": "2"}, traffic={"timeout": 30})
        class Iris: ...

    Options by name: ``name`` (default: the class's), ``description``, ``path_prefix``, ``envs`` (a list of
    ``{"name", "value", "stage"}``), ``labels``, ``image``; and ``resources`` (``cpu``, ``memory``, ``gpu``),
    ``workers`` (a number or ``"cpu_count"``), ``threads`` (for methods that are not async), ``traffic``
    (``timeout`` in seconds, ``max_concurrency``), ``http``, ``ssl``, ``metrics``, ``logging`` and the rest of
    ``tiffin.service.options``. ``cmd`` is a program that answers in place of the methods.

    Raises:
        ServiceError: an unknown option, a wrong value, or a class that is a Service already.
    """
    return decorate(inner, options, is_strict=True)


def decorate(inner: type[Any] | None, options: dict[str, Any], *, is_strict: bool) -> Any:
    """What ``service`` does; ``is_strict`` false lets unknown options pass with a warning, as BentoML does."""
    if inner is None:
        return lambda cls: decorate(cls, options, is_strict=is_strict) if cls is not None else None
    if isinstance(inner, Service):
        raise ServiceError(f"expected a class, found {inner!r}: @service is applied once")
    if not isinstance(inner, type):
        raise ServiceError(f"expected a class, found {inner!r}")
    named = {key: options[key] for key in config_module.NAMED if key in options}
    config = {key: value for key, value in options.items() if key not in named}
    if named.pop("service_class", None) not in (None, Service):
        _refuse("@service(service_class=...)", "write the class's methods")
    return Service(inner, config=config, is_strict=is_strict, **named)
