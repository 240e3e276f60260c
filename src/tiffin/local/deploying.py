"""One deployment while it lives: its revisions, its replicas, and the task that makes true what is desired.

    a change (applied, a replica's phase, a number decided) ──> wake ──> step:
        revisions   of each variant, one for each digest, written down
        aims        who gets which share (``plan.share``), written down
        publish     the gateway learns of it
        changes     replicas are started, or drained once nobody is sent to them (``plan.changes``)

Every step begins from what is desired and observed then; one that fails is done again, so no order of events
leads to another end.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from tiffin.local.defects import fault, is_unexpected
from tiffin.local.faults import FAILURES
from tiffin.local.observing import Observing
from tiffin.local.pools import Pools
from tiffin.local.refusals import Refusal
from tiffin.local.replica import Replica
from tiffin.local.routing import routed
from tiffin.local.store import ReplicaRecord
from tiffin.local.surroundings import Live, Place, Surroundings
from tiffin.plan import changes
from tiffin.plan.revision import Revision, digest, unscaled
from tiffin.plan.share import Aim, Spread, Standing, aim, spread
from tiffin.plan.state import Event, Problem
from tiffin.spec import ClassSource, Component, ContainerSource, Deployment, Variant

REVISIONS_KEPT = 10
RETRY_SECONDS = 1.0
LONGEST_RETRY_SECONDS = 60.0
HOLD_SECONDS = 0.05
"""Between the gateway's knowing that calls wait and the taking away of the replicas they would have gone to."""


