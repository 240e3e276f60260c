"""From a deployment's revisions and its slots as they are to its slots and shares as they are to be. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from tiffin.kube import names
from tiffin.kube.capabilities import Capabilities
from tiffin.kube.placement import Placement, Role, Share, Slot
from tiffin.operator import assigning, histories, rollouts
from tiffin.operator.assigning import SETTLE_SECONDS, Step, View
from tiffin.operator.counting import is_idle, owner_of, replicas_of
from tiffin.operator.histories import History
from tiffin.operator.noting import Note
from tiffin.operator.observing import ROLES, Observed, Part, Seen, see
from tiffin.operator.revisions import Kept
from tiffin.plan.revision import Revision
from tiffin.plan.share import Spread, normal
from tiffin.spec import Component, Deployment, Scaling, Variant


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
    shares, leaving, left = _shared(deployment, observed, history, steps, seen, now)
    if left is not None:
        again.append(left)
    kept_now = {name: msgspec.structs.replace(one.kept, share=_sum(shares, name)) for name, one in steps.items()}
    history = History(history.known, history.revisions, kept_now | leaving)
    slots = _slots(deployment, observed, history, steps, seen)
    slots += _leaving_slots(deployment, observed, history, leaving, slots)
    return Placed(
        placement=msgspec.structs.replace(placement, slots=tuple(slots), shares=shares),
        history=history,
        steps=steps,
        seen=seen,
        spread=_spread(shares, history),
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
    # Knative makes revisions of its own, and gives the newest one all calls.
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
        parts = see(deployment, observed, variant.name, role, variant.components)
        idle = frozenset(
            component.name
            for component in variant.components
            if (part := parts.parts.get(component.name)) is not None
            and is_idle(owner_of(component.scaling), part, is_proven=_is_proven(kept, role, part))
        )
        found[role] = View(parts, idle)
    return found


def _is_proven(kept: Kept, role: Role, part: Part | None) -> bool:
    return part is not None and part.revision != 0 and kept.residents.get(role) == part.revision


# -- shares of all variants ------------------------------------------------------------------------------------


def _shared(
    deployment: Deployment,
    observed: Observed,
    history: History,
    steps: Mapping[str, Step],
    seen: Mapping[tuple[str, Role], Seen],
    now: float,
) -> tuple[tuple[Share, ...], dict[str, Kept], float | None]:
    """The shares, what is remembered of variants that are on their way out, and when to look again."""
    asked = {variant.name: variant for variant in deployment.all_variants}
    gone = {
        name: kept
        for name, kept in history.kept.items()
        if name not in asked and (kept.share > 0.0 or (kept.quiet and now - kept.quiet < SETTLE_SECONDS))
    }
    weights = {name: variant.weight for name, variant in asked.items() if variant.mirror_percent is None}
    serving = {name for name in weights if steps[name].kept.weights}
    is_met = all(steps[name].is_met for name, weight in weights.items() if weight > 0.0)
    alive = {name: _alive(deployment, observed, history, name, kept) for name, kept in gone.items()}
    going = {name: kept.share for name, kept in gone.items() if kept.share > 0.0 and alive[name]}
    if going and not (is_met and _have_strength(deployment, steps, seen)):
        # Who replaces them cannot serve yet: everybody keeps what they had.
        before = {name: history.kept[name].share for name in serving}
        weights = {**before, **going}
        serving |= going.keys()
    elif deployment.dialect == "kserve" and deployment.variant in serving:
        # A canary that cannot serve leaves its calls to the main predictor, not to other canaries.
        missing = sum(weight for name, weight in weights.items() if name not in serving)
        weights[deployment.variant] += missing
    left = {name: weight for name, weight in weights.items() if name in serving and weight > 0.0}
    parts = {name: one.kept.weights for name, one in steps.items()}
    shares = _weighed(left, {**parts, **{name: normal(part) for name, part in alive.items() if part}})
    shares += tuple(_mirrored(asked.values(), steps))
    leaving: dict[str, Kept] = {}
    again = None
    for name, kept in gone.items():
        if name in left:
            leaving[name] = kept
            continue
        quiet = kept.quiet or now
        again = max(0.0, SETTLE_SECONDS - (now - quiet))
        leaving[name] = msgspec.structs.replace(kept, share=0.0, quiet=quiet)
    return shares, leaving, again


def _have_strength(
    deployment: Deployment, steps: Mapping[str, Step], seen: Mapping[tuple[str, Role], Seen]
) -> bool:
    """Whether all that is asked for runs in its full number, so that nothing else is needed."""
    beside = _ready_beside(deployment, steps, seen)
    for variant in deployment.all_variants:
        parts = seen[variant.name, "stable"].parts
        for component in variant.components if variant.weight > 0.0 else ():
            part, scaling = parts.get(component.name), component.scaling
            least = max(1, scaling.min_replicas - beside) if owner_of(scaling) == "none" else 0
            if part is None or not part.is_rolled_out or part.wanted < least:
                return False
    return True


def _alive(
    deployment: Deployment, observed: Observed, history: History, variant: str, kept: Kept
) -> dict[Role, float]:
    """The weights of a variant that is on its way out, of its slots that answer."""
    found: dict[Role, float] = {}
    for role, weight in kept.weights.items():
        revision = history.revisions.get(kept.residents.get(role, 0))
        if revision is None or weight <= 0.0:
            continue
        if see(deployment, observed, variant, role, revision.components).has_ready():
            found[role] = weight
    return found


def _weighed(weights: Mapping[str, float], roles: Mapping[str, Mapping[Role, float]]) -> tuple[Share, ...]:
    """Shares of all calls from the weights of variants and those of their slots, which sum to 100 each."""
    parts = {
        (name, role): weight * share / 100.0
        for name, weight in weights.items()
        for role, share in roles[name].items()
        if share > 0.0
    }
    total = sum(parts.values())
    return tuple(
        Share(variant=name, role=role, weight=100.0 * part / total) for (name, role), part in parts.items() if part
    )


def _mirrored(variants: Iterable[Variant], steps: Mapping[str, Step]) -> Iterable[Share]:
    """Who gets copies: shadows, and a candidate that is compared."""
    for variant in variants:
        taken = steps[variant.name]
        if variant.mirror_percent is not None:
            for role, share in taken.kept.weights.items():
                yield Share(variant=variant.name, role=role, mirror_percent=variant.mirror_percent * share / 100)
        elif taken.aim.contest is not None and taken.kept.standing.mirror > 0.0:
            yield Share(variant=variant.name, role="candidate", mirror_percent=taken.kept.standing.mirror)


def _sum(shares: Sequence[Share], variant: str) -> float:
    return sum(share.weight for share in shares if share.variant == variant)


def _spread(shares: Sequence[Share], history: History) -> Spread:
    weights: dict[int, float] = {}
    mirrors: dict[int, float] = {}
    for share in shares:
        number = history.kept[share.variant].residents.get(share.role, 0)
        number = number or history.kept[share.variant].standing.current
        if share.mirror_percent is not None:
            mirrors[number] = mirrors.get(number, 0.0) + share.mirror_percent
        else:
            weights[number] = weights.get(number, 0.0) + share.weight
    return Spread(normal(weights) if weights else {}, mirrors)


# -- slots -----------------------------------------------------------------------------------------------------


def _slots(
    deployment: Deployment,
    observed: Observed,
    history: History,
    steps: Mapping[str, Step],
    seen: Mapping[tuple[str, Role], Seen],
) -> list[Slot]:
    found = []
    beside = _ready_beside(deployment, steps, seen)
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
    return found


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
    return msgspec.structs.replace(
        slot,
        replicas=replicas_of(
            component,
            owner,
            own,
            is_proven=_is_proven(kept, role, own),
            asked=observed.scales.get(names.workload(deployment, slot)),
        ),
        held=owner == "tiffin" and (own is None or own.ready == 0 or own.is_held),
        activator_port=observed.port_of(service) if owner == "tiffin" else None,
    )


def _ready_beside(deployment: Deployment, steps: Mapping[str, Step], seen: Mapping[tuple[str, Role], Seen]) -> int:
    """Replicas of KServe's canaries that are ready, by which the stable predictor has fewer."""
    if deployment.dialect != "kserve":
        return 0
    return sum(
        min(component.scaling.min_replicas, part.ready)
        for variant in deployment.variants
        if steps[variant.name].kept.weights
        for component in variant.components
        if (part := seen[variant.name, "stable"].parts.get(component.name)) is not None
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
            for component in revision.components if revision is not None else ():
                parts = see(deployment, observed, variant, role, (component,)).parts
                part = parts.get(component.name)
                slot = Slot(variant=variant, component=component, role=role)
                if part is None or names.workload(deployment, slot) in taken:
                    continue
                count = max(1, part.wanted)
                fixed = Scaling(min_replicas=count, autoscaler="none")
                found.append(
                    msgspec.structs.replace(
                        slot,
                        component=msgspec.structs.replace(component, scaling=fixed),
                        revision=revision.name if revision is not None else "",
                        replicas=count,
                    )
                )
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
        own = {
            slot.role: slot
            for slot in placed.placement.slots
            if slot.variant == variant and slot.component.name == deployment.entry
        }
        if step.aim.contest is not None and deployment.rollout is not None and len(own) == 2:
            found.append(Contest(variant=variant, stable=own["stable"], candidate=own["candidate"]))
    return tuple(found)
