"""From the replicas there should be and those there are to what must be done. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from tiffin.plan.state import ReplicaPhase

Place = tuple[int, str]
"""A revision's number and a component's name."""


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A replica there is. ``order`` grows with its age's youth: later ones are greater."""

    id: str
    place: Place
    phase: ReplicaPhase
    order: int = 0


class Start(msgspec.Struct, frozen=True, tag=True):
    """Start one more replica."""

    place: Place


class Stop(msgspec.Struct, frozen=True, tag=True):
    """Drain a replica and end it."""

    id: str


Change = Start | Stop

_LEAST_USE_FIRST: tuple[ReplicaPhase, ...] = ("Pending", "Failed", "CrashLoopBackOff", "Starting", "Ready")


def reconcile(wanted: Mapping[Place, int], seen: Sequence[Seen]) -> list[Change]:
    """The fewest changes that make the numbers right; starts come first.

    Replicas that are draining already count for nothing. Of too many, those go first that serve nobody, and of
    equals the youngest.
    """
    staying: dict[Place, list[Seen]] = {}
    for replica in seen:
        if replica.phase != "Draining":
            staying.setdefault(replica.place, []).append(replica)
    starts: list[Change] = []
    stops: list[Change] = []
    for place, count in wanted.items():
        starts += [Start(place)] * (count - len(staying.get(place, ())))
    for place, replicas in staying.items():
        ranked = sorted(replicas, key=lambda one: (_LEAST_USE_FIRST.index(one.phase), -one.order))
        stops += [Stop(one.id) for one in ranked[: max(0, len(replicas) - wanted.get(place, 0))]]
    return starts + stops
