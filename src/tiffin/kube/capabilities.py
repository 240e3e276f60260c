"""What a cluster has beside Kubernetes itself."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

KINDS: dict[str, tuple[str, str]] = {
    "http_route": ("gateway.networking.k8s.io", "HTTPRoute"),
    "grpc_route": ("gateway.networking.k8s.io", "GRPCRoute"),
    "keda": ("keda.sh", "ScaledObject"),
    "knative": ("serving.knative.dev", "Service"),
    "pod_monitor": ("monitoring.coreos.com", "PodMonitor"),
    "service_monitor": ("monitoring.coreos.com", "ServiceMonitor"),
    "cert_manager": ("cert-manager.io", "Certificate"),
}
"""By field of Capabilities: the group and kind whose presence makes it true."""


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """Optional parts that are there now; they may appear and go while the operator runs.

    ``image_volumes``: whether pods may mount images (the server is 1.35 or newer, which has it switched on);
    ``sleep_hooks``: whether their hooks may say to sleep (1.30 or newer).
    """

    http_route: bool = False
    grpc_route: bool = False
    keda: bool = False
    knative: bool = False
    pod_monitor: bool = False
    service_monitor: bool = False
    cert_manager: bool = False
    image_volumes: bool = False
    sleep_hooks: bool = False


def found(kinds: Collection[tuple[str, str]], *, minor: int = 0) -> Capabilities:
    """From the groups and kinds that are served, and the minor version of the server."""
    there = {field: pair in kinds for field, pair in KINDS.items()}
    return Capabilities(**there, image_volumes=minor >= 35, sleep_hooks=minor >= 30)
