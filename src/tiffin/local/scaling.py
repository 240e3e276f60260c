"""Numbers of replicas by load: the rules of ``autoscale``, with what they have to remember of each pool."""

from __future__ import annotations

from dataclasses import dataclass

from tiffin.autoscale.decision import Decision, State, decide
from tiffin.autoscale.holding import MOST_CALLS
from tiffin.autoscale.samples import Load, Reading, Sample, load_between
from tiffin.local.seams import Observed
from tiffin.spec import Component


@dataclass
class _Pool:
    state: State
    reading: Reading | None = None
    decision: Decision | None = None


class Autoscaler:
    """See ``seams.Decider``. ``last`` tells why a number is what it is."""

    def __init__(self) -> None:
        self._pools: dict[str, _Pool] = {}

    def decide(self, pool: str, component: Component, observed: Observed) -> int:
        known = self._pools.setdefault(pool, _Pool(State()))
        sample = Sample(
            load=_load(known, observed),
            wanted=observed.wanted,
            ready=observed.ready,
            uses=observed.uses,
            cpu=component.resources.cpu,
            memory_bytes=component.resources.memory_bytes,
            max_concurrency=component.max_concurrency,
            is_reachable=observed.is_reachable,
        )
        known.state, known.decision = decide(component.scaling, known.state, sample, observed.time)
        return known.decision.replicas

    def last(self, pool: str) -> Decision | None:
        """What was decided last, with the reason."""
        known = self._pools.get(pool)
        return None if known is None else known.decision

    def reason(self, pool: str) -> str:
        last = self.last(pool)
        return "" if last is None else last.reason

    def forget(self, pool: str) -> None:
        self._pools.pop(pool, None)


def most_held(component: Component) -> int:
    """How many calls may wait for its replicas: as many as they take at once when all of them are there."""
    most = component.scaling.max_replicas
    if not component.max_concurrency or most == 0:
        return MOST_CALLS
    return min(MOST_CALLS, component.max_concurrency * max(1, most or 1, component.scaling.min_replicas))


def _load(known: _Pool, observed: Observed) -> Load | None:
    """Since the last reading; while the gateway cannot be asked, only what is held is known."""
    if observed.counters is None:
        known.reading = None
        return load_between(None, Reading(observed.time, held=observed.held)) if observed.held else None
    before = known.reading
    known.reading = Reading.of(observed.time, observed.counters, observed.held)
    return load_between(before, known.reading)
