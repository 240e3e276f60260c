"""Calls of gRPC, on the listener of everything else: told by their content type, led by host or by metadata.

Their paths say nothing of the deployment, and the name of the model is in the message. So it is that of the host
name (the authority, as with KServe), that in the metadata, or else the first deployment that answers gRPC.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tiffin.gateway.choices import Branch, Destination, grpc_branches
from tiffin.gateway.resources import Resource

DEPLOYMENT_HEADER = "x-tiffin-deployment"
"""``namespace/name``, or the name alone of one in the namespace ``default``."""

ENDLESS = ("/inference.GRPCInferenceService/ModelStreamInfer", "/grpc.health.v1.Health/Watch")
"""Streams: without a time limit of their own."""

_SELDON = ("seldon", "namespace")


def of_host(to: Destination) -> list[Resource]:
    """Routes for all calls of gRPC to a host."""
    return list(_routes(to, ()))


def of_metadata(all_: Sequence[Destination]) -> list[Resource]:
    """Routes for calls to no deployment's host: by metadata, then to the first that answers gRPC."""
    found: list[Resource] = []
    first: list[Resource] = []
    seen = set()
    for to in all_:
        deployment = to.deployment
        if deployment.key in seen:
            continue
        seen.add(deployment.key)
        for condition in _named(to):
            found += _routes(to, condition)
        first = first or list(_routes(to, ()))
    return found + first


def _named(to: Destination) -> Iterator[Sequence[Resource]]:
    namespace, name = to.deployment.namespace, to.deployment.name
    yield (_exactly(DEPLOYMENT_HEADER, f"{namespace}/{name}"),)
    if namespace == "default":
        yield (_exactly(DEPLOYMENT_HEADER, name),)
    if to.deployment.dialect == "seldon":
        yield _exactly(_SELDON[0], name), _exactly(_SELDON[1], namespace)


def _routes(to: Destination, condition: Sequence[Resource]) -> Iterator[Resource]:
    for path in ENDLESS:
        for branch in grpc_branches(to, endless=True):
            yield _route({"path": path}, condition, branch)
    for branch in grpc_branches(to):
        yield _route({"prefix": "/"}, condition, branch)


def _route(path: Resource, condition: Sequence[Resource], branch: Branch) -> Resource:
    is_grpc = {"name": "content-type", "string_match": {"prefix": "application/grpc"}}
    headers = [is_grpc, *condition, *branch.match.get("headers", ())]
    return {"match": {**path, **branch.match, "headers": headers}, **branch.rest}


def _exactly(name: str, value: str) -> Resource:
    return {"name": name, "string_match": {"exact": value}}
