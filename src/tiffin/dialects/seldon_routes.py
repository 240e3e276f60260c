"""The addresses of a SeldonDeployment: Seldon's ingress, its engine's own paths, and its Services' names."""

from __future__ import annotations

from collections.abc import Sequence

from tiffin.dialects import routes
from tiffin.dialects.kubernetes import Metadata
from tiffin.dialects.seldon_predictor import Predictor
from tiffin.spec import Route


def all_of(
    metadata: Metadata, protocol: str, predictors: Sequence[Predictor], domain: str = routes.DOMAIN
) -> tuple[Route, ...]:
    """Every address; those of one predictor name it where there are several."""
    name, namespace = metadata.name, metadata.namespace
    found = routes.own(name, namespace, domain) + routes.seldon(name, namespace)
    if protocol != "seldon":
        model, *others = dict.fromkeys(predictor.unit for predictor in predictors)
        found += routes.open_inference(model)
        for other in others:
            found += _by_unit(name, namespace, other, model, domain)
        found += _nameless(name, namespace, protocol, model, domain)
    for predictor in predictors:
        found += _service(predictor, namespace, domain, alone=len(predictors) == 1)
        if len(predictor.components) > 1:
            variant = "" if len(predictors) == 1 else predictor.name
            path = f"/seldon/{namespace}/{name}-explainer/{predictor.name}"
            found += (Route(path=path, rewrite="/", component="explainer", variant=variant),)
    return found


def _by_unit(name: str, namespace: str, unit: str, model: str, domain: str) -> tuple[Route, ...]:
    """Calls by the name of another predictor's node: here the replicas of all know that of the first."""
    found: tuple[Route, ...] = ()
    # ":predict" is no segment of its own, so it needs a route of its own.
    for suffix in ("v2/models/{}", "v1/models/{}", "v1/models/{}:predict"):
        old, new = "/" + suffix.format(unit), "/" + suffix.format(model)
        found += _moved(name, namespace, old, new, domain, exact=suffix.endswith("predict"))
    return found


def _nameless(name: str, namespace: str, protocol: str, model: str, domain: str) -> tuple[Route, ...]:
    """The engine's path that names no model."""
    if protocol == "tensorflow":
        return _moved(name, namespace, "/v1/models:predict", f"/v1/models/{model}:predict", domain, exact=True)
    return _moved(name, namespace, "/v2/models/infer", f"/v2/models/{model}/infer", domain, exact=True)


def _moved(name: str, namespace: str, old: str, new: str, domain: str, *, exact: bool) -> tuple[Route, ...]:
    """One path in place of another, wherever the deployment answers."""
    prefixes = (f"/seldon/{namespace}/{name}", f"/{namespace}/{name}")
    return (
        *(Route(path=prefix + old, exact=exact, rewrite=new) for prefix in prefixes),
        Route(path=old, hosts=routes.hosts(name, namespace, domain), exact=exact, rewrite=new),
        Route(path=old, exact=exact, rewrite=new, shared=True),
    )


def _service(predictor: Predictor, namespace: str, domain: str, *, alone: bool) -> tuple[Route, ...]:
    """The predictor's Kubernetes Service, under the names it has inside a cluster and one outside."""
    cluster = (f"{predictor.service}.{namespace}", f"{predictor.service}.{namespace}.svc.cluster.local")
    hosts = cluster + routes.hosts(predictor.service, namespace, domain)
    return (Route(path="/", hosts=hosts, shared=True, variant="" if alone else predictor.name),)
