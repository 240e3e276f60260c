"""Events are asked for where nothing else says why a pod does not come up, and seldom."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.unit.operator.kubernetes_model import World, deployment, pods_of

from tiffin.kube.client import Api, Refused
from tiffin.operator.explaining import AGAIN_SECONDS, PATIENCE_SECONDS, Explainer, unexplained
from tiffin.operator.observing import moment

NOW = 1_000_000.0


def pod(age: float, **status: Any) -> dict[str, Any]:
    metadata = {"name": "p", "namespace": "ns", "uid": f"p-{age:g}", "creationTimestamp": moment(NOW - age)}
    return {"metadata": metadata, "status": status}


class Server(Api):
    """Answers with one event of every pod; the API server is the boundary."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.is_open = True

    async def ask(self, method: str, path: str, **rest: Any) -> Any:
        self.asked.append(f"{path} {rest['query']['fieldSelector']}")
        if not self.is_open:
            raise Refused("expected a right to list events")
        uid = rest["query"]["fieldSelector"].partition("=")[2]
        about = {"involvedObject": {"uid": uid}, "reason": "FailedMount", "message": "no secret s"}
        return {"items": [about]}


def test_only_old_pods_that_say_nothing_are_unexplained() -> None:
    waiting = [{"name": "c", "image": "i", "state": {"waiting": {"reason": "ImagePullBackOff"}}}]
    old, young = pod(60), pod(1)
    ready = pod(61, conditions=[{"type": "Ready", "status": "True"}])
    assert unexplained([young, ready, pod(62, containerStatuses=waiting), old], NOW) == [old]


def test_events_are_asked_once_in_a_while_and_forgotten_with_the_trouble() -> None:
    async def run() -> None:
        server, now = Server(), [NOW]
        explainer = Explainer(server, lambda: now[0])
        assert await explainer.events("u", [pod(1)]) == ()
        (first,) = await explainer.events("u", [pod(60)])
        assert first["reason"] == "FailedMount"
        assert await explainer.events("u", [pod(60)]) == (first,)
        assert server.asked == ["/api/v1/namespaces/ns/events involvedObject.uid=p-60"]
        now[0] += AGAIN_SECONDS
        server.is_open = False
        assert await explainer.events("u", [pod(60)]) == (first,)
        assert len(server.asked) == 2
        assert await explainer.events("u", []) == ()

    asyncio.run(run())


def test_a_pod_that_says_nothing_is_looked_at_again_and_its_event_is_told() -> None:
    world = World()
    world.apply(deployment())
    assert world.outcome.requeue_after is None
    world.deployments["iris-predictor"]["status"] |= {"replicas": 1, "updatedReplicas": 1}
    (one,) = pods_of(world.deployments["iris-predictor"])
    one["metadata"] |= {"uid": "p-1", "creationTimestamp": moment(world.now)}
    assert world.reconcile(pods=(one,)).requeue_after == AGAIN_SECONDS
    world.now += PATIENCE_SECONDS
    event = {"involvedObject": {"uid": "p-1"}, "reason": "FailedMount", "message": "no secret s"}
    outcome = world.reconcile(pods=(one,), events=(event,))
    latest = outcome.status.condition("LatestReady")
    assert latest is not None
    assert (latest.reason, latest.message) == ("FailedMount", "no secret s")
