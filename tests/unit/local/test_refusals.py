"""Which deployments the gateway does not take, and what goes on without them."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from tiffin.errors import ProcessError, SpecError
from tiffin.gateway.router import Choice, Pool, Routed, Share, Snapshot
from tiffin.local import routing
from tiffin.local.routing import Routing
from tiffin.spec import Artefact, Component, Deployment, ModelSource, Route

PART = Component(source=ModelSource(artefact=Artefact(uri="/m")))


def part(name: str, *, says: str = "good", endpoints: Sequence[str] = ("/a",)) -> Routed:
    """One whose label says what the gateway thinks of it."""
    made = Deployment(name=name, components=(PART,), routes=(Route(path=f"/{name}"),), labels={"is": says})
    pool = Pool(f"default/{name}-00001/predictor", PART, endpoints)
    return Routed(made, (pool,), {"predictor": (Choice((Share(pool.name),)),)})


class Gateway:
    """Refuses what says that it is bad, and ``odd`` ones together."""

    def __init__(self) -> None:
        self.told: list[Snapshot] = []
        self.checks = 0
        self.is_broken = False
        self.odd: type[Exception] = SpecError

    async def check(self, snapshot: Snapshot) -> None:
        self.checks += 1
        if self.odd is SpecError:
            self.judge_together(snapshot)
        self.judge(snapshot)

    async def publish(self, snapshot: Snapshot) -> None:
        if self.is_broken:
            raise OSError("no room")
        self.judge(snapshot)
        self.judge_together(snapshot)
        self.told.append(snapshot)

    def judge(self, snapshot: Snapshot) -> None:
        said = [one.deployment.labels["is"] for one in snapshot.routed]
        if "bad" in said:
            raise SpecError("Envoy does not like it" + "!" * 1000, hint="look at its keys")
        if "defect" in said:
            raise KeyError("an inside")

    def judge_together(self, snapshot: Snapshot) -> None:
        if [one.deployment.labels["is"] for one in snapshot.routed].count("odd") > 1:
            raise self.odd("Envoy did not take it")

    def names(self) -> dict[str, str]:
        return {one.deployment.name: one.deployment.labels["is"] for one in self.told[-1].routed}


class Bench:
    def __init__(self) -> None:
        self.gateway = Gateway()
        self.parts: list[Routed] = []
        self.ready: dict[str, Sequence[str]] = {}
        self.said: list[str] = []
        self.woken = 0
        self.routing = Routing(
            self.gateway,  # type: ignore[arg-type]
            lambda: self.parts,
            say=self.said.append,
            told=self.wake,
            ready=lambda: self.ready,
        )

    def wake(self) -> None:
        self.woken += 1

    def refused(self) -> dict[str, bool]:
        return {
            one.deployment.name: refusal.goes_on
            for one in self.parts
            if (refusal := self.routing.refusal(one.deployment.key)) is not None
        }


def run(story: Any) -> None:
    async def main() -> None:
        bench = Bench()
        await story(bench)
        await bench.routing.stop()

    asyncio.run(main())


@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("says", ["bad", "defect"])
def test_whoever_is_refused_is_found_among_the_others_and_left_out(count: int, says: str) -> None:
    async def story(bench: Bench) -> None:
        bench.parts = [part(f"d{index}") for index in range(count)] + [part("worst", says=says)]
        assert await bench.routing.publish_or_retry()
        assert set(bench.gateway.names()) == {f"d{index}" for index in range(count)}
        assert bench.refused() == {"worst": False}
        refusal = bench.routing.refusal("default/worst")
        assert refusal is not None
        assert refusal.problem.reason == "GatewayRefused"
        assert len(refusal.problem.message) <= 300
        assert "an inside" not in refusal.problem.message
        # It is not asked about again while it is as it is.
        asked = bench.gateway.checks
        bench.parts.insert(0, part("more"))
        assert await bench.routing.publish_or_retry()
        assert bench.gateway.checks == asked
        assert "more" in bench.gateway.names()

    run(story)


def test_one_that_was_taken_goes_on_as_it_was_with_the_replicas_there_are_now() -> None:
    async def story(bench: Bench) -> None:
        bench.parts = [part("a"), part("b")]
        assert await bench.routing.publish_or_retry()
        bench.parts[0] = part("a", says="bad", endpoints=("/new",))
        bench.ready = {"default/a-00001/predictor": ("/born", "/again")}
        assert await bench.routing.publish_or_retry()
        assert bench.gateway.names() == {"a": "good", "b": "good"}
        assert bench.gateway.told[-1].routed[0].pools[0].endpoints == ("/born", "/again")
        assert bench.refused() == {"a": True}
        bench.parts[0] = part("a", says="better")
        assert await bench.routing.publish_or_retry()
        assert bench.gateway.names() == {"a": "better", "b": "good"}
        assert bench.refused() == {}

    run(story)


def test_keys_that_change_beneath_one_that_was_taken_keep_nobody_waiting() -> None:
    async def story(bench: Bench) -> None:
        bench.parts = [part("a"), part("b"), part("old", says="bad")]
        assert await bench.routing.publish_or_retry()
        bench.parts[0].deployment.labels["is"] = "bad"
        bench.parts.append(part("c"))
        assert await bench.routing.publish_or_retry()
        assert bench.gateway.names() == {"b": "good", "c": "good"}
        assert bench.refused() == {"a": False, "old": False}

    run(story)


@pytest.mark.parametrize("odd", [SpecError, ProcessError])
def test_what_is_refused_only_beside_others_waits_for_those_that_came_first(odd: type[Exception]) -> None:
    async def story(bench: Bench) -> None:
        bench.gateway.odd = odd
        bench.parts = [part("a", says="odd"), part("b")]
        assert await bench.routing.publish_or_retry()
        bench.parts += [part("c", says="odd"), part("d")]
        assert await bench.routing.publish_or_retry()
        assert set(bench.gateway.names()) == {"a", "b", "d"}
        assert bench.refused() == {"c": False}

    run(story)


def test_a_full_disk_is_nobodys_fault() -> None:
    async def story(bench: Bench) -> None:
        bench.parts = [part("a")]
        bench.gateway.is_broken = True
        assert not await bench.routing.publish_or_retry()
        assert bench.gateway.checks == 0
        assert bench.refused() == {}
        assert bench.routing.problem is not None

    run(story)


def test_whoever_is_put_right_beneath_is_taken_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "LONGEST_PAUSE_SECONDS", 0.01)

    async def story(bench: Bench) -> None:
        bench.parts = [part("a"), part("b", says="bad")]
        assert await bench.routing.publish_or_retry()
        bench.parts[1].deployment.labels["is"] = "good"
        async with asyncio.timeout(5):
            while not bench.woken:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        assert bench.refused() == {}
        assert await bench.routing.publish_or_retry()
        assert set(bench.gateway.names()) == {"a", "b"}

    run(story)


def test_one_that_is_deleted_is_refused_no_more() -> None:
    async def story(bench: Bench) -> None:
        bench.parts = [part("a"), part("b", says="bad")]
        assert await bench.routing.publish_or_retry()
        gone = bench.parts.pop()
        assert await bench.routing.publish_or_retry()
        assert bench.routing.refusal(gone.deployment.key) is None

    run(story)
