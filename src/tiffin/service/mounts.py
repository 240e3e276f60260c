"""ASGI and WSGI applications beside a service: what the decorator notes, and what routes get ``self``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from tiffin.errors import ServiceError

if TYPE_CHECKING:
    from tiffin.service.definition import Service

C = TypeVar("C")

_MARK = "__tiffin_mounts__"


class Mount(NamedTuple):
    """An application and where it is; ``path`` has no slash at its end, and is empty for the root."""

    app: Any
    path: str
    name: str
    kind: Literal["asgi", "wsgi"] = "asgi"


class Middleware(NamedTuple):
    """An ASGI middleware: ``cls(app, **options)`` makes one around an application."""

    cls: Callable[..., Any]
    options: dict[str, Any]


def asgi_app(app: Any, *, path: str = "/", name: str | None = None) -> Callable[[C], C]:
    """Serve an ASGI application, such as FastAPI's, beside the endpoints of a service; a class decorator.

    Example::

        @tiffin.service
        @tiffin.asgi_app(app, path="/v1")
        class Iris: ...

    It may stand above or below ``@service``. Routes that FastAPI's decorators made of the class's methods get the
    service's instance as ``self``. An endpoint of the service goes before a route of the application.

    Raises:
        ServiceError: ``path`` does not begin with ``/``, or ``app`` cannot be called.
    """
    mount = checked(app, path, name)

    def decorate(target: C) -> C:
        add: Any = getattr(target, "mount_asgi_app", None)
        if add is not None and not isinstance(target, type):
            add(app, path=path, name=name)
        elif isinstance(target, type):
            setattr(target, _MARK, (*vars(target).get(_MARK, ()), mount))
        else:
            raise ServiceError(f"expected a class or a Service, found {target!r}", at="asgi_app")
        return target

    return decorate


mount_asgi_app = asgi_app
"""BentoML's name for it before 1.4."""


def checked(app: Any, path: str, name: str | None, kind: Literal["asgi", "wsgi"] = "asgi") -> Mount:
    """A Mount; raises ServiceError for what can be none."""
    if not path.startswith("/"):
        raise ServiceError(f"expected a path that starts with '/', found {path!r}", at="asgi_app(path=...)")
    if not callable(app):
        raise ServiceError(f"expected an {kind.upper()} application, found {app!r}", at=f"mount at {path}")
    return Mount(app, path.rstrip("/"), name or getattr(app, "title", None) or type(app).__name__, kind)


def mounts_of(cls: type) -> list[Mount]:
    """Those noted on a class and on what it inherits from, its own first."""
    return [mount for base in cls.__mro__ for mount in vars(base).get(_MARK, ())]


def give_self(service: Service[Any], app: Any) -> None:
    """Let routes made of the class's methods get the service's instance.

    FastAPI read the signatures when the class was not there yet, with ``self`` as one more parameter of the
    request. Such routes are made again, with ``self`` as a dependency.
    """
    routes = [route for route in getattr(app, "routes", ()) if _is_of(route, service.inner)]
    if not routes:
        return
    import fastapi

    instance = fastapi.Depends(service.shared)
    again = fastapi.APIRouter()
    for route in routes:
        app.router.routes.remove(route)
        first, *others = inspect.signature(route.endpoint).parameters.values()
        given = [first.replace(kind=inspect.Parameter.KEYWORD_ONLY, default=instance, annotation=Any)]
        keyword = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in others]
        route.endpoint.__signature__ = inspect.signature(route.endpoint).replace(parameters=[*given, *keyword])
        again.routes.append(route)
    app.include_router(again)


def _is_of(route: Any, cls: type) -> bool:
    endpoint = getattr(route, "endpoint", None)
    if endpoint is None or not hasattr(route, "dependant") or "__signature__" in getattr(endpoint, "__dict__", {}):
        return False
    return any(endpoint is member for base in cls.__mro__ for member in vars(base).values())
