"""What is known of one deployment, and what is said of it. Looks only; ``deploying`` changes things."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence

import msgspec

from tiffin.errors import SpecError
from tiffin.gateway.router import Routed
from tiffin.local.replica import Replica
from tiffin.local.store import Stored
from tiffin.local.surroundings import Live, Place, Surroundings
from tiffin.plan.conditions import View, conditions, revision_statuses
from tiffin.plan.revision import Revision
from tiffin.plan.share import Aim, Spread, Standing
from tiffin.plan.state import Condition, DeploymentStatus, Problem, ReplicaStatus
from tiffin.spec import Component, Deployment, Scaling


class Observing:
    """One deployment as it is desired and as it is; ``status`` is what it is like now."""

    def __init__(self, key: str, around: Surroundings) -> None:
        self.key = key
        self.stored: Stored | None = None
        self.revisions: dict[int, Revision] = {}
        self.standings: dict[str, Standing] = {}
        self.live: dict[int, Live] = {}
        self.replicas: dict[str, Replica] = {}
        self.aims: dict[str, Aim] = {}
        self.spread = Spread({}, {})
        self.told = Spread({}, {})
        """What the gateway was told last."""
        self.part: Routed | None = None
        self.conditions: tuple[Condition, ...] = ()
        self.warnings: tuple[str, ...] = ()
        self.pending: dict[Place, Problem] = {}
        self.version = 0
        self.observed = 0
        """The generation of the spec that the last step was about."""
        self.error: Exception | None = None
        self._around = around
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._problem: Problem | None = None
        self._refused: Problem | None = None
        """Why the gateway did not take it last."""
        self._fault: Problem | None = None
        """What failed outside of its own task."""
        self._is_stopping = False
        self._uses: dict[str, tuple[float | None, int | None]] = {}

    def load(self) -> None:
        """Read what was written down of it."""
        store = self._around.store
        self.revisions = {revision.number: revision for revision in store.revisions(self.key)}
        self.standings = store.standings(self.key)

    def pids(self) -> set[int]:
        """The processes of its replicas."""
        return {one.running.identity.pid for one in self.replicas.values() if one.running is not None}

    @property
    def deployment(self) -> Deployment | None:
        """What is desired; ``None`` when it is to go."""
        return None if self.stored is None else self.stored.deployment

    @property
    def has_settled(self) -> bool:
        """Whether nothing is on its way: it serves as asked, or was tried and failed."""
        if self.stored is None:
            return not self.replicas
        if self.observed != self.stored.generation:
            return False
        if self._problem is not None or (self.deployment is not None and self.deployment.stopped):
            return True
        if self._around.routing.refusal(self.key) is not None:
            return True
        if not self.aims or self.told != self.spread:
            return False
        for found in self.aims.values():
            current = found.standing.current
            live = self.live.get(current)
            # One that was rolled back is waited for no more.
            is_over = found.is_reached or (current == found.standing.rejected and bool(found.shares))
            if is_over and not any(replica.phase in ("Pending", "Starting") for replica in self.replicas.values()):
                continue
            if live is None or not self._has_failed(live):
                return False
        return True

    def _has_failed(self, live: Live) -> bool:
        if live.problem is not None:
            return True
        own = [one for one in self.replicas.values() if one.revision.number == live.revision.number]
        trying = any(one.phase in ("Pending", "Starting") for one in own)
        stuck = any(one.has_failed for one in own) or any(
            place[0] == live.revision.number for place in self.pending
        )
        return stuck and not trying

    @property
    def is_served(self) -> bool:
        """Whether callers can be answered."""
        return bool(self.told.weights)

    def failure(self) -> Exception | None:
        """The error that keeps the newest spec from serving."""
        if self.stored is not None and self.stored.problem.message:
            return self.error
        refusal = self._around.routing.refusal(self.key)
        if refusal is not None:
            return SpecError(refusal.problem.message, hint=refusal.problem.hint)
        for found in self.aims.values():
            live = self.live.get(found.standing.current)
            if found.is_reached or live is None:
                continue
            if live.failure is not None:
                return live.failure
            for replica in self.replicas.values():
                if replica.revision.number == live.revision.number and replica.failure is not None:
                    return replica.failure
        return None

    def _can_serve(self, number: int) -> bool:
        live = self.live[number]
        standing = self.standings.get(live.revision.variant, Standing())
        is_proven = number in standing.proven
        for component in live.revision.components:
            own = self._own((number, component.name))
            ready = sum(replica.is_ready for replica in own)
            if is_proven:
                if not ready and component.name not in live.held:
                    return False
                continue
            if ready < max(1, live.wanted.get(component.name, 1)):
                return False
            if any(replica.is_warm is False for replica in own) and self._others_are_warm(number):
                return False
        return True

    def _others_are_warm(self, number: int) -> bool:
        """An example that nobody can answer says nothing against a new revision."""
        others = [one for one in self.replicas.values() if one.revision.number != number and one.is_ready]
        return any(one.is_warm for one in others)

    def _own(self, place: Place) -> list[Replica]:
        return [one for one in self.replicas.values() if one.place == place and one.phase != "Draining"]

    def _any(self, number: int) -> bool:
        return any(one.revision.number == number for one in self.replicas.values())

    def component_now(self, revision: Revision, component: Component) -> Component:
        """A component of a revision, with the bounds there are now."""
        return msgspec.structs.replace(component, scaling=self._scaling(revision, component))

    def _scaling(self, revision: Revision, component: Component) -> Scaling:
        """The bounds there are now; a revision has none of its own."""
        deployment = self.deployment
        if deployment is None:
            return Scaling()
        for variant in deployment.all_variants:
            if variant.name == revision.variant:
                for part in variant.components:
                    if part.name == component.name:
                        return part.scaling
        return Scaling()

    def view(self) -> View:
        """What is observed of it."""
        deployment = self.deployment
        wanted = {
            number: dict(live.wanted)
            for number, live in self.live.items()
            if any(live.wanted.values()) or any(number in found.wanted for found in self.aims.values())
        }
        problems = {number: live.problem for number, live in self.live.items() if live.problem is not None}
        for (number, _), problem in self.pending.items():
            if not any(one.is_ready for one in self.replicas.values() if one.revision.number == number):
                problems.setdefault(number, problem)
        refusal = self._around.routing.refusal(self.key)
        return View(
            aims=self.aims,
            spread=self.told,
            is_told=self.told == self.spread,
            is_observed=self.stored is not None and self.observed == self.stored.generation,
            revisions=self.revisions,
            replicas=tuple(self.replica_statuses()),
            wanted=wanted,
            problems=problems,
            preparing=frozenset(n for n, live in self.live.items() if live.prepared is None and not self._any(n)),
            idle=frozenset(n for n, live in self.live.items() if live.held and self._can_serve(n)),
            is_stopped=deployment is not None and deployment.stopped,
            problem=self._problem or self._fault,
            gateway=self._around.routing.problem if refusal is None else refusal.problem,
        )

    def replica_statuses(self) -> list[ReplicaStatus]:
        """Each replica, with what it used when it was looked at last."""
        return [one.status(*self._uses.get(one.id, (None, None))) for one in self.replicas.values()]

    def note_uses(self, uses: Mapping[str, tuple[float | None, int | None]]) -> None:
        """Cores and bytes each replica uses."""
        self._uses = dict(uses)

    def status(self, urls: Sequence[str] = (), url: str = "", curl: str = "") -> DeploymentStatus:
        """What it is like now; conditions keep the time they became true."""
        view = self.view()
        self.conditions = conditions(view, self.conditions, time.time())
        names = self.revisions

        def named(number: int) -> str:
            return names[number].name if number in names else ""

        return DeploymentStatus(
            observed_generation=self.observed,
            conditions=self.conditions,
            url=url,
            urls=tuple(urls),
            curl=curl,
            revisions=revision_statuses(view),
            replicas=view.replicas,
            rolled_out={name: named(one.rolled_out) for name, one in self.standings.items() if one.rolled_out},
            latest={name: named(one.current) for name, one in self.standings.items() if one.current},
            latest_ready={
                name: named(one.latest_ready) for name, one in self.standings.items() if one.latest_ready
            },
            warnings=self.warnings,
        )
