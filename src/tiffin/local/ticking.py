"""What is looked at once a second: calls, use, who should have how many replicas and which share."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import psutil

from tiffin.autoscale.samples import Use
from tiffin.errors import CallError
from tiffin.gateway.router import PoolSample
from tiffin.kits import processes
from tiffin.local.defects import NAME, fault
from tiffin.local.deploying import Deploying
from tiffin.local.replica import Replica
from tiffin.local.seams import Contest, Observed
from tiffin.plan.objects import ReplicaUse
from tiffin.plan.share import Standing
from tiffin.spec import Component

if TYPE_CHECKING:
    from tiffin.local.controller import Controller

TICK_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0
HOME_EVERY = 5
"""Ticks between looks at the data directory, and at the sizes of logs there."""

WORKERS_EVERY = 10
"""Ticks between looks for the workers of replicas, which means to look at every process there is."""


class Fixed:
    """The decider that never changes its mind: as many replicas as there must be, and one at least."""

    def decide(self, pool: str, component: Component, observed: Observed) -> int:
        return max(1, component.scaling.min_replicas)

    def reason(self, pool: str) -> str:
        return ""

    def forget(self, pool: str) -> None:
        """Nothing is remembered."""


class Ticking:
    """The controller's clock. Monotonic: a clock that is set changes no decision."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._samples: Mapping[str, PoolSample] = {}
        self._before: tuple[float, Mapping[str, PoolSample]] = (0.0, {})
        self._processes: dict[int, psutil.Process] = {}
        self._workers: dict[int, list[psutil.Process]] = {}
        self._ticks = 0
        self._uses: dict[str, tuple[float | None, int | None]] = {}
        self._paused: dict[str, tuple[float, float]] = {}
        """By deployment whose decisions failed: until when there are none, and how long the next pause is."""

    async def run(self) -> None:
        """For ever."""
        count = 0
        due = time.monotonic()
        while True:
            due = max(due + TICK_SECONDS, time.monotonic())
            await asyncio.sleep(due - time.monotonic())
            count += 1
            try:
                await self._tick()
                if count % HOME_EVERY == 0:
                    await self._look_at_home()
            except Exception as error:
                self._controller.say(fault(error, "looking after the replicas").message)

    async def _tick(self) -> None:
        controller = self._controller
        self._measure()
        if any(self._is_interesting(one) for one in controller.deployings.values()):
            await self._sample()
        for one in list(controller.deployings.values()):
            one.note_uses({name: self._uses[name] for name in one.replicas if name in self._uses})
            if one.pending:
                one.wake()
            await self._look_after(one)
        judge = controller.judge
        if judge is not None:
            await judge.attend(
                [one.deployment for one in controller.deployings.values() if one.deployment is not None]
            )

    async def _look_after(self, deploying: Deploying) -> None:
        """Numbers and weights of one; what fails there is tried again later, and keeps nobody else waiting."""
        until, pause = self._paused.get(deploying.key, (0.0, TICK_SECONDS))
        if time.monotonic() < until:
            return
        try:
            self._decide(deploying)
            await self._judge(deploying)
        except Exception as error:
            self._paused[deploying.key] = (time.monotonic() + pause, min(2 * pause, LONGEST_PAUSE_SECONDS))
            deploying.note_fault(deploying.fault(error, f"deciding about {deploying.key}"))
            return
        self._paused.pop(deploying.key, None)
        deploying.note_fault(None)

    def _is_interesting(self, deploying: Deploying) -> bool:
        deployment = deploying.deployment
        if deployment is None:
            return False
        if any(found.contest for found in deploying.aims.values()):
            return True
        return any(not part.scaling.is_fixed for variant in deployment.all_variants for part in variant.components)

    async def _sample(self) -> None:
        self._before = (time.monotonic(), self._samples)
        self._samples = await self._controller.gateway.sample()

    # -- numbers -------------------------------------------------------------------------------------------

    def _decide(self, deploying: Deploying) -> None:
        controller = self._controller
        for number, live in deploying.live.items():
            wanted = any(number in found.wanted for found in deploying.aims.values())
            for component in live.revision.components if wanted else ():
                scaled = deploying.component_now(live.revision, component)
                if scaled.scaling.is_fixed or component.name not in live.wanted:
                    continue
                pool = live.revision.pool(component.name)
                own = [one for one in deploying.replicas.values() if one.place == (number, component.name)]
                observed = Observed(
                    time=time.monotonic(),
                    counters=self._samples.get(pool),
                    held=controller.activator.held(pool) if controller.activator is not None else 0,
                    wanted=live.wanted[component.name],
                    ready=sum(one.is_ready for one in own),
                    uses=tuple(self._use(one) for one in own if one.running is not None),
                    is_reachable=number in deploying.spread.weights or number in deploying.spread.mirrors,
                )
                count = controller.decider.decide(pool, scaled, observed)
                deploying.set_wanted((number, component.name), count, controller.decider.reason(pool))

    def _use(self, replica: Replica) -> Use:
        cpu, memory = self._uses.get(replica.id, (None, None))
        return Use(cpu=cpu, memory_bytes=memory, is_ready=replica.is_ready)

    # -- rollouts ------------------------------------------------------------------------------------------

    async def _judge(self, deploying: Deploying) -> None:
        judge, deployment = self._controller.judge, deploying.deployment
        if deployment is None or deployment.rollout is None:
            return
        found = deploying.aims.get(deployment.variant)
        if found is None or found.contest is None:
            return
        if judge is None:
            deploying.change_standing(deployment.variant, override=100.0)
            return
        stable, candidate = (deploying.revisions[number] for number in found.contest)
        standing = deploying.standings[deployment.variant]
        counters = {
            revision.name: sample
            for revision in (stable, candidate)
            if (sample := self._samples.get(revision.pool(deployment.entry))) is not None
        }
        ruling = await judge.tick(
            Contest(deployment, stable, candidate, counters, standing.judged, standing.paused, time.time())
        )
        changes: dict[str, object] = {"judged": ruling.state, "mirror": ruling.mirror_percent}
        if ruling.outcome == "promote":
            changes |= {"override": 100.0, "mirror": 0.0}
        elif ruling.outcome == "roll-back":
            changes |= {"override": 0.0, "mirror": 0.0, "rejected": candidate.number}
        else:
            changes |= {"override": min(ruling.weight, 99.999)}
        now = deploying.standings[deployment.variant]
        if now.current != candidate.number:
            return  # Somebody applied another one meanwhile.
        if {name: getattr(now, name) for name in changes} == changes:
            return
        told = (now.override, now.rejected) != (changes["override"], changes.get("rejected", now.rejected))
        deploying.change_standing(deployment.variant, **changes)
        if told and ruling.message:
            reasons = {"promote": "Promoted", "roll-back": "RolledBack", "go-on": "RolloutStep"}
            is_bad = ruling.outcome == "roll-back"
            deploying.tell(reasons[ruling.outcome], ruling.message, is_bad=is_bad)

    async def steer(
        self, deploying: Deploying, action: Literal["promote", "undo", "pause", "resume"], to: int | None
    ) -> str:
        """What people say about a rollout; what was done, as a sentence."""
        deployment = deploying.deployment
        assert deployment is not None
        variant = deployment.variant
        standing = deploying.standings.get(variant, Standing())
        if action == "undo":
            return self._undo(deploying, standing, to)
        found = deploying.aims.get(variant)
        if found is None or standing.rolled_out in (0, standing.current):
            raise CallError(f"{deploying.key} has no rollout in progress")
        candidate = deploying.revisions[standing.current].name
        judge = self._controller.judge
        judged = standing.judged
        if judge is not None and deployment.rollout is not None:
            judged = judge.steer(deployment, judged, action, time.time())
        if action == "promote":
            if found.contest is None and deployment.rollout is not None and standing.current not in found.shares:
                if standing.current == standing.rejected:
                    deploying.change_standing(variant, rejected=0, override=100.0, judged=b"", paused=False)
                    return f"{candidate} gets all calls"
                raise CallError(f"{candidate} is not ready", hint="`tiffin describe` tells why")
            if deployment.canary_percent is not None:
                await self._controller.set_canary(deploying, None)
            else:
                deploying.change_standing(variant, override=100.0, judged=judged, paused=False)
            sentence = f"{candidate} gets all calls"
        elif action == "pause":
            deploying.change_standing(variant, paused=True, judged=judged)
            sentence = f"the rollout of {candidate} waits until it is resumed"
        else:
            deploying.change_standing(variant, paused=False, judged=judged)
            sentence = f"the rollout of {candidate} goes on"
        deploying.tell({"promote": "Promoted", "pause": "Paused", "resume": "Resumed"}[action], sentence)
        return sentence

    def _undo(self, deploying: Deploying, standing: Standing, to: int | None) -> str:
        """Go back to the revision that was rolled out, or to an older one."""
        deployment = deploying.deployment
        assert deployment is not None
        number = to
        if number is None:
            number = standing.rolled_out if standing.rolled_out != standing.current else standing.previous
        revision = deploying.revisions.get(number or 0)
        if revision is None or revision.variant != deployment.variant:
            known = ", ".join(str(one) for one in sorted(deploying.revisions)) or "none"
            raise CallError(f"{deploying.key} has no revision to go back to", hint=f"its revisions are {known}")
        if standing.rolled_out == standing.current or to is not None:
            return self._controller.restore(deploying, revision)
        candidate = deploying.revisions[standing.current].name
        judge = self._controller.judge
        if judge is not None and deployment.rollout is not None:
            # One that never was ready has none that could be ended; nobody looks again at one that is over.
            with contextlib.suppress(CallError):
                judge.steer(deployment, standing.judged, "undo", time.time())
        deploying.change_standing(
            deployment.variant, rejected=standing.current, override=0.0, mirror=0.0, judged=b"", paused=False
        )
        sentence = f"{candidate} is rolled back; {revision.name} gets all calls"
        deploying.tell("RolledBack", sentence, is_bad=True)
        return sentence

    # -- what is used --------------------------------------------------------------------------------------

    def _measure(self) -> None:
        """Cores and bytes of each replica with the workers it forked."""
        self._ticks += 1
        seen: dict[int, psutil.Process] = {}
        workers: dict[int, list[psutil.Process]] = {}
        uses: dict[str, tuple[float | None, int | None]] = {}
        for one in self._controller.deployings.values():
            for replica in one.replicas.values():
                if replica.running is not None:
                    identity = replica.running.identity
                    uses[replica.id] = self._use_of(identity, seen)
                    workers[identity.pid] = self._workers.get(identity.pid, [])
        self._processes, self._uses, self._workers = seen, uses, workers

    def _use_of(
        self, identity: processes.Identity, seen: dict[int, psutil.Process]
    ) -> tuple[float | None, int | None]:
        cpu, memory = 0.0, 0
        try:
            if processes.find(identity) is None:
                return None, None
            first = self._processes.get(identity.pid) or psutil.Process(identity.pid)
            if identity.pid not in self._workers or self._ticks % WORKERS_EVERY == 0:
                self._workers[identity.pid] = first.children(recursive=True)
            for process in (first, *self._workers[identity.pid]):
                known = self._processes.get(process.pid, process)
                seen[process.pid] = known
                # The first answer of a process is 0: it is measured between two questions.
                cpu += known.cpu_percent(None) / 100
                memory += known.memory_info().rss
        except psutil.Error:
            self._workers.pop(identity.pid, None)
            return None, None
        return cpu, memory

    def uses(self) -> list[ReplicaUse]:
        """What each replica uses, and the calls of its pool."""
        when, before = self._before
        seconds = max(1e-3, time.monotonic() - when)
        found = []
        for one in self._controller.deployings.values():
            for replica in one.replicas.values():
                pool = replica.revision.pool(replica.component.name)
                sample, old = self._samples.get(pool), before.get(pool)
                ended = max(0, sample.calls - old.calls) if sample is not None and old is not None else 0
                cpu, memory = self._uses.get(replica.id, (None, None))
                found.append(
                    ReplicaUse(
                        deployment=one.key,
                        replica=replica.name,
                        revision=replica.revision.name,
                        component=replica.component.name,
                        cpu=cpu or 0.0,
                        memory_bytes=memory or 0,
                        active=sample.active if sample is not None else 0,
                        rps=ended / seconds,
                    )
                )
        return found

    async def _look_at_home(self) -> None:
        home = self._controller.home
        if not home.is_ours():
            # Nobody could reach it any more, nor find it: its sockets, its state and its lock are gone.
            self._controller.say(f"the data directory {home.data.root} was deleted: stopping")
            await self._controller.shutdown()
            return
        home.cap_logs()
        every = [one for deploying in self._controller.deployings.values() for one in deploying.replicas.values()]
        home.prune_logs({one.log.name for one in every} | {"gateway.log", "controller.log", "up.log", NAME})
