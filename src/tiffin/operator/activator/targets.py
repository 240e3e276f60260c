"""From Services and their EndpointSlices to who is behind which port of the activator. Pure."""

from __future__ import annotations

import msgspec

from tiffin.kube import names
from tiffin.kube.manifests import Manifest

SERVICE_NAME = "kubernetes.io/service-name"
Address = tuple[str, int]
"""Of a pod: an IP address and a port."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A Service whose calls can wait. Its Deployment has its name.

    Attributes:
        port: The activator's port for the first of ``ports``; those of the others follow.
        ports: The names of the Service's ports; the only one may have none.
        scale: How many replicas to ask for.
        seconds: How long a call may wait; ``None``: as long as the activator is set to.
    """

    namespace: str
    name: str
    port: int
    ports: tuple[str, ...] = ("",)
    scale: int = 1
    seconds: float | None = None

    @property
    def key(self) -> str:
        """``namespace/name``."""
        return f"{self.namespace}/{self.name}"


def target_of(service: Manifest) -> Target | None:
    """``None`` for a Service without a port of the activator, or with one that is none."""
    metadata = service["metadata"]
    said = metadata.get("annotations") or {}
    port = _whole(said.get(names.PORT))
    if port is None or not 0 < port <= 65535 - names.ACTIVATOR_PORTS or metadata.get("deletionTimestamp"):
        return None
    ports = tuple(str(one.get("name") or "") for one in (service.get("spec") or {}).get("ports") or ())
    return Target(
        namespace=metadata["namespace"],
        name=metadata["name"],
        port=port,
        ports=ports[: names.ACTIVATOR_PORTS],
        scale=max(1, _whole(said.get(names.ACTIVATION)) or 1),
        seconds=_seconds(said.get(names.HOLD_SECONDS)),
    )


class Targets:
    """What is known of all Services. Each method gives back whose target or endpoints it may have changed."""

    def __init__(self) -> None:
        self._targets: dict[str, Target] = {}
        self._slices: dict[str, dict[str, Manifest]] = {}
        self._ready: dict[str, dict[str, tuple[Address, ...]]] = {}

    def service(self, manifest: Manifest) -> str | None:
        """A Service is there, or changed."""
        key = f"{manifest['metadata']['namespace']}/{manifest['metadata']['name']}"
        target = target_of(manifest)
        if target == self._targets.get(key):
            return None
        if target is None:
            del self._targets[key]
        else:
            self._targets[key] = target
        return key

    def no_service(self, namespace: str, name: str) -> str | None:
        """A Service was deleted."""
        key = f"{namespace}/{name}"
        return key if self._targets.pop(key, None) is not None else None

    def slice(self, manifest: Manifest) -> str | None:
        """An EndpointSlice is there, or changed; those that lead to the activator itself are passed over."""
        metadata = manifest["metadata"]
        labels = metadata.get("labels") or {}
        service = labels.get(SERVICE_NAME)
        if not service or labels.get(names.SLICE_MANAGER) == "tiffin":
            return None
        key = f"{metadata['namespace']}/{service}"
        self._slices.setdefault(key, {})[metadata["name"]] = manifest
        return self._changed(key)

    def no_slice(self, manifest: Manifest) -> str | None:
        """An EndpointSlice was deleted."""
        metadata = manifest["metadata"]
        key = f"{metadata['namespace']}/{(metadata.get('labels') or {}).get(SERVICE_NAME, '')}"
        slices = self._slices.get(key)
        if slices is None or slices.pop(metadata["name"], None) is None:
            return None
        if not slices:
            del self._slices[key]
        return self._changed(key)

    def get(self, key: str) -> Target | None:
        """The target of that name, if it is one."""
        return self._targets.get(key)

    def ready(self, key: str, port: str) -> tuple[Address, ...]:
        """Where a port of a Service can be reached now, in a fixed order."""
        return self._ready.get(key, {}).get(port, ())

    @property
    def all(self) -> list[Target]:
        """Every target."""
        return list(self._targets.values())

    def _changed(self, key: str) -> str | None:
        found = ready_of(list(self._slices.get(key, {}).values()))
        if found == self._ready.get(key, {}):
            return None
        if found:
            self._ready[key] = found
        else:
            del self._ready[key]
        return key


def ready_of(slices: list[Manifest]) -> dict[str, tuple[Address, ...]]:
    """Addresses that take calls, by the name of a port. What a slice does not say is taken to be ready."""
    found: dict[str, set[Address]] = {}
    for manifest in slices:
        ports = [
            (str(one.get("name") or ""), int(one["port"]))
            for one in manifest.get("ports") or ()
            if one.get("port")
        ]
        for endpoint in manifest.get("endpoints") or ():
            if (endpoint.get("conditions") or {}).get("ready") is False:
                continue
            for name, number in ports:
                found.setdefault(name, set()).update((host, number) for host in endpoint.get("addresses") or ())
    return {name: tuple(sorted(addresses)) for name, addresses in found.items()}


def _whole(text: object) -> int | None:
    return int(text) if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 10 else None


def _seconds(text: object) -> float | None:
    try:
        found = float(text) if isinstance(text, str) else 0.0
    except ValueError:
        return None
    return found if 0 < found < float("inf") else None