class Deploying(Observing):
    """One deployment. ``wake`` when anything changed; ``status`` is what it is like now."""

    def __init__(self, key: str, around: Surroundings) -> None:
        super().__init__(key, around)
        self._pools = Pools(around.activator, ready=self._ready_at, component_now=self.component_now)

    # -- from outside --------------------------------------------------------------------------------------

    async def adopt(self, record: ReplicaRecord) -> bool:
        """Take over a replica of an earlier controller; ``False`` when it is not there or nobody needs it."""
        revision = self.revisions.get(record.revision)
        component = _component(revision, record.component)
        if revision is None or component is None:
            return False
        artefact = Path()
        # A class's image may have become a container.
        if isinstance(component.source, ContainerSource | ClassSource) and component.source.image:
            try:
                prepared = await self._around.prepare(revision)
            except FAILURES:
                if isinstance(component.source, ContainerSource):
                    return False
            else:
                component, artefact = (
                    _named(prepared.components, component.name) or component,
                    prepared.paths[component.name],
                )
        # The artefact of others is known again when they must be started anew.
        setting = self._around.setting(revision, component, artefact, 0.0)
        replica = Replica(record, revision, component, setting, self)
        if not await replica.adopt():
            return False
        self.replicas[replica.id] = replica
        self.live.setdefault(revision.number, Live(revision))
        return True

    def begin(self) -> None:
        """Make true what is desired, from now on."""
        for replica in self.replicas.values():
            replica.begin()
        self._task = asyncio.create_task(self._run())
        self.wake()

    def begin_or_wake(self) -> None:
        """Make true what is desired now."""
        if self._task is None:
            self.begin()
        self.wake()

    def wake(self) -> None:
        """Look again at what is desired and what is there."""
        self._woken.set()

    def settle(self) -> None:
        """Compute shares and the gateway's part from what was adopted, before anything runs."""
        deployment = self.deployment
        if deployment is None or deployment.stopped:
            return
        for standing in self.standings.values():
            for number in {standing.rolled_out, *standing.serving} & self.revisions.keys():
                self.live.setdefault(number, Live(self.revisions[number]))
        self._aim(deployment)
        self._count()
        self._hold()
        self._aim(deployment)
        self._make_part(deployment)
        self.told = self.spread

    async def stop(self) -> None:
        """Drain everything; nothing is desired of it any more, as far as this controller goes."""
        self._is_stopping = True
        await self._cancel()
        await asyncio.gather(*(replica.drain(self._published) for replica in list(self.replicas.values())))

    async def let_go(self) -> None:
        """Look no longer after it, and leave it running."""
        await self._cancel()
        for replica in self.replicas.values():
            await replica.let_go()

    def kill(self) -> None:
        """End all processes at once."""
        for replica in self.replicas.values():
            replica.kill()

    def set_wanted(self, place: Place, count: int, reason: str = "") -> None:
        """A number of replicas was decided."""
        live = self.live.get(place[0])
        before = None if live is None else live.wanted.get(place[1])
        if live is not None and before != count:
            live.wanted[place[1]] = count
            if before is not None and reason:
                self.tell("Scaled", f"{live.revision.name} {place[1]} from {before} to {count}: {reason}")
            self.wake()

    def call_waits(self, pool: str) -> None:
        """A call is held for a pool without replicas."""
        for live in self.live.values():
            for component in live.revision.components:
                if live.revision.pool(component.name) == pool:
                    scaling = self._scaling(live.revision, component)
                    least = max(1, scaling.windows.activation_scale, live.wanted.get(component.name, 0))
                    self.set_wanted((live.revision.number, component.name), least, "a call waits")
                    for called in {component.calls, *component.dependencies.values()} & live.held:
                        self.call_waits(live.revision.pool(called))

    def change_standing(self, variant: str, **values: object) -> None:
        """Write down that people or a judge want another share."""
        before = self.standings.get(variant, Standing())
        self._keep_standing(variant, msgspec.structs.replace(before, **values))
        self.wake()

    # -- a replica's keeper --------------------------------------------------------------------------------

    def note(self, record: ReplicaRecord) -> None:
        """Write down what is known of a replica."""
        self._around.store.put_replica(record)

    def gone(self, replica: Replica) -> None:
        """A replica has ended for good."""
        self.replicas.pop(replica.id, None)
        try:
            self._around.store.remove_replica(replica.id)
        except FAILURES as error:
            self.say(str(error))
        self.wake()
        self._around.changed(self)

    def changed(self, replica: Replica) -> None:
        """A replica's phase is another one."""
        if replica.is_ready:
            seconds = sum(replica.record.start_seconds.values())
            self.tell("ReplicaReady", f"{replica.name} is ready after {seconds:.2f} s")
        elif replica.has_failed and replica.problem is not None:
            self.tell(replica.problem.reason, f"{replica.name}: {replica.problem.message}", is_bad=True)
            if replica.failure is not None:
                self._pools.refuse(self.live.get(replica.place[0]), replica.place, replica.problem)
        elif replica.phase == "Draining":
            self.tell("ReplicaDraining", f"{replica.name} finishes its calls and ends")
        self.wake()
        self._around.changed(self)

    def fault(self, error: Exception, what: str) -> Problem:
        """The problem that an error is; one that nobody expected is an event as well."""
        problem = fault(error, what)
        if is_unexpected(error):
            self.tell(problem.reason, problem.message, is_bad=True)
        return problem

    def note_fault(self, problem: Problem | None) -> None:
        """What keeps people's and the machine's wishes from being looked after (``None``: nothing)."""
        if problem != self._fault:
            self._fault = problem
            self._around.changed(self)

    def say(self, text: str) -> None:
        """Tell people."""
        self._around.say(text)

    def tell(self, reason: str, message: str, *, is_bad: bool = False) -> None:
        """Add an event; on a full disk it is lost."""
        type = "Warning" if is_bad else "Normal"
        event = Event(deployment=self.key, type=type, reason=reason, message=message, time=time.time())  # type: ignore[arg-type]
        try:
            self._around.store.add_event(event)
        except FAILURES:
            return

    # -- the task ------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        pause = RETRY_SECONDS
        while True:
            await self._woken.wait()
            self._woken.clear()
            try:
                await self._step()
                pause = RETRY_SECONDS
            except Exception as error:
                # The store or the gateway cannot be written, or worse: what is there goes on as it is.
                self._problem = self.fault(error, self.key)
                self.say(f"{self.key}: {self._problem.message}; trying again in {pause:g} s")
                self._around.changed(self)
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_RETRY_SECONDS)
                self.wake()

    async def _step(self) -> None:
        deployment = self.deployment
        if deployment is None:
            await self._leave()
            return
        stored = self.stored
        assert stored is not None
        self.observed = stored.generation
        broken = stored.problem
        self._problem = (
            Problem(reason="ImportFailed", message=broken.message, hint=broken.hint) if broken.message else None
        )
        if deployment.stopped:
            self.aims, self.spread, self.told, self.part = {}, Spread({}, {}), Spread({}, {}), None
            if await self._around.routing.publish_or_retry():
                self._drain(list(self.replicas.values()))
            self._around.changed(self)
            return
        if not broken.message:
            self._revise(deployment)
        self._aim(deployment)
        self._prepare_wanted()
        self._count()
        is_held_now = self._hold()
        if is_held_now:
            self._aim(deployment)
        self._make_part(deployment)
        told = await self._around.routing.publish_or_retry()
        refusal = self._around.routing.refusal(self.key)
        if told and refusal is not None:
            self._go_on_refused(refusal)
        elif told:
            self._refused = None
            before, self.told = self.told, self.spread
            if before != self.told:
                self._tell_spread()
            if is_held_now:
                await asyncio.sleep(HOLD_SECONDS)
            await self._release(deployment)
            self._change()
            self._retire()
        self._around.changed(self)

    def _go_on_refused(self, refusal: Refusal) -> None:
        """The gateway does not take it: what served goes on, so that nothing of that may be drained."""
        if refusal.problem != self._refused:
            self._refused = refusal.problem
            self.tell(refusal.problem.reason, refusal.problem.message, is_bad=True)
        if not refusal.goes_on:
            self.told = Spread({}, {})
        self._change(may_drain=False)

    async def _leave(self) -> None:
        """It was deleted: no longer routed, then drained, then forgotten."""
        self.aims, self.spread, self.told, self.part = {}, Spread({}, {}), Spread({}, {}), None
        for live in self.live.values():
            if live.task is not None:
                live.task.cancel()
        if not await self._around.routing.publish_or_retry():
            return
        self._drain(list(self.replicas.values()))
        if not self.replicas:
            for live in self.live.values():
                self._forget_pools(live)
            self._around.store.forget(self.key)
            self._around.forget(self)

    def _revise(self, deployment: Deployment) -> None:
        """A revision for each variant's digest, written down before anything is started."""
        store = self._around.store
        for variant in deployment.all_variants:
            before = self.standings.get(variant.name, Standing())
            wanted = digest(variant, deployment.protocol)
            now = self.revisions.get(before.current)
            if now is not None and now.is_of(variant, deployment.protocol):
                continue
            number = None if self._splits(variant) else self._known(variant, before)
            if number is None:
                number = max([0, *self.revisions, store.next_revision(self.key) - 1]) + 1
                revision = Revision(
                    namespace=deployment.namespace,
                    deployment=deployment.name,
                    number=number,
                    variant=variant.name,
                    protocol=deployment.protocol,
                    components=tuple(unscaled(part) for part in variant.components),
                    digest=wanted,
                    created=time.time(),
                )
                store.add_revision(revision)
                self.revisions[number] = revision
                self.tell("RevisionCreated", f"{revision.name} of {variant.name}")
            changed = {"override": None, "mirror": 0.0, "rejected": 0, "paused": False, "judged": b""}
            self._keep_standing(variant.name, msgspec.structs.replace(before, current=number, **changed))
        for name in self.standings.keys() - {variant.name for variant in deployment.all_variants}:
            store.remove_standing(self.key, name)
            del self.standings[name]
            self.aims.pop(name, None)

    def _splits(self, variant: Variant) -> bool:
        """Whether the newest revision shares its calls with the one before: then going back is a revision too."""
        deployment = self.deployment
        is_main = deployment is not None and variant.name == deployment.variant
        return is_main and deployment is not None and deployment.canary_percent is not None

    def _known(self, variant: Variant, standing: Standing) -> int | None:
        """A revision that serves and is the same: going back to it needs no new one."""
        for number in (standing.rolled_out, *standing.serving):
            revision = self.revisions.get(number)
            if revision is not None and self.deployment and revision.is_of(variant, self.deployment.protocol):
                return number
        return None

    def _aim(self, deployment: Deployment) -> None:
        servable = frozenset(number for number in self.live if self._can_serve(number))
        aims: dict[str, Aim] = {}
        for variant in deployment.all_variants:
            standing = self.standings.get(variant.name)
            if standing is None:
                continue
            is_main = variant.name == deployment.variant
            own = frozenset(n for n in servable if self.revisions[n].variant == variant.name)
            found = aim(
                _known_only(standing, self.revisions),
                own,
                canary_percent=deployment.canary_percent if is_main else None,
                has_rollout=is_main and deployment.rollout is not None,
            )
            self._keep_standing(variant.name, found.standing)
            aims[variant.name] = found
        self.aims = aims
        self.spread = spread(deployment, aims)

    def _prepare_wanted(self) -> None:
        for number in {number for found in self.aims.values() for number in found.wanted}:
            revision = self.revisions.get(number)
            if revision is None:
                continue
            live = self.live.setdefault(number, Live(revision))
            if live.prepared is None and (live.task is None or live.task.done()):
                live.task = asyncio.create_task(self._prepare(live))

    async def _prepare(self, live: Live) -> None:
        """Fetch its artefacts; again and again, since an address may be there later."""
        pause = RETRY_SECONDS
        while True:
            began = time.monotonic()
            try:
                live.prepared = await self._around.prepare(live.revision)
            except Exception as error:
                problem = fault(error, f"preparing {live.revision.name}")
                if live.problem is None:
                    self.tell(problem.reason, f"{live.revision.name}: {problem.message}", is_bad=True)
                live.problem, live.failure = problem, error
                self.wake()
                self._around.changed(self)
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_RETRY_SECONDS)
                continue
            live.fetch_seconds = time.monotonic() - began
            live.problem = live.failure = None
            for replica in self.replicas.values():
                if replica.revision.number == live.revision.number:
                    located = _named(live.prepared.components, replica.component.name)
                    if located is not None:
                        replica.found(located, live.prepared.paths[located.name])
            self.wake()
            return

    def _count(self) -> None:
        """How many replicas each place should have; what was decided stays within the bounds there are now."""
        wanted = {number for found in self.aims.values() for number in found.wanted}
        for number, live in self.live.items():
            if number not in wanted:
                live.wanted.clear()
                live.held.clear()
                continue
            for component in live.revision.components:
                live.wanted[component.name] = self._bounded(live, component)

    def _bounded(self, live: Live, component: Component) -> int:
        scaling = self._scaling(live.revision, component)
        if scaling.is_fixed:
            return scaling.min_replicas
        standing = self.standings.get(live.revision.variant, Standing())
        can_be_none = self._around.activator is not None and live.revision.number in standing.proven
        least = scaling.min_replicas if can_be_none else max(1, scaling.min_replicas)
        decided = live.wanted.get(component.name)
        if decided is None:
            # As many as the one it takes over from has, so that no call finds less room than before.
            same = [
                one
                for one in self.replicas.values()
                if one.is_ready
                and one.component.name == component.name
                and one.revision.variant == live.revision.variant
                and one.revision.number != live.revision.number
            ]
            decided = max(len(same), len(self._own((live.revision.number, component.name))))
        most = max(1, least) if scaling.max_replicas is None else scaling.max_replicas
        return max(least, min(decided, most) if most else decided)

    def _hold(self) -> bool:
        wanted = {number for found in self.aims.values() for number in found.wanted}
        return self._pools.hold([live for number, live in self.live.items() if number in wanted])

    async def _release(self, deployment: Deployment) -> None:
        """Calls that were held go on: the gateway knows the replicas, then that nothing is held, then they go."""
        freed = self._pools.free(self.live.values())
        if freed:
            self._make_part(deployment)
            await self._around.routing.publish()
        self._pools.release(freed, self.live.values())

    def _ready_at(self, place: Place) -> list[str]:
        return [one.endpoint for one in self._own(place) if one.is_ready]

    def _make_part(self, deployment: Deployment) -> None:
        endpoints: dict[Place, list[str]] = {}
        for replica in self.replicas.values():
            if replica.is_ready:
                endpoints.setdefault(replica.place, []).append(replica.endpoint)
        held = frozenset((live.revision.number, name) for live in self.live.values() for name in live.held)
        self.part = routed(
            *(deployment, self.revisions, self.aims, self.spread, endpoints, held),
            starting=self.live.keys(),
            key=self._around.dependency_key,
        )

    def _change(self, *, may_drain: bool = True) -> None:
        """Start and drain replicas until the numbers are right."""
        wanted = {
            (number, part.name): live.wanted.get(part.name, 0)
            for number, live in self.live.items()
            # What others wait for while they start comes before them.
            for part in sorted(live.revision.components, key=lambda part: not part.is_dependency)
        }
        seen = [
            changes.Seen(id=one.id, place=one.place, phase=one.phase, order=int(one.id[1:]))
            for one in self.replicas.values()
        ]
        before, self.pending = self.pending, {}
        drained = []
        for change in changes.reconcile(wanted, seen):
            if isinstance(change, changes.Start):
                self._start(change.place, before)
            elif may_drain:
                drained.append(self.replicas[change.id])
        self._drain(drained)

    def _start(self, place: Place, before: Mapping[Place, Problem]) -> None:
        live = self.live[place[0]]
        component = _component(live.revision, place[1])
        if component is None or live.prepared is None or place in self.pending:
            return
        problem = self._around.room_for(live.revision, component)
        if problem is not None:
            self.pending[place] = problem
            self._pools.refuse(self.live.get(place[0]), place, problem)
            if before.get(place) != problem:
                self.tell(problem.reason, f"{live.revision.name}: {problem.message}", is_bad=True)
            return
        found = live.prepared
        located = _named(found.components, component.name) or component
        setting = self._around.setting(live.revision, located, found.paths[component.name], live.fetch_seconds)
        record = ReplicaRecord(
            id=self._around.store.next_replica(), key=self.key, revision=place[0], component=component.name
        )
        self._around.store.put_replica(record)
        replica = Replica(record, live.revision, located, setting, self)
        self.replicas[replica.id] = replica
        replica.begin()

    def _drain(self, replicas: Sequence[Replica]) -> None:
        for replica in replicas:
            replica.drain(self._published)

    async def _published(self) -> None:
        """The gateway knows which replicas are ready now."""
        deployment = self.deployment
        if deployment is not None and self.part is not None:
            self._make_part(deployment)
        if self._is_stopping:
            await self._around.routing.publish_or_retry()
        else:
            await self._around.routing.publish_at_last()

    def _retire(self) -> None:
        """Forget revisions that nobody wants and nothing runs of; keep the last ones to go back to."""
        wanted = {number for found in self.aims.values() for number in found.wanted}
        for number in [n for n in self.live if n not in wanted and not self._any(n)]:
            live = self.live.pop(number)
            if live.task is not None:
                live.task.cancel()
            self._forget_pools(live)
        standing = {n for one in self.standings.values() for n in (one.current, one.rolled_out, one.previous)}
        old = [n for n in sorted(self.revisions) if n not in wanted | standing | self.live.keys()]
        for number in old[: max(0, len(self.revisions) - REVISIONS_KEPT)]:
            self._around.store.remove_revision(self.key, number)
            del self.revisions[number]

    def _forget_pools(self, live: Live) -> None:
        for component in live.revision.components:
            pool = live.revision.pool(component.name)
            self._around.decider.forget(pool)
        self._pools.forget(live)

    async def _cancel(self) -> None:
        tasks = [self._task, *(live.task for live in self.live.values())]
        for task in tasks:
            if task is not None:
                task.cancel()
        await asyncio.gather(*(task for task in tasks if task is not None), return_exceptions=True)

    def _keep_standing(self, variant: str, standing: Standing) -> None:
        if self.standings.get(variant) != standing:
            self._around.store.put_standing(self.key, variant, standing)
            self.standings[variant] = standing

    def _tell_spread(self) -> None:
        parts = [
            f"{self.revisions[number].name} {weight:.4g} %"
            for number, weight in self.told.weights.items()
            if number in self.revisions
        ]
        self.tell("TrafficChanged", ", ".join(parts) or "no revision can serve", is_bad=not parts)


def _component(revision: Revision | None, name: str) -> Component | None:
    if revision is None:
        return None
    return _named(revision.components, name)


def _named(components: Sequence[Component], name: str) -> Component | None:
    return next((part for part in components if part.name == name), None)


def _known_only(standing: Standing, revisions: Mapping[int, Revision]) -> Standing:
    """Without revisions that are no longer known."""
    return msgspec.structs.replace(
        standing,
        rolled_out=standing.rolled_out if standing.rolled_out in revisions else 0,
        previous=standing.previous if standing.previous in revisions else 0,
        proven=tuple(number for number in standing.proven if number in revisions),
        serving={number: part for number, part in standing.serving.items() if number in revisions},
    )
