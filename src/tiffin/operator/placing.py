"""From a deployment's revisions and its slots as they are to its slots and shares as they are to be. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from tiffin.kube import names
from tiffin.kube.capabilities import Capabilities
from tiffin.kube.placement import Placement, Role, Slot, front
from tiffin.operator import assigning, histories, knative, rollouts
from tiffin.operator.assigning import Step, View
from tiffin.operator.counting import is_idle, owner_of, replicas_of
from tiffin.operator.histories import History
from tiffin.operator.noting import Note
from tiffin.operator.observing import ROLES, Observed, Part, Seen, see
from tiffin.operator.revisions import Kept
from tiffin.operator.sharing import ready_beside, shared, spread_of, sum_of
from tiffin.plan.revision import Revision
from tiffin.plan.share import Spread
from tiffin.spec import Component, Deployment, Scaling, Variant
from tiffin.spec.deployment import entry_of


@dataclass(frozen=True)
class Placed:
    """Attributes:
    placement: For ``render``.
    history: The revisions, and what to remember of each variant.
    steps: By variant, those that are asked for.
    seen: The slots as they are, by variant and role.
    spread: Shares of all calls, by revision.
    idle: Revisions that can serve without a pod.
    again: In how many seconds to look again; ``None``: when something changes.
    notes: What happened.
    """

    placement: Placement
    history: History
    steps: dict[str, Step] = field(default_factory=dict)
    seen: dict[tuple[str, Role], Seen] = field(default_factory=dict)
    spread: Spread = field(default_factory=lambda: Spread({}, {}))
    idle: frozenset[int] = frozenset()
    again: float | None = None
    notes: tuple[Note, ...] = ()


class Contest(msgspec.Struct, frozen=True, kw_only=True):
    """A rollout that goes on: the slots of the entry component of both revisions."""

    variant: str
    stable: Slot
    candidate: Slot


def place(
    deployment: Deployment, observed: Observed, history: History, capabilities: Capabilities, now: float
) -> Placed:
    """Where everything goes."""
    owner = (str(observed.object.get("apiVersion", "")), str(observed.object.get("kind", "")))
    placement = Placement(uid=str(observed.metadata.get("uid") or ""), owner=owner, activators=observed.activators)
    if deployment.stopped:
        return Placed(placement, history)
    history, notes = rollouts.obeyed(deployment, observed, histories.revised(deployment, observed, history), now)
    steps: dict[str, Step] = {}
    seen: dict[tuple[str, Role], Seen] = {}
    again: list[float] = []
    for variant in deployment.all_variants:
        views = _views(deployment, observed, history, variant)
        seen |= {(variant.name, role): view.seen for role, view in views.items()}
        taken = _step(deployment, variant, history.kept[variant.name], views, history.revisions, now)
        if taken.aim.contest is not None and deployment.rollout is not None:
            kept, told = rollouts.ruled(
                deployment, taken.kept, taken.aim, observed.evidence.get(variant.name), history.revisions, now
            )
            notes += told
            again.append(rollouts.LOOK_SECONDS)
            taken = _step(deployment, variant, kept, views, history.revisions, now)
        steps[variant.name] = taken
        if taken.again is not None:
            again.append(taken.again)
    shares, leaving, left = shared(deployment, observed, history, steps, seen, now)
    if left is not None:
        again.append(left)
    kept_now = {name: msgspec.structs.replace(one.kept, share=sum_of(shares, name)) for name, one in steps.items()}
    history = History(history.known, history.revisions, kept_now | leaving)
    slots = _slots(deployment, observed, history, steps, seen)
    slots += _leaving_slots(deployment, observed, history, leaving, slots)
    return Placed(
        placement=msgspec.structs.replace(placement, slots=tuple(slots), shares=shares),
        history=history,
        steps=steps,
        seen=seen,
        spread=spread_of(shares, history),
        idle=_idle_revisions(steps, seen, history, deployment),
        again=min(again, default=None),
        notes=notes,
    )


def _step(
    deployment: Deployment,
    variant: Variant,
    kept: Kept,
    views: Mapping[Role, View],
    revisions: Mapping[int, Revision],
    now: float,
) -> Step:
    # Knative makes revisions of its own in one Service, and ``knative.split`` shares the calls among them.
    is_split = variant.name == deployment.variant and not any(
        component.scaling.autoscaler == "knative" for component in deployment.components
    )
    components = {
        number: tuple(part.name for part in revision.components)
        for number, revision in revisions.items()
        if revision.variant == variant.name
    }
    return assigning.step(
        kept,
        views,
        components,
        now,
        canary_percent=deployment.canary_percent if is_split else None,
        has_rollout=is_split and deployment.rollout is not None,
    )


def _views(deployment: Deployment, observed: Observed, history: History, variant: Variant) -> dict[Role, View]:
    found: dict[Role, View] = {}
    kept = history.kept[variant.name]
    for role in ROLES:
        parts = see(deployment, observed, variant.name, role, _known_components(variant, history))
        resident = history.revisions.get(kept.residents.get(role, 0))
        needed = frozenset(part.name for part in resident.components) if resident is not None else frozenset()
        idle = frozenset(
            component.name
            for component in variant.components
            if (part := parts.parts.get(component.name)) is not None
            and is_idle(owner_of(component.scaling), part, is_proven=_is_proven(kept, role, part))
        )
        found[role] = View(parts, idle, needed)
    return found


def _known_components(variant: Variant, history: History) -> tuple[Component, ...]:
    """Those that it has now, and that it had: a version may have been without a transformer."""
    known = [part for revision in history.revisions.values() if revision.variant == variant.name
             for part in revision.components]  # fmt: skip
    return tuple({part.name: part for part in (*known, *variant.components)}.values())


def _is_proven(kept: Kept, role: Role, part: Part | None) -> bool:
    return part is not None and part.revision != 0 and kept.residents.get(role) == part.revision


# -- slots -----------------------------------------------------------------------------------------------------


def _slots(
    deployment: Deployment,
    observed: Observed,
    history: History,
    steps: Mapping[str, Step],
    seen: Mapping[tuple[str, Role], Seen],
) -> list[Slot]:
    found = []
    beside = ready_beside(deployment, steps, seen)
    for variant in deployment.all_variants:
        taken = steps[variant.name]
        for role in ROLES:
            revision = history.revisions.get(taken.targets.get(role, 0))
            if revision is None:
                continue
            for component in _components(variant, taken, revision):
                slot = _slot(deployment, observed, variant.name, role, revision, component, seen, taken.kept)
                if slot.replicas is not None and beside and _gives_way(deployment, slot):
                    slot = msgspec.structs.replace(slot, replicas=max(1, slot.replicas - beside))
                found.append(slot)
    return _fronted(deployment, found, history, steps)


def _fronted(
    deployment: Deployment, slots: Iterable[Slot], history: History, steps: Mapping[str, Step]
) -> list[Slot]:
    """Who is called first in each version, where that is not the entry of what the file says now.

    One that was there before a transformer was added goes on being called itself; where both have the same slot,
    until the transformer can be.
    """
    fronts: dict[tuple[str, Role], str] = {}
    for variant, taken in steps.items():
        for role, number in taken.targets.items():
            names_of = [
                [part.name for part in revision.components]
                for one in (taken.kept.residents.get(role, 0), number)
                if (revision := history.revisions.get(one)) is not None
            ]
            found = [entry for own in names_of if (entry := entry_of(own)) in names_of[-1]]
            usual = deployment.entry if variant == deployment.variant else found and entry_of(names_of[-1])
            if found and found[0] != usual:
                fronts[variant, role] = found[0]
    return [
        msgspec.structs.replace(slot, stands_in=True)
        if fronts.get((slot.variant, slot.role)) == slot.component.name
        else slot
        for slot in slots
    ]


def _components(variant: Variant, taken: Step, revision: Revision) -> Iterable[Component]:
    """A revision's components with the bounds there are now; the newest one's are as they were written."""
    if revision.number == taken.kept.standing.current:
        yield from variant.components
        return
    bounds = {component.name: component.scaling for component in variant.components}
    for component in revision.components:
        yield msgspec.structs.replace(component, scaling=bounds.get(component.name, Scaling()))


def _slot(
    deployment: Deployment,
    observed: Observed,
    variant: str,
    role: Role,
    revision: Revision,
    component: Component,
    seen: Mapping[tuple[str, Role], Seen],
    kept: Kept,
) -> Slot:
    slot = Slot(variant=variant, component=component, role=role, revision=revision.name)
    own = seen.get((variant, role), Seen()).parts.get(component.name)
    owner = owner_of(component.scaling)
    service = names.service(deployment, slot)
    if owner == "knative" and variant == deployment.variant:
        there = knative.services(deployment, observed).get(component.name)
        status = observed.object.get("status") or {}
        split = knative.split(deployment.canary_percent, there, component.name, status, revision.name)
        slot = msgspec.structs.replace(slot, split=split)
    # Also where the number has become somebody else's: a replica has to be there before the activator goes.
    is_held = own is not None and own.is_held and owner != "knative"
    return msgspec.structs.replace(
        slot,
        replicas=replicas_of(
            component,
            owner,
            own,
            is_proven=_is_proven(kept, role, own),
            asked=observed.scales.get(names.workload(deployment, slot)),
        ),
        held=is_held or (owner == "tiffin" and (own is None or own.ready == 0)),
        activator_port=observed.port_of(service)
        if owner == "tiffin" or is_held or _has_port(observed, service)
        else None,
    )


def _has_port(observed: Observed, service: str) -> bool:
    """Whether the activator listens for a Service, which it then goes on to do.

    Nodes and gateways hear later than we that it is no endpoint any more; who is sent there is answered.
    """
    return any(
        one["metadata"]["name"] == service and names.PORT in (one["metadata"].get("annotations") or {})
        for one in observed.services
    )


def _gives_way(deployment: Deployment, slot: Slot) -> bool:
    is_main = slot.variant == deployment.variant and slot.component.name == "predictor"
    return is_main and owner_of(slot.component.scaling) == "none"


def _leaving_slots(
    deployment: Deployment,
    observed: Observed,
    history: History,
    leaving: Mapping[str, Kept],
    slots: Sequence[Slot],
) -> list[Slot]:
    """Those of variants that are no longer asked for: as they are, until nobody is sent to them."""
    taken = {names.workload(deployment, slot) for slot in slots}
    found = []
    for variant, kept in leaving.items():
        for role, number in kept.residents.items():
            revision = history.revisions.get(number)
            own: list[Slot] = []
            for component in revision.components if revision is not None else ():
                parts = see(deployment, observed, variant, role, (component,)).parts
                part = parts.get(component.name)
                slot = Slot(variant=variant, component=component, role=role)
                if part is None or names.workload(deployment, slot) in taken:
                    continue
                count = max(1, part.wanted)
                fixed = Scaling(min_replicas=count, autoscaler="none")
                own.append(
                    msgspec.structs.replace(
                        slot,
                        component=msgspec.structs.replace(component, scaling=fixed),
                        revision=revision.name if revision is not None else "",
                        replicas=count,
                    )
                )
            entry = entry_of([part.name for part in revision.components]) if revision is not None else ""
            is_whole = any(slot.component.name == entry for slot in own)
            found += own if is_whole else [msgspec.structs.replace(slot, borrows=True) for slot in own]
    return found


def _idle_revisions(
    steps: Mapping[str, Step],
    seen: Mapping[tuple[str, Role], Seen],
    history: History,
    deployment: Deployment,
) -> frozenset[int]:
    found = set()
    for variant in deployment.all_variants:
        kept = steps[variant.name].kept
        for role, number in kept.residents.items():
            parts = seen[variant.name, role].parts
            if any(
                is_idle(owner_of(component.scaling), part, is_proven=_is_proven(kept, role, part))
                for component in variant.components
                if (part := parts.get(component.name)) is not None
            ):
                found.add(number)
    return frozenset(found)


def outgoing(placed: Placed) -> frozenset[str]:
    """Deployments that nothing renders any more, of slots that cannot serve without them yet."""
    return frozenset(
        part.name
        for (variant, role), seen in placed.seen.items()
        for part in seen.outgoing
        if variant in placed.steps
        and placed.steps[variant].targets.get(role)
        and placed.steps[variant].kept.residents.get(role) != placed.steps[variant].targets[role]
    )


def contests(deployment: Deployment, placed: Placed) -> tuple[Contest, ...]:
    """Rollouts that are to be measured."""
    found = []
    for variant, step in placed.steps.items():
        if step.aim.contest is None or deployment.rollout is None:
            continue
        stable, candidate = (front(deployment, placed.placement.version(variant, role)) for role in ROLES)
        if stable is not None and candidate is not None:
            found.append(Contest(variant=variant, stable=stable, candidate=candidate))
    return tuple(found)
