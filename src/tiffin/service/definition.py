"""``@service``: a class becomes a Service, which says what it serves and makes its instances."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from tiffin.errors import ServiceError
from tiffin.service import config as config_module
from tiffin.service import configuration, graph, openapi, upwards
from tiffin.service.context import Context
from tiffin.service.dependency import AsyncMethods, Dependency, SyncMethods
from tiffin.service.endpoint import Endpoint
from tiffin.service.hooks import Moment, hooks_of
from tiffin.service.mounts import Middleware, Mount, checked, give_self, mounts_of
from tiffin.service.settings import Settings
from tiffin.spec.description import EndpointDescription, ServiceDescription

T = TypeVar("T")

RESERVED_ROUTES = frozenset(("/healthz", "/livez", "/readyz", "/metrics"))
"""Routes no endpoint can have: a replica answers them itself."""


class Service(Generic[T]):
    """What ``@service`` makes of a class.

    Attributes:
        inner: The class itself. Calling the Service makes an instance of it.
        apis: Endpoints by method name, inherited ones included.
        dependencies: What ``depends`` declared, by attribute name.
        config: The keywords as written; ``settings`` are those that are acted on.
        warnings: Options that were read and are not acted on, by path.
    """

    def __init__(
        self,
        inner: type[T],
        *,
        name: str | None = None,
        config: dict[str, Any] | None = None,
        image: Any = None,
        description: str | None = None,
        path_prefix: str | None = None,
        envs: list[dict[str, str]] | None = None,
        labels: dict[str, str] | None = None,
        cmd: list[str] | None = None,
        is_strict: bool = True,
    ) -> None:
        self.inner = inner
        self.name = name or inner.__name__
        self.config = dict(config or {})
        self.settings, warnings = config_module.read(self.config, is_strict=is_strict)
        self.image = image
        self.description = description
        self.path_prefix = "/" + path_prefix.strip("/") if path_prefix else ""
        self.envs = list(envs or [])
        self.labels = dict(labels or {})
        self.apis: dict[str, Endpoint] = {}
        self.dependencies: dict[str, Dependency] = {}
        self.models: list[Any] = []
        self.mounts: list[Mount] = []
        self.middlewares: list[Middleware] = []
        self.cmd = list(cmd or [])
        self.served_at = ""
        self.context = Context({})
        self._shared: T | None = None
        self._lock = threading.Lock()
        self._scan()
        if image is not None:
            warnings = (*warnings, "image: is recorded for building an image; serving does not use it")
        if "concurrency" in (self.config.get("traffic") or {}) and not any(e.is_task for e in self.apis.values()):
            warnings = (*warnings, "traffic.concurrency: is how many tasks run at once, and there are none")
        self._said = tuple(warning for warning in warnings if warning.startswith("image: "))
        self.warnings = warnings
        self.__doc__ = inner.__doc__
        self.__name__ = self.name
        self.__module__ = inner.__module__

    def _scan(self) -> None:
        # dir() sees inherited attributes too; the order is that of names, as in BentoML.
        for name in dir(self.inner):
            member = getattr(self.inner, name, None)
            if isinstance(member, Endpoint):
                self.apis[name] = member
            elif isinstance(member, Dependency):
                self.dependencies[name] = member
            elif type(member).__name__ in ("BentoModel", "HuggingFaceModel"):
                self.models.append(member)
        for mount in reversed(mounts_of(self.inner)):
            self._mount(mount)

    @property
    def has_program(self) -> bool:
        """Whether a program of the author's answers, and not the class's methods."""
        return bool(self.cmd) or hasattr(self.inner, "__command__")

    def reconfigure(self, config: dict[str, Any]) -> None:
        """Take options in place of those of the decorator; unknown ones are warnings.

        Raises:
            ServiceError: a wrong value.
        """
        self.config = config
        self.settings, warnings = config_module.read(config, is_strict=False)
        self.warnings = (*warnings, *self._said)

    def mount_asgi_app(self, app: Any, path: str = "/", name: str | None = None) -> None:
        """Serve an ASGI application at a path, and everything below it that is no endpoint's."""
        self._mount(checked(app, path, name))

    def mount_wsgi_app(self, app: Any, path: str = "/", name: str | None = None) -> None:
        """Serve a WSGI application, as ``mount_asgi_app`` does; its calls run in the service's threads."""
        self._mount(checked(app, path, name, "wsgi"))

    def _mount(self, mount: Mount) -> None:
        # Where two want one path, the later one has it.
        self.mounts = [other for other in self.mounts if other.path != mount.path] + [mount]
        if mount.kind == "asgi":
            give_self(self, mount.app)

    def add_asgi_middleware(self, middleware: Callable[..., Any], **options: Any) -> None:
        """Put an ASGI middleware, ``middleware(app, **options)``, around every endpoint and mounted application.

        The first one that is added is the outermost. Health and metrics are not the service's, and go past it.
        """
        self.middlewares.append(Middleware(middleware, options))

    def to_asgi(self, is_main: bool = True, init: bool = False) -> Any:
        """The whole service as an ASGI application, for another server or a test client.

        Example::

            from starlette.testclient import TestClient

            with TestClient(Iris.to_asgi()) as client:
                client.post("/score", json={"x": [[1, 2, 3, 4]]})

        The lifespan of ASGI starts and stops it; where there is none, the first call starts it. ``init`` makes the
        instance now. Dependencies run in this process.

        Raises:
            ServiceError: a signature cannot be served.
        """
        configuration.apply(self)
        self.check()
        application = upwards.import_module("tiffin.runtime.service_asgi").ServiceAsgi(self)
        if init:
            self.shared()
        return application

    def serve_http(self, **options: Any) -> None:
        """Serve until told to stop, in a process of its own; options are those of ``tiffin.serve``."""
        from tiffin.service import serving

        serving.serve(self, blocking=True, **options)

    def __call__(self, *args: Any, **kwargs: Any) -> T:
        """A new instance, with ``to_async`` and ``to_sync`` beside its methods."""
        return self.with_methods(self.inner(*args, **kwargs))

    def with_methods(self, instance: Any) -> T:
        """The instance with ``to_async`` and ``to_sync``."""
        # A class with __slots__ has no room for them, and works without.
        with contextlib.suppress(AttributeError):
            instance.to_async = AsyncMethods(instance, self.apis)
            instance.to_sync = SyncMethods(instance, self.apis)
        return instance  # type: ignore[no-any-return]

    def shared(self) -> T:
        """The one instance other services of this process depend on."""
        with self._lock:
            if self._shared is None:
                self._shared = self()
            return self._shared

    def forget(self) -> None:
        """Let go of the shared instance: the next use makes a new one."""
        with self._lock:
            self._shared = None

    def __repr__(self) -> str:
        return f"<Service name={self.name!r}>"

    def all_services(self) -> dict[str, Service[Any]]:
        """This service and everything it depends on, by name."""
        return {service.name: service for service in self._walk(set())}

    def _walk(self, seen: set[int]) -> Iterator[Service[Any]]:
        if id(self) in seen:
            return
        seen.add(id(self))
        yield self
        for dependency in self.dependencies.values():
            if dependency.on is not None and not dependency.is_elsewhere:
                yield from dependency.on._walk(seen)

    def hooks(self, moment: Moment) -> list[str]:
        """Names of the methods for a moment: ``startup``, ``shutdown`` or ``deployment``."""
        return hooks_of(self.inner, moment)

    def route_of(self, endpoint: Endpoint) -> str:
        """The path of an endpoint, with the service's prefix."""
        return f"{self.path_prefix}{endpoint.route}" if self.path_prefix else endpoint.route

    def check(self) -> None:
        """Read every signature and resolve every route.

        Raises:
            ServiceError: a signature cannot be served, or two endpoints want one route.
        """
        routes: dict[str, str] = {}
        for name, endpoint in self.apis.items():
            route = self.route_of(endpoint)
            other = routes.setdefault(route, name)
            if other != name:
                raise ServiceError(
                    f"{self.name}.{name} and {self.name}.{other} have one route, {endpoint.route!r}",
                    hint="give one of them another with @api(route=...)",
                )
            if route in RESERVED_ROUTES:
                raise ServiceError(
                    f"{self.name}.{name} has the route {route!r}, which is every replica's own",
                    hint="give it another with @api(route=...), or a path_prefix to the service",
                )
            endpoint.input  # noqa: B018 - reads the signature, and raises
            endpoint.output  # noqa: B018

    def schema(self) -> dict[str, Any]:
        """What ``/schema.json`` says."""
        routes = [{**endpoint.schema(), "route": self.route_of(endpoint)} for endpoint in self.apis.values()]
        schema: dict[str, Any] = {"name": self.name, "type": "service", "routes": routes}
        if self.inner.__doc__ is not None:
            schema["description"] = self.inner.__doc__
        schema["paths"] = {route["route"]: {"mounted": False} for route in routes}
        schema["paths"].update({mount.path or "/": {"mounted": True} for mount in self.placed_mounts()})
        return schema

    def placed_mounts(self) -> list[Mount]:
        """The mounted applications, below the service's ``path_prefix`` as its endpoints are."""
        return [mount._replace(path=f"{self.path_prefix}{mount.path}") for mount in self.mounts]

    def describe(self, target: str) -> ServiceDescription:
        """What the platform side needs to know; reads every signature."""
        self.check()
        endpoints = tuple(
            EndpointDescription(
                name=endpoint.name,
                route=self.route_of(endpoint),
                description=endpoint.doc or "",
                batchable=endpoint.batchable,
                is_stream=endpoint.is_stream,
                is_task=endpoint.is_task,
                input=endpoint.schema()["input"],
                output=endpoint.schema()["output"],
            )
            for endpoint in self.apis.values()
        )
        settings = self.settings
        return ServiceDescription(
            name=self.name,
            target=target,
            endpoints=endpoints,
            timeout_seconds=settings.timeout_seconds,
            workers=settings.workers,
            threads=settings.threads,
            max_concurrency=settings.max_concurrency,
            cpu=settings.cpu,
            memory_bytes=settings.memory_bytes,
            gpu=settings.gpu,
            environment=self.environment(),
            labels=self.labels,
            warnings=(*self.warnings, *self._only_served(), *self._unannotated()),
            dependencies=graph.described(self, target),
        )

    def _only_served(self) -> Iterator[str]:
        """Options that are for ``tiffin serve``, and mean nothing behind a gateway."""
        settings = self.settings
        if settings.tls is not None:
            yield "ssl: is for `tiffin serve`; behind the gateway, the gateway ends TLS"
        if settings.port is not None:
            yield "http.port: is for `tiffin serve`; behind the gateway, `tiffin up --port` says it"
        if settings.host:
            yield "http.host: is for `tiffin serve`; behind the gateway, `tiffin up --host` says it"
        if settings.backlog != Settings().backlog:
            yield "backlog: is for `tiffin serve`; behind the gateway, it is the gateway's own"

    def environment(self) -> dict[str, str]:
        """The variables its process has: those of ``envs`` that are not for the build alone."""
        return {e["name"]: e.get("value", "") for e in self.envs if e.get("stage", "all") != "build"}

    def _unannotated(self) -> Iterator[str]:
        for endpoint in self.apis.values():
            for name in endpoint.unannotated:
                at = f"{self.name}.{endpoint.name}"
                yield f"{at}: {name} has no annotation, so any JSON is passed on: write {name}: int, or what it is"

    @property
    def openapi_spec(self) -> dict[str, Any]:
        """The OpenAPI document, as ``/docs.json`` gives it."""
        return openapi.document(self)

    @property
    def import_string(self) -> str:
        """``module:Class``."""
        return f"{self.inner.__module__}:{self.inner.__name__}"

    @property
    def url(self) -> str | None:
        """Where the service is served as a dependency; ``None`` when it runs in the process that uses it."""
        return self.served_at or None

    async def get_hosts(self) -> list[str]:
        """The addresses of the service's replicas; empty when it runs in the process that uses it."""
        return [url] if (url := self.url) else []
