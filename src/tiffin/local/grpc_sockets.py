"""Where a replica that listens on a Unix socket answers gRPC: beside it, one socket for each worker."""

from __future__ import annotations

import os

import msgspec

from tiffin.kits import extras
from tiffin.spec import Component, ContainerSource, Deployment, SpecWarning


def grpc_sockets(component: Component, endpoint: str) -> tuple[str, ...]:
    """The sockets; none for a component that does not answer gRPC, or is not a process of this machine's."""
    if not component.grpc or not endpoint.startswith("/"):
        return ()
    first = f"{endpoint}g"
    return (first, *(f"{first}.{index}" for index in range(1, _workers(component))))


def _workers(component: Component) -> int:
    if component.workers != "cpu":
        return component.workers
    # As the replica counts them, which may use what its controller may.
    return max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def possible(deployment: Deployment) -> Deployment:
    """The deployment with gRPC where it can be served on this machine, and a warning where it cannot."""
    warned: list[SpecWarning] = []

    def fitted(part: Component) -> Component:
        why = ""
        if isinstance(part.source, ContainerSource):
            why = "programs of others are asked over HTTP"
        elif not extras.has_grpc():
            why = "grpcio is not installed (pip install 'tiffin[grpc]')"
        if not part.grpc or not why:
            return part
        warned.append(SpecWarning(f"{part.name}.grpc", f"has no effect: {why}"))
        return msgspec.structs.replace(part, grpc=False)

    variants = tuple(
        msgspec.structs.replace(variant, components=tuple(map(fitted, variant.components)))
        for variant in deployment.variants
    )
    components = tuple(map(fitted, deployment.components))
    if not warned:
        return deployment
    warnings = deployment.warnings + tuple(dict.fromkeys(warned))
    return msgspec.structs.replace(deployment, components=components, variants=variants, warnings=warnings)
