"""How far a pod's fetch is: told once it takes a while, as one Event for the whole way, and no more often."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tiffin.kube.client import Api, Refused
from tiffin.operator.cache import Change
from tiffin.operator.fetches import APART_SECONDS, EVERY_SECONDS, PATIENCE_SECONDS, POD, Fetches

RUNNING = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
DONE = {"terminated": {"exitCode": 0}}
FAILED = {"terminated": {"exitCode": 1}}


def pod(state: dict[str, Any], name: str = "p", **more: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "ns", "uid": f"u-{name}", **more},
        "status": {"initContainerStatuses": [{"name": "storage-initializer", "state": state}]},
    }


class Server(Api):
    """Has one log, and takes Events; the API server is the boundary."""

    def __init__(self) -> None:
        self.log = ["fetching gs://m: 1.0 GB of 4.0 GB (25 %)"]
        self.asked: list[str] = []
        self.events: list[dict[str, Any]] = []
        self.is_open = True
        self.is_stuck = False
        self.has_told = asyncio.Event()

    async def lines(self, path: str, query: Any) -> AsyncIterator[str]:
        self.asked.append(f"{path} {query['container']} {query['tailLines']}")
        if self.is_stuck:
            await asyncio.Event().wait()
        if not self.is_open:
            raise Refused("expected a right to read logs")
        for line in self.log:
            yield line

    async def apply(self, kind: Any, manifest: Any, **rest: Any) -> Any:
        assert kind.kind == "Event"
        self.events.append(manifest)
        self.has_told.set()


class World:
    """Pods that change while a clock goes on."""

    def __init__(self) -> None:
        self.server = Server()
        self.now = 1_000_000.0
        self.fetches = Fetches(self.server, lambda: self.now)
        self.known: dict[str, Any] = {}

    def see(self, after: dict[str, Any] | None, name: str = "p") -> None:
        before = self.known.get(name)
        self.known[name] = after
        self.fetches.see(Change(POD, before, after))

    def after(self, seconds: float) -> list[dict[str, Any]]:
        """What is told by then."""
        self.now += seconds
        told = len(self.server.events)
        asyncio.run(self.fetches.look())
        return self.server.events[told:]


def test_one_event_of_the_pod_says_how_far_it_is_each_time() -> None:
    world = World()
    world.see(pod(RUNNING))
    assert world.after(PATIENCE_SECONDS - 1) == []
    (first,) = world.after(1)
    assert first["involvedObject"]["uid"] == "u-p"
    assert first["involvedObject"]["kind"] == "Pod"
    assert (first["type"], first["reason"]) == ("Normal", "FetchingModel")
    assert first["message"] == "fetching gs://m: 1.0 GB of 4.0 GB (25 %)"
    assert world.server.asked == ["/api/v1/namespaces/ns/pods/p/log storage-initializer 1"]
    world.see(pod(RUNNING, labels={"another": "change"}))
    assert world.after(EVERY_SECONDS - 1) == []
    world.server.log = ["fetching gs://m: 2.0 GB of 4.0 GB (50 %)"]
    (second,) = world.after(1)
    assert second["metadata"]["name"] == first["metadata"]["name"]
    assert (second["count"], second["firstTimestamp"]) == (2, first["firstTimestamp"])
    assert second["lastTimestamp"] > first["lastTimestamp"]
    assert "50 %" in second["message"]
    assert world.after(EVERY_SECONDS) == []  # Nothing came meanwhile, so nothing is written.


def test_that_it_came_is_told_where_its_way_was() -> None:
    world = World()
    world.see(pod(RUNNING))
    world.after(PATIENCE_SECONDS)
    world.server.log = ["gs://m is at /mnt/models: 4.0 GB in 40.0 s"]
    world.see(pod(DONE))
    (last,) = world.after(0)
    assert (last["reason"], last["count"]) == ("FetchedModel", 1)
    assert last["message"].startswith("gs://m is at")
    assert world.after(10 * EVERY_SECONDS) == []
    assert len(world.server.asked) == 2


def test_that_it_came_is_told_also_where_the_last_look_saw_it_already() -> None:
    world = World()
    world.see(pod(RUNNING))
    world.after(PATIENCE_SECONDS)
    world.server.log = ["gs://m is at /mnt/models: 4.0 GB in 10.0 s"]
    assert world.after(EVERY_SECONDS) == []  # It is not on its way any more, and not over yet.
    world.see(pod(DONE))
    assert [one["reason"] for one in world.after(0)] == ["FetchedModel"]


@pytest.mark.parametrize("end", [pod(DONE), pod(FAILED), None, pod(RUNNING, deletionTimestamp="now")])
def test_what_ends_before_anything_was_told_is_never_asked(end: Any) -> None:
    world = World()
    world.see(pod(RUNNING))
    world.see(end)
    assert world.after(10 * EVERY_SECONDS) == []
    assert world.server.asked == []


def test_what_fails_is_left_to_the_status_and_followed_when_it_is_tried_again() -> None:
    world = World()
    world.see(pod(RUNNING))
    world.after(PATIENCE_SECONDS)
    world.see(pod(FAILED))
    assert world.after(EVERY_SECONDS) == []
    world.see(pod(RUNNING))
    assert len(world.after(PATIENCE_SECONDS)) == 1


def test_a_log_that_cannot_be_read_stops_nobody() -> None:
    world = World()
    world.see(pod(RUNNING))
    world.server.is_open = False
    assert world.after(PATIENCE_SECONDS) == []
    world.server.is_open = True
    assert len(world.after(EVERY_SECONDS)) == 1
    world.server.log = []
    assert world.after(EVERY_SECONDS) == []


def test_a_node_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tiffin.operator.fetches.LOG_SECONDS", 0.01)
    world = World()
    world.see(pod(RUNNING))
    world.server.is_stuck = True
    assert world.after(PATIENCE_SECONDS) == []
    world.server.is_stuck = False
    assert len(world.after(EVERY_SECONDS)) == 1


def test_many_pods_are_asked_as_seldom_as_few_are() -> None:
    world, pods, minutes = World(), 200, 10
    for number in range(pods):
        world.see(pod(RUNNING, f"p-{number}"), f"p-{number}")
    world.after(PATIENCE_SECONDS)
    assert len(world.server.asked) == pods  # Nothing is asked at once again.
    for _ in range(60 * minutes):
        world.after(1)
    again = len(world.server.asked) - pods
    assert again <= 60 * minutes / APART_SECONDS
    assert again >= 60 * minutes / APART_SECONDS / 2


def test_it_waits_for_pods_and_looks_at_what_is_due() -> None:
    async def run() -> None:
        server, clock = Server(), [0.0]
        fetches = Fetches(server, lambda: clock[0])
        task = asyncio.create_task(fetches.run())
        await asyncio.sleep(0)
        fetches.see(Change(POD, None, pod(RUNNING)))
        clock[0] = PATIENCE_SECONDS
        await server.has_told.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(asyncio.wait_for(run(), 60))
