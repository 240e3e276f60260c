"""What the operator's cache holds of one deployment, and what that says of each of its slots. Pure.

A slot is some Deployments, one for each component of the revision that was given to it last (annotation
``tiffin.dev/revision``). It is *settled* with that revision once all of them are rolled out.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from tiffin.kube import names
from tiffin.kube.manifests import Manifest
from tiffin.kube.placement import Role, Slot
from tiffin.operator.revisions import Kept
from tiffin.rollout.machine import Evidence
from tiffin.spec import Component, Deployment

ROLES: tuple[Role, ...] = ("stable", "candidate")


def no_port(service: str) -> int | None:
    """There is no activator."""
    return None


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one deployment at one moment; manifests as the API server gave them.

    ``object`` is what somebody wrote; the others carry its ``names.labels`` (``events``: those about its pods).
    ``scalers`` are HPAs and ScaledObjects, ``routes`` HTTPRoutes, GRPCRoutes and Ingresses. ``activators`` are the
    addresses of the activator's pods that are ready; ``port_of`` gives the activator's port for a Service of the
    object's namespace, by its name (``None``: there is no activator).
    ``scales`` is how many replicas the autoscaler wants now, by the name of a Deployment, where that is newer than
    what the cache says. ``evidence`` is what was measured of a rollout, by variant. ``remembered`` is what the
    decision before this one said, as far as it need not be written down each time.
    """

    object: Manifest
    deployments: tuple[Manifest, ...] = ()
    pods: tuple[Manifest, ...] = ()
    services: tuple[Manifest, ...] = ()
    routes: tuple[Manifest, ...] = ()
    revisions: tuple[Manifest, ...] = ()
    scalers: tuple[Manifest, ...] = ()
    knative: tuple[Manifest, ...] = ()
    events: tuple[Manifest, ...] = ()
    activators: tuple[str, ...] = ()
    port_of: Callable[[str], int | None] = no_port
    scales: Mapping[str, int] = {}
    evidence: Mapping[str, Evidence] = {}
    remembered: Mapping[str, Kept] = {}

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The object's own."""
        return self.object.get("metadata") or {}

    @property
    def generation(self) -> int:
        """Of the object's spec."""
        return int(self.metadata.get("generation") or 0)


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """The pods of one component in one slot. Counts as in a Deployment's status.

    ``revision`` is the number of the one it was given last (0: none that has a name). ``wanted`` is ``replicas``
    of its spec. ``is_current``: whether its status speaks of its newest spec. ``is_held``: the
    autoscaler wants its calls at the activator, so that the last pod may go.
    """

    name: str
    component: str
    revision: int = 0
    wanted: int = 0
    total: int = 0
    updated: int = 0
    ready: int = 0
    available: int = 0
    is_current: bool = False
    is_held: bool = False
    conditions: tuple[Mapping[str, Any], ...] = ()

    @property
    def is_rolled_out(self) -> bool:
        """Whether every pod is of the newest template, and as many as are wanted can serve."""
        return (
            self.is_current
            and self.updated >= self.wanted
            and self.total <= self.updated
            and self.available >= min(self.wanted, self.updated)
        )


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A slot as it is: its parts, by component, and those that others take the place of."""

    parts: dict[str, Part] = {}
    outgoing: tuple[Part, ...] = ()

    @property
    def revision(self) -> int:
        """The revision all of its parts were given, 0 while they differ or there are none."""
        found = {part.revision for part in self.parts.values()}
        return found.pop() if len(found) == 1 else 0

    @property
    def is_there(self) -> bool:
        """Whether anything of it exists."""
        return bool(self.parts or self.outgoing)

    def has_ready(self, idle: Iterable[str] = (), needed: Iterable[str] = ()) -> bool:
        """Whether each of the components ``needed``, as far as they are there, has somebody to call.

        All parts are needed where none is named; those in ``idle`` are served without a pod.
        """
        served = frozenset(idle) | {part.component for part in self.outgoing if part.ready > 0}
        served |= {part.component for part in self.parts.values() if part.ready > 0}
        there = {part.component for part in (*self.parts.values(), *self.outgoing)}
        return self.is_there and (there & frozenset(needed) or there) <= served

    def is_given(self, number: int, components: Iterable[str]) -> bool:
        """Whether all parts of a revision with these components were given it."""
        found = [self.parts.get(name) for name in components]
        return bool(found) and all(part is not None and part.revision == number for part in found)

    def is_settled(self, components: Iterable[str], idle: Iterable[str] = ()) -> bool:
        """Whether all parts of a revision with these components are rolled out and can be called."""
        wanted = frozenset(components)
        return (
            wanted <= self.parts.keys()
            and all(self.parts[name].is_rolled_out for name in wanted)
            and self.has_ready(idle, wanted)
        )


def number_of(revision: str, deployment: str) -> int:
    """``iris-00003`` of ``iris`` is 3; anything else is 0."""
    prefix, _, digits = revision.rpartition("-")
    return int(digits) if prefix == deployment and digits.isascii() and digits.isdigit() else 0


def see(
    deployment: Deployment, observed: Observed, variant: str, role: Role, components: Iterable[Component]
) -> Seen:
    """A slot as it is, found by the labels of its Deployments, and by their names before they have any.

    Names of Seldon's Deployments change with their containers: the one before is ``outgoing`` then.
    """
    parts: dict[str, Part] = {}
    outgoing: list[Part] = []
    for component in components:
        slot = Slot(variant=variant, component=component, role=role)
        service = names.service(deployment, slot)
        for manifest in observed.knative:
            if component.scaling.autoscaler == "knative" and manifest["metadata"]["name"] == service:
                parts[component.name] = knative_part(manifest, component.name, deployment.name)
        name, own = names.workload(deployment, slot), names.slot_labels(deployment, slot).items()
        for manifest in observed.deployments:
            is_named = manifest["metadata"]["name"] == name
            if not is_named and not own <= (manifest["metadata"].get("labels") or {}).items():
                continue
            part = part_of(manifest, component.name, deployment.name)
            if is_named:
                parts[component.name] = part
            else:
                outgoing.append(part)
    return Seen(parts=parts, outgoing=tuple(outgoing))


def part_of(manifest: Manifest, component: str, deployment: str) -> Part:
    """What a Deployment of the cluster says."""
    metadata, spec, status = manifest["metadata"], manifest.get("spec") or {}, manifest.get("status") or {}
    said = (metadata.get("annotations") or {}).get(names.REVISION, "")
    wanted = spec.get("replicas")
    return Part(
        name=metadata["name"],
        component=component,
        revision=number_of(said, deployment),
        wanted=1 if wanted is None else int(wanted),
        total=int(status.get("replicas") or 0),
        updated=int(status.get("updatedReplicas") or 0),
        ready=int(status.get("readyReplicas") or 0),
        available=int(status.get("availableReplicas") or 0),
        is_held=(metadata.get("annotations") or {}).get(names.HELD) == "true",
        is_current=int(status.get("observedGeneration") or 0) >= int(metadata.get("generation") or 0),
        conditions=tuple(status.get("conditions") or ()),
    )


def knative_part(manifest: Manifest, component: str, deployment: str) -> Part:
    """What a Service of Knative says; it keeps the number of its pods to itself, and serves with none."""
    metadata, status = manifest["metadata"], manifest.get("status") or {}
    conditions = tuple(status.get("conditions") or ())
    is_ready = any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)
    has_served = 1 if status.get("latestReadyRevisionName") else 0
    updated = 1 if is_ready else 0
    return Part(
        name=metadata["name"],
        component=component,
        revision=number_of((metadata.get("annotations") or {}).get(names.REVISION, ""), deployment),
        wanted=1,
        total=max(updated, has_served),
        updated=updated,
        ready=max(updated, has_served),
        available=updated,
        is_current=int(status.get("observedGeneration") or 0) >= int(metadata.get("generation") or 0),
        conditions=conditions,
    )


def seconds(moment: object) -> float:
    """A time of Kubernetes in seconds since 1970; 0.0 for what is none."""
    if not isinstance(moment, str) or not moment:
        return 0.0
    try:
        return datetime.datetime.fromisoformat(moment.replace("Z", "+00:00")).timestamp()
    except ValueError:
        return 0.0


def moment(seconds: float) -> str:
    """A time as Kubernetes writes it."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
