"""Who gets which share of a deployment's calls: its variants together, and those that are on their way out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from tiffin.kube.placement import Role, Share
from tiffin.operator.assigning import SETTLE_SECONDS, Step
from tiffin.operator.counting import owner_of
from tiffin.operator.histories import History
from tiffin.operator.observing import Observed, Seen, see
from tiffin.operator.revisions import Kept
from tiffin.plan.share import Spread, normal
from tiffin.spec import Deployment, Variant


def shared(
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
    if going and not (is_met and _have_strength(deployment, history, steps, seen)):
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
    deployment: Deployment, history: History, steps: Mapping[str, Step], seen: Mapping[tuple[str, Role], Seen]
) -> bool:
    """Whether all that is asked for runs in its full number, so that nothing else is needed."""
    beside = ready_beside(deployment, steps, seen)
    for variant in deployment.all_variants:
        parts = seen[variant.name, "stable"].parts
        revision = history.revisions.get(steps[variant.name].targets.get("stable", 0))
        own = {part.name for part in revision.components} if revision is not None else set()
        for component in variant.components if variant.weight > 0.0 else ():
            if own and component.name not in own:
                continue  # Only the version that is tried beside it has it.
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


def sum_of(shares: Sequence[Share], variant: str) -> float:
    """What a variant gets of all calls."""
    return sum(share.weight for share in shares if share.variant == variant)


def spread_of(shares: Sequence[Share], history: History) -> Spread:
    """The shares by revision."""
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


def ready_beside(deployment: Deployment, steps: Mapping[str, Step], seen: Mapping[tuple[str, Role], Seen]) -> int:
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
