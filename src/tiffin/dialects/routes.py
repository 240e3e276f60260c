"""The addresses each kind of deployment promises.

Every deployment answers below ``/{namespace}/{name}`` and on host names of its own; what its system's users type
without a host (``/v2/models/iris/infer``, ``/predict``) is there too, shared by whoever comes first.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from tiffin.spec import Deployment, Route

DOMAIN = "example.com"


def hosts(name: str, namespace: str, domain: str = DOMAIN) -> tuple[str, ...]:
    """``iris.default.example.com`` and ``iris.default.localhost``; a host name cannot hold an underscore."""
    label = name.replace("_", "-")
    return f"{label}.{namespace}.{domain}", f"{label}.{namespace}.localhost"


def own(name: str, namespace: str, domain: str = DOMAIN) -> tuple[Route, ...]:
    """What every deployment has, whatever file it came from."""
    return (
        Route(path=f"/{namespace}/{name}", rewrite="/"),
        Route(path="/", hosts=hosts(name, namespace, domain)),
    )


def open_inference(name: str) -> tuple[Route, ...]:
    """The V1 and V2 addresses of a model by its name, on any host."""
    exact = (
        f"/v1/models/{name}",
        f"/v1/models/{name}:predict",
        f"/v1/models/{name}:explain",
        "/v2",
        "/v2/health/live",
        "/v2/health/ready",
    )
    return (Route(path=f"/v2/models/{name}", shared=True), *_shared(exact))


def seldon(name: str, namespace: str) -> tuple[Route, ...]:
    """Seldon's ingress prefix, and its engine's own paths on any host."""
    return (
        Route(path=f"/seldon/{namespace}/{name}", rewrite="/"),
        *_shared(("/api/v1.0/predictions", "/api/v0.1/predictions")),
    )


def service(endpoints: Iterable[tuple[str, bool]]) -> tuple[Route, ...]:
    """The root addresses of a BentoML service; each endpoint is its path and whether it is a task.

    A task has paths below its own (``/submit``, ``/status``).
    """
    found = tuple(Route(path=path, exact=not is_task, shared=True) for path, is_task in endpoints)
    return (*found, *_shared(("/schema.json", "/docs.json", "/readyz", "/livez", "/healthz")))


def _shared(paths: Iterable[str]) -> tuple[Route, ...]:
    return tuple(Route(path=path, exact=True, shared=True) for path in paths)


def renamed(deployment: Deployment, name: str) -> Deployment:
    """The deployment under another name, its addresses with it."""
    old = deployment.name
    prefix = f"/{deployment.namespace}/{old}"
    labels = f"{old.replace('_', '-')}.{deployment.namespace}."
    label = f"{name.replace('_', '-')}.{deployment.namespace}."

    def move(route: Route) -> Route:
        found = tuple(label + host[len(labels) :] if host.startswith(labels) else host for host in route.hosts)
        path = route.path
        if path == prefix and not route.hosts:
            path = f"/{deployment.namespace}/{name}"
        return msgspec.structs.replace(route, path=path, hosts=found)

    moved = tuple(move(route) for route in deployment.routes)
    return msgspec.structs.replace(deployment, name=name, routes=moved, derived_name=False)
