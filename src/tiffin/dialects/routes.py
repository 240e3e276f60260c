"""The addresses each kind of deployment promises.

Every deployment answers below ``/{namespace}/{name}`` and on host names of its own; what its system's users type
without a host (``/v2/models/iris/infer``, ``/predict``) is there too, shared by whoever comes first.
"""

from __future__ import annotations

import hmac
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


def tensors(name: str) -> tuple[Route, ...]:
    """The V2 addresses of a service by its deployment's name, on any host."""
    return (
        Route(path=f"/v2/models/{name}", shared=True),
        *_shared(("/v2", "/v2/health/live", "/v2/health/ready")),
    )


def components(name: str, namespace: str, names: Iterable[str]) -> tuple[Route, ...]:
    """The address of each component by itself: ``/default/iris/-/predictor``.

    It is what the other components of the deployment call.
    """
    prefix = f"/{namespace}/{name}/-"
    return tuple(Route(path=f"{prefix}/{component}", rewrite="/", component=component) for component in names)


def of_revision(namespace: str, name: str, revision: str, component: str) -> str:
    """The path of a component of one revision, ``/default/iris/-/iris-00002/predictor``."""
    return f"/{namespace}/{name}/-/{revision}/{component}"


def of_dependency(namespace: str, name: str, revision: str, component: str, key: bytes) -> str:
    """The path at which a revision's services find one they depend on; nobody without the key can guess it."""
    told = f"{namespace}/{revision}/{component}".encode()
    secret = hmac.digest(key, told, "sha256").hex()[:32]
    return f"{of_revision(namespace, name, revision, component)}.{secret}"


def kserve(
    name: str, namespace: str, names: Iterable[str], domain: str = DOMAIN, *, is_internal: bool = False
) -> tuple[Route, ...]:
    """All addresses of an InferenceService with these components; ``is_internal``: none for callers outside.

    Its explainer answers ``:explain``. Names inside of a cluster (``iris.default.svc.cluster.local``) work as host
    names of requests. The hosts of KServe's two address schemes, ``iris.default`` and ``iris-default``, are both
    there.
    """
    names = tuple(names)
    internal = _inside(name, namespace)
    explain = f"/v1/models/{name}:explain"
    found: list[Route] = [Route(path=f"/{namespace}/{name}", rewrite="/"), Route(path="/", hosts=internal)]
    entries: list[Route] = [Route(path=explain, hosts=internal, exact=True)]
    if not is_internal:
        outside, other = hosts(name, namespace, domain), _dashed(name, namespace, domain)
        found += [Route(path="/", hosts=outside), Route(path="/", hosts=other, shared=True)]
        found += [route for route in open_inference(name) if route.path != explain]
        entries += [
            Route(path=explain, hosts=outside, exact=True),
            Route(path=explain, hosts=other, exact=True, shared=True),
            Route(path=explain, exact=True, shared=True),
        ]
    if "explainer" in names:
        entries.append(Route(path=f"/{namespace}/{name}{explain}", exact=True, rewrite=explain))
        found += [msgspec.structs.replace(route, component="explainer") for route in entries]
    else:
        found += [route for route in entries if not route.hosts]
    for component in names:
        label = f"{name}-{component}"
        ways = _inside(label, namespace)
        if not is_internal:
            ways += hosts(label, namespace, domain) + _dashed(label, namespace, domain)
        # Another deployment may be called iris-predictor, and then these are its own.
        found.append(Route(path="/", hosts=ways, shared=True, component=component))
    return (*found, *components(name, namespace, names))


def tag_hosts(deployment: Deployment, tag: str) -> tuple[str, ...]:
    """The host names of one tag (``prev``, ``latest``) of a deployment's revisions: its own, the tag before them.

    KServe puts tags before the name of the predictor's service too.
    """
    is_kserve = deployment.dialect == "kserve"
    ends = [
        host
        for route in deployment.routes
        if route.path == "/" and (not route.component or (is_kserve and route.component == "predictor"))
        for host in route.hosts
    ]
    return tuple(f"{tag}-{host}" for host in dict.fromkeys(ends))


def _inside(name: str, namespace: str) -> tuple[str, ...]:
    """The names of a service in a cluster."""
    short = f"{name}.{namespace}"
    return short, f"{short}.svc", f"{short}.svc.cluster.local"


def _dashed(name: str, namespace: str, domain: str) -> tuple[str, ...]:
    return f"{name}-{namespace}.{domain}", f"{name}-{namespace}.localhost"


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
