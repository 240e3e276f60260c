"""Which revision is in which slot of a variant, and which share of its calls each slot gets. Pure.

The shares to come to are ``plan.share``'s, as on one machine; here is how two slots get there. ``R`` is rolled
out, ``N`` is what the spec says now:

    stable R 100 ──plain update──> stable R→N 100 ──rolled out──> stable N 100
         │                              (Kubernetes replaces the pods of the slot; both are behind its Service)
         └──canary or rollout──> stable R 100, candidate N 0 ──ready──> stable R 90, candidate N 10
                 ┌──────────────────────────────────────────────────────────┤
             rejected                                                   promoted
                 │                                                          │
         stable R 100, candidate N 0                     stable R→N 90, candidate N 10    (the split stays)
                 │ SETTLE_SECONDS                                           │ rolled out
         stable R 100                                    stable N 100, candidate N 0
                                                                            │ SETTLE_SECONDS
                                                                        stable N 100

    canary 0 after N was rolled out:  stable N 100 ──> stable N 100, candidate R 0 ──ready──> candidate R 100
    another update while a canary is on:  stable R 90, candidate N→M 10

A slot that is given another revision keeps its share as long as it has somebody to call. A slot never gets a share
for a revision before that one is rolled out in it; what it had before is kept until all of a goal's slots can
serve. A candidate whose share went to 0 stays a moment longer, until every gateway has heard of it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import msgspec

from tiffin.kube.placement import Role
from tiffin.operator.observing import ROLES, Seen
from tiffin.operator.revisions import Kept
from tiffin.plan.share import Aim, Standing, aim, goal_of, normal, stable_of

SETTLE_SECONDS = 5.0
"""How long a slot stays after its last share, for gateways that have not heard of it."""


@dataclass(frozen=True)
class Step:
    """Where a variant goes from here.

    Attributes:
        targets: The revision that each slot is to have; a slot that is not named is to go.
        kept: What to remember; its ``weights`` are the shares of the slots, which sum to 100 or are none.
        aim: The same by revision, for what is said of it.
        is_met: Whether the shares are those to come to.
        again: In how many seconds to look again, whatever happens; ``None``: not at all.
    """

    targets: dict[Role, int]
    kept: Kept
    aim: Aim
    is_met: bool
    again: float | None = None


@dataclass(frozen=True)
class View:
    """One slot: as it is, those of its components that are served without a pod, and those that calls need now.

    ``needed`` are the components of the revision that serves in it; without any, all that there are.
    """

    seen: Seen
    idle: frozenset[str] = frozenset()
    needed: frozenset[str] = frozenset()

    @property
    def is_alive(self) -> bool:
        """Whether a call to it is answered, by whatever revision."""
        return self.seen.has_ready(self.idle, self.needed)


def step(
    kept: Kept,
    views: Mapping[Role, View],
    components: Mapping[int, Collection[str]],
    now: float,
    *,
    canary_percent: float | None = None,
    has_rollout: bool = False,
) -> Step:
    """One step towards what the spec says.

    Args:
        kept: What is remembered; ``kept.standing.current`` is what the spec says now.
        views: Both slots.
        components: Of each revision that is known, the names of its components.
        now: Seconds since 1970.
        canary_percent: KServe's; ``None``: the spec has none.
        has_rollout: Whether a judge says what the newest revision gets.
    """
    standing = known_only(kept.standing, components)
    goal = goal_of(standing, canary_percent=canary_percent, has_rollout=has_rollout)
    targets = _assigned(standing, goal, canary_percent)
    able = {role: _is_able(kept, views, components, role, number) for role, number in targets.items()}
    found = aim(
        standing,
        frozenset(number for role, number in targets.items() if able[role]),
        canary_percent=canary_percent,
        has_rollout=has_rollout,
    )
    wanted = {role: goal[number] for role, number in targets.items() if goal.get(number, 0.0) > 0.0}
    is_met = all(able[role] for role in wanted)
    weights = wanted if is_met else _meanwhile(kept, views, wanted)
    residents = {
        role: targets[role] if able.get(role) else kept.residents.get(role, 0)
        for role in ROLES
        if role in targets or views[role].seen.is_there
    }
    targets, quiet, again = _with_lingering(kept, views, components, targets, weights, now)
    shares = _by_revision(weights, residents, targets)
    after = msgspec.structs.replace(
        kept,
        standing=msgspec.structs.replace(found.standing, serving=shares),
        weights=weights,
        residents={role: number for role, number in residents.items() if number and role in targets},
        quiet=quiet,
    )
    found = Aim(shares, found.wanted, after.standing, found.tags, found.contest, found.is_reached)
    return Step(targets, after, found, is_met, again)


def _assigned(standing: Standing, goal: Mapping[int, float], canary_percent: float | None) -> dict[Role, int]:
    current, stable = standing.current, stable_of(standing, canary_percent)
    if stable in (0, current) or goal == {current: 100.0}:
        return {"stable": current}
    if current == standing.rejected:
        return {"stable": stable}
    if standing.rolled_out == current:
        # It was rolled out, so its pods are in the stable slot: the one before comes back beside them.
        return {"stable": current, "candidate": stable}
    return {"stable": stable, "candidate": current}


def _is_able(
    kept: Kept,
    views: Mapping[Role, View],
    components: Mapping[int, Collection[str]],
    role: Role,
    number: int,
) -> bool:
    """Whether a slot can answer with a revision: once rolled out in it, as long as there is somebody to call."""
    view = views[role]
    if number not in components or not view.seen.is_given(number, components[number]):
        return False
    if kept.residents.get(role) == number:
        return view.is_alive
    return view.seen.is_settled(components[number], view.idle)


def _meanwhile(kept: Kept, views: Mapping[Role, View], wanted: Mapping[Role, float]) -> dict[Role, float]:
    """The shares there were, of slots that answer; else all to one that does."""
    alive = [role for role in ROLES if views[role].is_alive]
    left = {role: share for role, share in kept.weights.items() if role in alive and share > 0.0}
    if left:
        total = sum(left.values())
        return {role: 100.0 * share / total for role, share in left.items()}
    for role in (*wanted, *ROLES):
        if role in alive:
            return {role: 100.0}
    return {}


def _with_lingering(
    kept: Kept,
    views: Mapping[Role, View],
    components: Mapping[int, Collection[str]],
    targets: dict[Role, int],
    weights: Mapping[Role, float],
    now: float,
) -> tuple[dict[Role, int], float, float | None]:
    """Keep a candidate that nobody asks for any more while it has a share, and a moment longer."""
    number = views["candidate"].seen.revision or kept.residents.get("candidate", 0)
    if "candidate" in targets or not views["candidate"].seen.is_there or number not in components:
        return targets, 0.0, None
    if weights.get("candidate", 0.0) > 0.0:
        return {**targets, "candidate": number}, 0.0, None
    quiet = kept.quiet or now
    left = SETTLE_SECONDS - max(0.0, now - quiet)
    if left <= 0.0:
        return targets, quiet, None
    return {**targets, "candidate": number}, quiet, left


def _by_revision(
    weights: Mapping[Role, float], residents: Mapping[Role, int], targets: Mapping[Role, int]
) -> dict[int, float]:
    shares: dict[int, float] = {}
    for role, share in weights.items():
        number = residents.get(role) or targets.get(role, 0)
        if number:
            shares[number] = shares.get(number, 0.0) + share
    return normal(shares) if shares else {}


def known_only(standing: Standing, known: Collection[int]) -> Standing:
    """Without revisions that are no longer known."""
    return msgspec.structs.replace(
        standing,
        rolled_out=standing.rolled_out if standing.rolled_out in known else 0,
        previous=standing.previous if standing.previous in known else 0,
        latest_ready=standing.latest_ready if standing.latest_ready in known else 0,
        rejected=standing.rejected if standing.rejected in known else 0,
        proven=tuple(number for number in standing.proven if number in known),
        serving={number: part for number, part in standing.serving.items() if number in known},
    )
