"""Numbers of replicas in virtual time, over a cluster of this file that does as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import msgspec
import pytest

from tiffin.autoscale.samples import Use
from tiffin.errors import PlatformError
from tiffin.operator.autoscaler import SAMPLED, Autoscaler, Pool, Replica
from tiffin.operator.scraping import Address, Counts, Scrape
from tiffin.spec import Component, ContainerSource, Measure, Scaling, Windows

ZERO = Scaling(
    min_replicas=0, max_replicas=10, measures=(Measure(target=1.0),), windows=Windows(stable_seconds=30.0)
)


def component(scaling: Scaling) -> Component:
    return Component(source=ContainerSource(image="none"), scaling=scaling)


class Cluster:
    """Pods are ready as soon as they are wanted, unless ``starts`` is false; all is written down in ``log``."""

    def __init__(self, *scalings: Scaling, replicas: int = 1) -> None:
        self.now = 1000.0
        self.kept = {
            f"m/d{one}": Pool(namespace="m", name=f"d{one}", component=component(scaling), wanted=replicas)
            for one, scaling in enumerate(scalings)
        }
        self.waits: dict[str, int] = {}
        self.in_hand: dict[str, int] = {}
        self.ended: dict[str, int] = {}
        self.scrape: Scrape | None = None
        self.has_activator = True
        self.starts = True
        self.asked: list[Address] = []
        self.log: list[str] = []
        self.warned: list[str] = []
        self.used: Mapping[tuple[str, str], Use] | None = None
        self.fails = False

    # -- Surroundings

    def pools(self) -> Sequence[Pool]:
        return [
            msgspec.structs.replace(
                pool,
                ready=tuple(
                    Replica(f"{pool.name}-{one}", (pool.name, one))
                    for one in range(pool.wanted if self.starts else 0)
                ),
                is_held=self.has_activator and (pool.is_marked or pool.wanted == 0),
            )
            for pool in self.kept.values()
        ]

    def activators(self) -> Sequence[Address]:
        return [("activator", 9090)]

    async def uses(self) -> Mapping[tuple[str, str], Use] | None:
        return self.used

    async def scale(self, pool: Pool, replicas: int) -> bool:
        if self.fails:
            raise PlatformError("the API server is away")
        if self.kept[pool.key].wanted != pool.wanted:
            return False
        self.log.append(f"{pool.wanted}->{replicas}")
        self.kept[pool.key] = msgspec.structs.replace(self.kept[pool.key], wanted=replicas)
        return True

    async def mark(self, pool: Pool, is_held: bool) -> None:
        self.log.append("mark" if is_held else "unmark")
        self.kept[pool.key] = msgspec.structs.replace(self.kept[pool.key], is_marked=is_held)

    def warn(self, pool: Pool, reason: str, message: str) -> None:
        self.warned.append(reason)

    # -- Scraper

    async def replicas(self, asked: Mapping[Address, str]) -> dict[Address, Scrape]:
        self.asked += asked
        return {address: self._scraped(address) for address in asked}

    def _scraped(self, address: Address) -> Scrape:
        if self.scrape is not None:
            return self.scrape
        key = f"m/{address[0]}"
        wanted = max(1, self.kept[key].wanted)
        at_once = self.in_hand.get(key, 0)
        mine = at_once // wanted + (1 if address[1] < at_once % wanted else 0)
        return Scrape(True, Counts(active=mine, calls=self.ended.get(key, 0)))

    async def held(self, activators: Sequence[Address]) -> dict[str, int] | None:
        return dict(self.waits)

    # -- time

    def scaler(self) -> Autoscaler:
        return Autoscaler(self, self, clock=lambda: self.now)  # type: ignore[arg-type]

    def run(self, scaler: Autoscaler, seconds: int) -> None:
        async def ticks() -> None:
            for _ in range(seconds):
                self.now += 1.0
                await scaler.tick()

        asyncio.run(ticks())


def test_the_last_replica_goes_only_after_its_calls_are_held() -> None:
    here = Cluster(ZERO)
    scaler = here.scaler()
    here.run(scaler, 29)
    assert here.log == []
    here.run(scaler, 4)
    assert here.log == ["mark"]
    assert here.kept["m/d0"].wanted == 1
    here.run(scaler, 10)
    assert here.log == ["mark", "1->0"]
    here.run(scaler, 100)
    assert here.log == ["mark", "1->0"]


def test_a_call_while_it_is_leaving_takes_the_wish_back() -> None:
    here = Cluster(ZERO)
    scaler = here.scaler()
    here.run(scaler, 33)
    assert here.log == ["mark"]
    here.ended["m/d0"] = 1
    here.run(scaler, 3)
    assert here.log == ["mark", "unmark"]
    here.run(scaler, 20)
    assert here.kept["m/d0"].wanted == 1


def test_without_an_activator_the_last_replica_stays_and_that_is_said() -> None:
    here = Cluster(ZERO)
    here.has_activator = False
    here.run(here.scaler(), 200)
    assert here.kept["m/d0"].wanted == 1
    assert here.warned == ["NoActivator"]


def test_a_call_that_waits_brings_a_replica_and_then_the_mark_goes() -> None:
    here = Cluster(ZERO, replicas=0)
    here.kept["m/d0"] = msgspec.structs.replace(here.kept["m/d0"], is_marked=True)
    scaler = here.scaler()
    here.run(scaler, 10)
    assert here.log == []
    here.starts = False
    here.waits["m/d0"] = 1
    here.run(scaler, 2)
    assert here.log[0] == "0->1"
    here.run(scaler, 100)
    assert here.kept["m/d0"].wanted >= 1
    assert "unmark" not in here.log
    here.starts, here.waits = True, {}
    here.ended["m/d0"] = 1
    here.run(scaler, 2)
    assert here.log[-1] == "unmark"


def test_calls_at_once_bring_replicas_and_their_end_takes_them() -> None:
    here = Cluster(msgspec.structs.replace(ZERO, min_replicas=1))
    scaler = here.scaler()
    here.in_hand["m/d0"] = 7
    here.run(scaler, 60)
    assert here.kept["m/d0"].wanted == 10  # 7 at 70 % of 1 each.
    here.in_hand["m/d0"] = 0
    here.run(scaler, 200)
    assert here.kept["m/d0"].wanted == 1
    assert "mark" not in here.log


def test_an_operator_that_starts_anew_reduces_nothing_at_once() -> None:
    here = Cluster(ZERO, replicas=6)
    here.in_hand["m/d0"] = 4
    here.run(here.scaler(), 25)
    assert here.kept["m/d0"].wanted == 6
    here.in_hand["m/d0"] = 0
    here.run(here.scaler(), 25)
    assert here.kept["m/d0"].wanted == 6


def test_replicas_that_cannot_be_asked_change_nothing() -> None:
    here = Cluster(ZERO, replicas=3)
    here.scrape = Scrape()
    here.run(here.scaler(), 300)
    assert here.log == []
    assert here.warned == []


def test_replicas_that_tell_nothing_of_calls_are_named_once_and_kept() -> None:
    here = Cluster(ZERO, replicas=2)
    here.scrape = Scrape(True, None)
    here.run(here.scaler(), 300)
    assert here.log == []
    assert here.warned == ["NoCallCounts"]


def test_of_many_replicas_some_are_asked_and_stand_for_all() -> None:
    here = Cluster(msgspec.structs.replace(ZERO, max_replicas=100, measures=(Measure(target=10.0),)), replicas=40)
    here.in_hand["m/d0"] = 400
    scaler = here.scaler()
    here.run(scaler, 1)
    assert len(here.asked) == SAMPLED
    here.run(scaler, 60)
    assert here.kept["m/d0"].wanted == pytest.approx(58, abs=3)  # 400 at 70 % of 10 each.


def test_a_number_somebody_else_changed_is_not_written_over() -> None:
    here = Cluster(ZERO)
    scaler = here.scaler()
    real = here.scale

    async def raced(pool: Pool, replicas: int) -> bool:
        here.kept["m/d0"] = msgspec.structs.replace(here.kept["m/d0"], wanted=5)
        return await real(pool, replicas)

    here.scale = raced  # type: ignore[method-assign]
    here.in_hand["m/d0"] = 4
    here.run(scaler, 1)
    assert here.log == []
    assert here.kept["m/d0"].wanted == 5


def test_a_cluster_that_refuses_is_asked_again() -> None:
    here = Cluster(ZERO, replicas=1)
    scaler = here.scaler()
    here.fails = True
    here.in_hand["m/d0"] = 4
    here.run(scaler, 5)
    here.fails = False
    here.run(scaler, 2)
    assert here.kept["m/d0"].wanted > 1


def test_processor_that_nobody_measures_is_named() -> None:
    here = Cluster(
        Scaling(
            min_replicas=1, max_replicas=4, measures=(Measure(metric="cpu", target=50.0),), autoscaler="tiffin"
        )
    )
    scaler = here.scaler()
    here.run(scaler, 20)
    assert here.warned == ["NoResourceMetrics"]
    here.used = {("m", "d0-0"): Use(cpu=2.0)}
    here.run(scaler, 40)
    assert here.kept["m/d0"].wanted == 4


def test_a_thousand_idle_slots_are_looked_at_slowly() -> None:
    here = Cluster(*(msgspec.structs.replace(ZERO, min_replicas=1) for _ in range(1000)))
    scaler = here.scaler()
    here.run(scaler, 1)
    here.asked.clear()
    here.run(scaler, 30)
    assert len(here.asked) <= 30 * 110
    assert {address[0] for address in here.asked} == {f"d{one}" for one in range(1000)}


def test_nothing_is_asked_of_what_never_changes() -> None:
    here = Cluster(Scaling(min_replicas=2))
    here.run(here.scaler(), 10)
    assert here.asked == []


def test_what_nobody_calls_goes_though_nobody_measures_its_processor() -> None:
    here = Cluster(msgspec.structs.replace(ZERO, measures=(Measure(metric="cpu"),)))
    here.run(here.scaler(), 120)
    assert here.warned == ["NoResourceMetrics"]
    assert here.log == ["mark", "1->0"]


def test_what_somebody_else_scales_now_is_held_until_a_replica_is_an_endpoint_and_never_scaled() -> None:
    cluster = Cluster(ZERO, replicas=0)
    (key,) = cluster.kept
    cluster.kept[key] = msgspec.structs.replace(cluster.kept[key], is_ours=False, is_marked=True)
    scaler = cluster.scaler()
    cluster.run(scaler, 5)
    assert cluster.log == []
    cluster.kept[key] = msgspec.structs.replace(cluster.kept[key], wanted=3)
    cluster.starts = False
    cluster.run(scaler, 5)
    assert cluster.log == []
    cluster.starts = True
    cluster.run(scaler, 60)
    assert cluster.log == ["unmark"]
