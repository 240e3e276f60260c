"""Which calls of a deployment wait for a replica, and when they go on: what the activator is told of pools."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from tiffin.local.scaling import most_held
from tiffin.local.seams import Activator
from tiffin.local.surroundings import Live, Place
from tiffin.plan.revision import Revision
from tiffin.plan.state import Problem
from tiffin.spec import Component

Freed = list[tuple[str, Sequence[str]]]
"""Pools whose calls go on, and the replicas they go on to."""


class Pools:
    """The pools of one deployment; without an activator nothing waits.

    Args:
        activator: who holds the calls.
        ready: where the ready replicas of a place are reached.
        component_now: a component with the scaling it has now.
    """

    def __init__(
        self,
        activator: Activator | None,
        *,
        ready: Callable[[Place], Sequence[str]],
        component_now: Callable[[Revision, Component], Component],
    ) -> None:
        self._activator = activator
        self._ready = ready
        self._component_now = component_now

    def hold(self, lives: Iterable[Live]) -> bool:
        """Places that come to nothing are held before their replicas go; whether there are new ones."""
        is_new = False
        for live in lives if self._activator is not None else ():
            for component in live.revision.components:
                if live.wanted.get(component.name) == 0 and component.name not in live.held:
                    self._hold(live, component)
                    live.held.add(component.name)
                    is_new = True
        return is_new

    def free(self, lives: Iterable[Live]) -> Freed:
        """Take for no longer held what has replicas again; the gateway is to know that before ``release``."""
        freed: Freed = []
        for live in lives if self._activator is not None else ():
            for name in list(live.held):
                ready = self._ready((live.revision.number, name))
                if ready and live.wanted.get(name, 0) > 0:
                    live.held.discard(name)
                    freed.append((live.revision.pool(name), ready))
        return freed

    def release(self, freed: Freed, lives: Iterable[Live]) -> None:
        """Calls go on; what finds a pool empty, since its replicas died, waits for the next one."""
        if self._activator is None:
            return
        for pool, endpoints in freed:
            self._activator.release(pool, endpoints)
        for live in lives:
            for component in live.revision.components:
                if component.name in live.held:
                    continue
                if ready := self._ready((live.revision.number, component.name)):
                    self._activator.release(live.revision.pool(component.name), ready)
                else:
                    self._hold(live, component)

    def refuse(self, live: Live | None, place: Place, problem: Problem) -> None:
        """Whoever waits for a replica that cannot be there is told why, unless there is another one."""
        if self._activator is not None and live is not None and not self._ready(place):
            self._activator.refuse(live.revision.pool(place[1]), f"{problem.reason}: {problem.message}")

    def forget(self, live: Live) -> None:
        """The revision is gone."""
        if self._activator is not None:
            for component in live.revision.components:
                self._activator.forget(live.revision.pool(component.name))

    def _hold(self, live: Live, component: Component) -> None:
        assert self._activator is not None
        most = most_held(self._component_now(live.revision, component))
        self._activator.hold(live.revision.pool(component.name), most=most)
