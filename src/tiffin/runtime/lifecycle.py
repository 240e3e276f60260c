"""The life of a replica, as a table.

    starting --loaded--> ready --drain--> draining --idle--> stopped
        '--failed--> stopped                '--late--> stopped

A replica is *live* in every state but stopped; it is *ready* in one.
"""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """Where a replica is in its life."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPED = "stopped"


NEXT: dict[tuple[State, str], State] = {
    (State.STARTING, "loaded"): State.READY,
    (State.STARTING, "failed"): State.STOPPED,
    (State.STARTING, "drain"): State.STOPPED,
    (State.READY, "drain"): State.DRAINING,
    (State.DRAINING, "drain"): State.STOPPED,
    (State.DRAINING, "idle"): State.STOPPED,
    (State.DRAINING, "late"): State.STOPPED,
}


def after(state: State, event: str) -> State:
    """The state after an event; an event that means nothing in a state leaves it."""
    return NEXT.get((state, event), state)
