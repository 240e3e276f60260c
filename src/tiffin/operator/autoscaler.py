"""Numbers of replicas by load, in a cluster: the rules of ``autoscale``, with what they remember of each slot.

The order in which the last replica goes loses no call: its Deployment is marked (``names.HELD``), which brings the
EndpointSlice of the activator; a moment later, when every node has heard of it, the number becomes 0; and what is
connected ends in peace. A call in between takes the wish back. Upwards the activator asks by itself, and the mark
goes once a replica is ready.

An operator that starts anew remembers nothing, and that reduces nothing: a number goes down only after a whole
window in which that was right.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from tiffin.autoscale.decision import Decision, State, decide
from tiffin.autoscale.samples import Load, Reading, Sample, Use, load_between
from tiffin.errors import PlatformError
from tiffin.operator.scraping import Address, Scrape, Scraper
from tiffin.spec import Component

log = logging.getLogger(__name__)

TICK_SECONDS = 1.0
SETTLE_SECONDS = 5.0
"""From the activator being an endpoint until the last replica is let go."""
LONGEST_IDLE_SECONDS = 10.0
"""Between two looks at what nobody calls; ``autoscale`` takes longer steps for time that nobody watched."""
GONE_SECONDS = 5.0
"""Between two looks at what has no replica, unless a call waits for it."""
IDLE_A_SECOND = 100
"""Replicas that nobody calls which are asked in one second."""
SAMPLED = 8
"""Replicas of one slot that are asked; the rest is taken to be like them."""
WRITTEN_SECONDS = 10.0
"""How long a number that was written is believed rather than what was seen last."""
NO_HOLD_SECONDS = 60.0
USES_SECONDS = 15.0
"""Between two looks at processor and memory: how often Kubernetes measures them."""


class Replica(msgspec.Struct, frozen=True):
    """A pod that is ready. ``address`` is that of its page of metrics."""

    name: str
    address: Address


class Pool(msgspec.Struct, frozen=True, kw_only=True):
    """A slot whose number is Tiffin's, as it is now, or was when the activator came to hold its calls.

    Attributes:
        wanted: ``replicas`` of its Deployment.
        is_ours: Whether the number is Tiffin's still.
        is_marked: Whether it is to be held, by an annotation of its Deployment.
        is_held: Whether the activator is an endpoint of its Service.
        path: Of its replicas' pages of metrics.
    """

    namespace: str
    name: str
    component: Component
    wanted: int
    ready: tuple[Replica, ...] = ()
    is_reachable: bool = True
    is_ours: bool = True
    is_marked: bool = False
    is_held: bool = False
    path: str = "/metrics"

    @property
    def key(self) -> str:
        """``namespace/name``."""
        return f"{self.namespace}/{self.name}"


class Surroundings(Protocol):
    """What is known of the cluster, and what can be done there. Methods that write raise PlatformError."""

    def pools(self) -> Sequence[Pool]:
        """Every slot whose number is Tiffin's, and those of others that are marked to be held still."""

    def activators(self) -> Sequence[Address]:
        """Where the activators' own pages are."""

    async def uses(self) -> Mapping[tuple[str, str], Use] | None:
        """What pods use, by namespace and name; ``None`` when the cluster does not measure it."""

    async def scale(self, pool: Pool, replicas: int) -> bool:
        """Write the number, unless it is not ``pool.wanted`` any more; whether it was written."""

    async def mark(self, pool: Pool, is_held: bool) -> None:
        """Say that its calls are to go to the activator, or no longer."""

    def warn(self, pool: Pool, reason: str, message: str) -> None:
        """Tell whoever looks at it, once for each reason."""


@dataclass
class _Known:
    state: State
    decision: Decision | None = None
    held: Reading | None = None
    readings: dict[str, Reading] = field(default_factory=dict)
    due: float = 0.0
    written: tuple[int, float] | None = None
    marked_since: float | None = None
    held_since: float | None = None
    warned: set[str] = field(default_factory=set)


