"""Which revisions of a variant should run, and what share of its calls each one gets. Pure.

    newest ready?  ── no ──> what served goes on as it was
         │ yes
    canary_percent N ──> newest N, rolled out 100-N    (0 pins; newest = rolled out: the one before is back)
    rollout          ──> newest as the judge says, rolled out the rest
    neither          ──> newest 100, and it is rolled out

Revisions are numbers here. Shares are percentages of the variant's calls and sum to 100, or there are none.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from tiffin.spec import Deployment

Name = TypeVar("Name", bound=Hashable)


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered of a variant's revisions. 0 is none.

    ``current`` is what the spec says now; ``rolled_out`` last had all calls, and ``previous`` before it;
    ``latest_ready`` is the newest that was ever ready; ``proven`` are all that were. ``serving`` are the shares
    now. ``override`` is the judge's weight for ``current``, ``mirror`` the percentage of copies it gets;
    ``rejected`` was rolled back. ``judged`` is what the judge remembers.
    """

    current: int = 0
    rolled_out: int = 0
    previous: int = 0
    latest_ready: int = 0
    proven: tuple[int, ...] = ()
    serving: dict[int, float] = {}
    override: float | None = None
    mirror: float = 0.0
    rejected: int = 0
    paused: bool = False
    judged: bytes = b""


@dataclass(frozen=True)
class Aim:
    """What a variant comes to.

    Attributes:
        shares: Percentages now, by revision; only of revisions that can serve.
        wanted: Revisions that must run.
        standing: What to remember.
        tags: ``latest``, ``canary`` and ``prev``, of revisions that can serve.
        contest: The stable revision and the candidate, while a judge decides between them.
        is_reached: Whether ``shares`` are what the spec asks for.
    """

    shares: dict[int, float]
    wanted: tuple[int, ...]
    standing: Standing
    tags: dict[str, int] = field(default_factory=dict)
    contest: tuple[int, int] | None = None
    is_reached: bool = False


def aim(
    standing: Standing, servable: frozenset[int], *, canary_percent: float | None = None, has_rollout: bool = False
) -> Aim:
    """What to do with a variant whose revisions in ``servable`` can serve."""
    current = standing.current
    stable = stable_of(standing, canary_percent)
    goal = goal_of(standing, canary_percent=canary_percent, has_rollout=has_rollout)
    reached = all(number in servable for number in goal)
    shares = goal if reached else _meanwhile(standing, goal, servable)
    proven = tuple(sorted({*standing.proven, *(servable & {current})}))
    after = msgspec.structs.replace(
        standing,
        serving=shares or standing.serving,
        proven=proven,
        latest_ready=current if current in servable else standing.latest_ready,
    )
    if reached and goal == {current: 100.0} and standing.rolled_out != current:
        after = msgspec.structs.replace(
            after,
            rolled_out=current,
            previous=standing.rolled_out,
            override=None,
            mirror=0.0,
            rejected=0,
            paused=False,
            judged=b"",
        )
        stable = current
    wanted = {*goal, *shares}
    if current != standing.rejected:
        wanted.add(current)
    if not reached:
        # They may be down for a moment only, and there is nothing better yet.
        wanted |= standing.serving.keys()
    judged = has_rollout and stable not in (0, current) and current not in (standing.rejected, 0)
    return Aim(
        shares=shares,
        wanted=tuple(sorted(wanted - {0})),
        standing=after,
        tags=_tags(current, stable, servable),
        contest=(stable, current) if judged and current in servable else None,
        is_reached=reached and current != standing.rejected,
    )


def stable_of(standing: Standing, canary_percent: float | None) -> int:
    """The revision that keeps what the newest does not get."""
    rolled_back = canary_percent is not None and canary_percent < 100
    if rolled_back and standing.rolled_out == standing.current and standing.previous:
        return standing.previous
    return standing.rolled_out


def goal_of(
    standing: Standing, *, canary_percent: float | None = None, has_rollout: bool = False
) -> dict[int, float]:
    """The shares there should be once all revisions in them can serve; percentages above 0."""
    current, stable = standing.current, stable_of(standing, canary_percent)
    if stable in (0, current):
        return {current: 100.0}
    if current == standing.rejected:
        return {stable: 100.0}
    if canary_percent is not None:
        share = canary_percent
    elif has_rollout:
        share = standing.override or 0.0
    else:
        share = 100.0
    share = min(100.0, max(0.0, share))
    return {number: part for number, part in ((stable, 100.0 - share), (current, share)) if part > 0}


def _meanwhile(standing: Standing, goal: Mapping[int, float], servable: frozenset[int]) -> dict[int, float]:
    """The best there is while not all of the goal can serve: what served, else any that can, the stable first."""
    for shares in (standing.serving, goal):
        left = {number: part for number, part in shares.items() if number in servable and part > 0}
        if left:
            return normal(left)
    for number in (standing.rolled_out, standing.latest_ready, standing.previous, standing.current):
        if number in servable:
            return {number: 100.0}
    return {}


def _tags(current: int, stable: int, servable: frozenset[int]) -> dict[str, int]:
    tags = {"latest": current}
    if stable not in (0, current):
        tags |= {"canary": current, "prev": stable}
    return {tag: number for tag, number in tags.items() if number in servable}


def normal(shares: Mapping[Name, float]) -> dict[Name, float]:
    """The same proportions, summing to 100."""
    total = sum(shares.values())
    return {name: 100.0 * part / total for name, part in shares.items()}


@dataclass(frozen=True)
class Spread:
    """A deployment's calls over the revisions of all its variants.

    Attributes:
        weights: Percentages that sum to 100 (or none), by revision.
        mirrors: The percentage of copies, by revision.
    """

    weights: dict[int, float]
    mirrors: dict[int, float]


def spread(deployment: Deployment, aims: Mapping[str, Aim]) -> Spread:
    """Variants' shares times their revisions'; a variant that cannot serve leaves its calls to the others."""
    weights: dict[int, float] = {}
    mirrors: dict[int, float] = {}
    for variant in deployment.all_variants:
        found = aims.get(variant.name)
        if found is None:
            continue
        if variant.mirror_percent is not None:
            for number, share in found.shares.items():
                mirrors[number] = variant.mirror_percent * share / 100
            continue
        for number, share in found.shares.items():
            if variant.weight > 0:
                weights[number] = variant.weight * share / 100
        if found.contest is not None and found.standing.mirror > 0:
            mirrors[found.contest[1]] = found.standing.mirror
    return Spread(
        normal(weights) if weights else {}, {number: part for number, part in mirrors.items() if part > 0}
    )