class Autoscaler:
    """``run`` it where the operator leads."""

    def __init__(
        self,
        surroundings: Surroundings,
        scraper: Scraper | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        settle_seconds: float = SETTLE_SECONDS,
    ) -> None:
        self._around = surroundings
        self._scraper = scraper or Scraper()
        self._clock = clock
        self._settle_seconds = settle_seconds
        self._known: dict[str, _Known] = {}
        self._uses: Mapping[tuple[str, str], Use] | None = None
        self._uses_at: float | None = None

    async def run(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """For ever, once a second; a look that takes longer is followed by the next, never met by it."""
        while True:
            began = self._clock()
            try:
                await self.tick()
            except Exception:
                log.exception("numbers of replicas could not be decided")
            await sleep(max(0.05, TICK_SECONDS - (self._clock() - began)))

    async def tick(self) -> None:
        """Look at what is due, decide, and write what changes."""
        found = self._around.pools()
        await self._let_go([pool for pool in found if not pool.is_ours])
        pools = [pool for pool in found if pool.is_ours and not pool.component.scaling.is_fixed]
        for key in self._known.keys() - {pool.key for pool in pools}:
            del self._known[key]
        if not pools:
            return
        held = await self._scraper.held(self._around.activators())
        now = self._clock()
        due = [pool for pool in pools if self._is_due(pool, held or {}, now)]
        if not due:
            return
        scraped = await self._scraper.replicas(
            {one.address: pool.path for pool in due for one in _sampled(pool)},
        )
        await self._measure(due)
        now = self._clock()
        pause = self._pause(pools)
        for pool in due:
            known = self._known[pool.key]
            count = None if held is None else held.get(pool.key, 0)
            load = self._load(pool, known, count, scraped, now)
            is_quiet = load is not None and load.concurrency == 0 and load.rps == 0
            known.due = now + (0.0 if not is_quiet else pause if pool.ready else GONE_SECONDS)
            try:
                await self._decide(pool, known, load, now)
            except PlatformError as error:
                log.warning("%s: its number could not be changed: %s", pool.key, error.message)
            except Exception:
                known.due = now + LONGEST_IDLE_SECONDS
                log.exception("%s: its number could not be decided", pool.key)

    async def _let_go(self, pools: Sequence[Pool]) -> None:
        """Somebody else scales these now: their calls are held until a replica is an endpoint, and no longer."""
        for pool in pools:
            if pool.is_marked and pool.ready:
                try:
                    await self._around.mark(pool, False)
                except PlatformError as error:
                    log.warning("%s: its calls are held still: %s", pool.key, error.message)

    def last(self, key: str) -> Decision | None:
        """What was decided last of ``namespace/name``, with the reason."""
        known = self._known.get(key)
        return None if known is None else known.decision

    # -- looking -------------------------------------------------------------------------------------------

    def _is_due(self, pool: Pool, held: Mapping[str, int], now: float) -> bool:
        known = self._known.get(pool.key)
        if known is None:
            # One that stands at nothing had its first replicas before this operator began.
            known = self._known[pool.key] = _Known(State(is_initialized=pool.wanted == 0))
        is_leaving = pool.is_marked and pool.wanted > 0
        return now >= known.due or held.get(pool.key, 0) > 0 or is_leaving

    def _pause(self, pools: Sequence[Pool]) -> float:
        """Until what is quiet is looked at again: the more there is of it, the longer."""
        replicas = sum(min(len(pool.ready), SAMPLED) for pool in pools)
        return min(max(TICK_SECONDS / 2, replicas / IDLE_A_SECOND), LONGEST_IDLE_SECONDS)

    def _load(
        self, pool: Pool, known: _Known, held: int | None, scraped: Mapping[Address, Scrape], now: float
    ) -> Load | None:
        """Of all replicas and of what waits; ``None`` when too little is known."""
        waiting = None
        if held is not None:
            reading = Reading(now, held=held)
            waiting = load_between(known.held, reading)
            known.held = reading
        readings, loads, speechless = {}, [], 0
        for one in _sampled(pool):
            scrape = scraped.get(one.address, Scrape())
            if scrape.counts is not None:
                after = Reading.of(now, scrape.counts)
                loads.append(load_between(known.readings.get(one.name), after))
                readings[one.name] = after
            elif scrape.is_reached:
                speechless += 1
        known.readings = readings
        if speechless and not loads:
            self._warn(
                pool,
                known,
                "NoCallCounts",
                f"{pool.path} of its replicas tells nothing of calls that Tiffin knows, so their number is not "
                "lowered, and raised only for calls that wait; autoscalerClass keda or hpa can measure otherwise",
            )
        if pool.ready and not loads:
            return waiting if held else None
        if waiting is None:
            # Calls may wait that nobody knows of; without replicas nothing else is known either.
            if not loads:
                return None
            waiting = Load()
        share = len(pool.ready) / len(loads) if loads else 0.0
        return Load(
            waiting.concurrency + share * sum(one.concurrency for one in loads),
            waiting.rps + share * sum(one.rps for one in loads),
        )

    async def _measure(self, pools: Sequence[Pool]) -> None:
        """Processor and memory, where that is asked for."""
        measured = [pool for pool in pools if _measures_use(pool)]
        now = self._clock()
        if not measured or (self._uses_at is not None and now - self._uses_at < USES_SECONDS):
            return
        self._uses_at = now
        try:
            self._uses = await self._around.uses()
        except PlatformError as error:
            log.warning("what pods use could not be asked: %s", error.message)
            self._uses = None
            return
        if self._uses is None:
            for pool in measured:
                self._warn(
                    pool,
                    self._known[pool.key],
                    "NoResourceMetrics",
                    "processor and memory are not measured: the cluster has no metrics.k8s.io (metrics-server)",
                )

    # -- deciding ------------------------------------------------------------------------------------------

    async def _decide(self, pool: Pool, known: _Known, load: Load | None, now: float) -> None:
        pool = self._as_written(pool, known, now)
        component = pool.component
        uses: tuple[Use, ...] = ()
        if self._uses is not None and _measures_use(pool):
            uses = tuple(self._uses.get((pool.namespace, one.name), Use()) for one in pool.ready)
        sample = Sample(
            load=load,
            wanted=pool.wanted,
            ready=len(pool.ready),
            uses=uses,
            cpu=component.resources.cpu,
            memory_bytes=component.resources.memory_bytes,
            max_concurrency=component.max_concurrency,
            is_reachable=pool.is_reachable,
        )
        known.state, known.decision = decide(component.scaling, known.state, sample, now)
        replicas = known.decision.replicas
        if replicas == 0 and pool.wanted > 0 and not await self._may_go(pool, known, now):
            return
        if replicas > 0 and pool.is_marked and pool.ready:
            known.marked_since = known.held_since = None
            await self._around.mark(pool, False)
        if replicas != pool.wanted and await self._around.scale(pool, replicas):
            log.info("%s: %d replicas instead of %d: %s", pool.key, replicas, pool.wanted, known.decision.reason)
            known.written = (replicas, now)

    async def _may_go(self, pool: Pool, known: _Known, now: float) -> bool:
        """Whether calls would be held if the last replica went now; sees that they will be."""
        if not pool.is_marked:
            known.held_since = None
            if known.marked_since is None or now - known.marked_since > WRITTEN_SECONDS:
                known.marked_since = now
                await self._around.mark(pool, True)
            return False
        if known.marked_since is None:
            known.marked_since = now
        if not pool.is_held:
            known.held_since = None
            if now - known.marked_since > NO_HOLD_SECONDS:
                self._warn(
                    pool, known, "NoActivator", "its last replica stays: no activator is there to hold its calls"
                )
            return False
        if known.held_since is None:
            known.held_since = now
        return now - known.held_since >= self._settle_seconds

    def _as_written(self, pool: Pool, known: _Known, now: float) -> Pool:
        """With the number that was written, until the cluster was seen to have it."""
        if known.written is None:
            return pool
        replicas, when = known.written
        if pool.wanted == replicas or now - when > WRITTEN_SECONDS:
            known.written = None
            return pool
        return msgspec.structs.replace(pool, wanted=replicas)

    def _warn(self, pool: Pool, known: _Known, reason: str, message: str) -> None:
        if reason not in known.warned:
            known.warned.add(reason)
            self._around.warn(pool, reason, message)


def _sampled(pool: Pool) -> tuple[Replica, ...]:
    """The same ones each time, so that their counters can be compared."""
    return pool.ready[:SAMPLED]


def _measures_use(pool: Pool) -> bool:
    return any(measure.metric in ("cpu", "memory") for measure in pool.component.scaling.measures)
