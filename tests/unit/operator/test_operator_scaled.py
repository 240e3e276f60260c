import asyncio
from typing import Any

import pytest

from tiffin.autoscale.samples import Use
from tiffin.kube import names
from tiffin.kube.client import Conflict, NotFound
from tiffin.kube.placement import Placement, Slot
from tiffin.operator.autoscaler import Replica
from tiffin.operator.cache import Cache
from tiffin.operator.observing import Observed
from tiffin.operator.reconciling import Key, Look
from tiffin.operator.scaled import DEPLOYMENT, SLICE, Scaled, replicas_of
from tiffin.operator.standing import Outcome
from tiffin.plan.state import DeploymentStatus
from tiffin.spec import Component, ContainerSource, Deployment, Measure, Pod, Scaling


class Server:
    """The part of an API server that the autoscaler uses."""

    def __init__(self) -> None:
        self.replicas = 1
        self.written: list[tuple[str, Any]] = []
        self.refuses: Exception | None = None
        self.measured: list[dict[str, Any]] | None = None

    async def ask(self, method: str, path: str, **more: Any) -> Any:
        if "metrics.k8s.io" in path:
            if self.measured is None:
                raise NotFound("no such kind")
            return {"items": self.measured}
        assert path == "/apis/apps/v1/namespaces/m/deployments/iris-predictor/scale"
        return {"metadata": {"resourceVersion": "7"}, "spec": {"replicas": self.replicas} if self.replicas else {}}

    async def patch(self, kind: Any, namespace: str, name: str, change: Any, *, part: str = "") -> Any:
        if self.refuses is not None:
            raise self.refuses
        self.written.append((part, change))
        return deployment(2, **(change["metadata"].get("annotations") or {}))


def deployment(version: int = 1, **annotations: str) -> dict[str, Any]:
    metadata = {"namespace": "m", "name": "iris-predictor", "resourceVersion": str(version), "uid": "u"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {**metadata, "annotations": annotations},
        "spec": {"replicas": 1},
    }


def slice_of(name: str, *pods: tuple[str, str], ready: bool = True, own: bool = False) -> dict[str, Any]:
    labels = {"kubernetes.io/service-name": "iris-predictor"} | ({names.SLICE_MANAGER: "tiffin"} if own else {})
    return {
        "metadata": {"namespace": "m", "name": name, "labels": labels, "resourceVersion": "1", "uid": name},
        "ports": [{"name": "h2c", "port": 9000}, {"name": "http", "port": 8080}],
        "endpoints": [
            {"addresses": [ip], "conditions": {"ready": ready}, "targetRef": {"name": pod}} for pod, ip in pods
        ],
    }


def look(scaling: Scaling, pod: Pod | None = None, name: str = "iris") -> Look:
    component = Component(source=ContainerSource(image="none"), scaling=scaling, pod=pod or Pod())
    spec = Deployment(name=name, namespace="m", components=(component,), dialect="kserve")
    slots = (Slot(variant=spec.variant, component=component),)
    outcome = Outcome(placement=Placement(slots=slots), status=DeploymentStatus())
    return Look(spec, Observed(object={"metadata": {"name": name, "namespace": "m"}}), outcome)


SCALING = Scaling(min_replicas=0, max_replicas=5, measures=(Measure(target=1.0),))


def world(scaling: Scaling = SCALING, pod: Pod | None = None) -> tuple[Scaled, Cache, Server]:
    cache, server = Cache(), Server()
    key = Key(("serving.kserve.io", "InferenceService"), "m", "iris")
    looks = {key: look(scaling, pod)}
    cache.put(DEPLOYMENT, deployment())
    return Scaled(server, cache, lambda: looks, lambda: ["10.0.0.9"]), cache, server  # type: ignore[arg-type]


def test_a_pool_is_what_the_cluster_says_of_it() -> None:
    scaled, cache, _ = world()
    scaled.slices.put(SLICE, slice_of("a", ("p1", "10.0.0.1"), ("p0", "10.0.0.2")))
    scaled.slices.put(SLICE, slice_of("b", ("p2", "10.0.0.3"), ready=False))
    (pool,) = scaled.pools()
    assert (pool.key, pool.wanted, pool.is_marked, pool.is_held) == ("m/iris-predictor", 1, False, False)
    # Metrics are on the port of HTTP, not on the first one there is.
    assert pool.ready == (Replica("p0", ("10.0.0.2", 8080)), Replica("p1", ("10.0.0.1", 8080)))
    scaled.slices.put(SLICE, slice_of("own", ("activator", "10.0.0.9"), own=True))
    cache.put(DEPLOYMENT, deployment(2, **{names.HELD: "true"}))
    (pool,) = scaled.pools()
    assert (pool.is_marked, pool.is_held, len(pool.ready)) == (True, True, 2)
    scaled.slices.remove(SLICE, ("m", "own"))
    scaled.slices.remove(SLICE, ("m", "a"))
    (pool,) = scaled.pools()
    assert (pool.is_held, pool.ready) == (False, ())


def test_pods_say_where_their_metrics_are() -> None:
    annotations = {"prometheus.io/port": "8002", "prometheus.io/path": "/numbers"}
    scaled, _, _ = world(pod=Pod(annotations=annotations))
    scaled.slices.put(SLICE, slice_of("a", ("p1", "10.0.0.1")))
    (pool,) = scaled.pools()
    assert (pool.ready[0].address, pool.path) == (("10.0.0.1", 8002), "/numbers")


@pytest.mark.parametrize(
    "scaling",
    [
        Scaling(min_replicas=2),
        Scaling(max_replicas=5, autoscaler="keda"),
        Scaling(max_replicas=5, autoscaler="none"),
    ],
)
def test_what_is_not_tiffins_is_no_pool(scaling: Scaling) -> None:
    assert list(world(scaling)[0].pools()) == []


def test_a_number_is_written_on_condition_of_what_was_read() -> None:
    scaled, _, server = world()
    (pool,) = scaled.pools()
    assert asyncio.run(scaled.scale(pool, 3))
    assert server.written == [("scale", {"metadata": {"resourceVersion": "7"}, "spec": {"replicas": 3}})]
    assert scaled.scales("m") == {"iris-predictor": 3}
    assert scaled.scales("other") == {}
    server.replicas = 0
    assert not asyncio.run(scaled.scale(pool, 4))
    server.replicas, server.refuses = 1, Conflict("somebody was faster")
    assert not asyncio.run(scaled.scale(pool, 4))
    assert len(server.written) == 1


def test_a_mark_is_known_as_soon_as_it_is_written() -> None:
    scaled, _, server = world()
    (pool,) = scaled.pools()
    asyncio.run(scaled.mark(pool, True))
    assert server.written == [("", {"metadata": {"annotations": {names.HELD: "true"}}})]
    assert next(iter(scaled.pools())).is_marked
    asyncio.run(scaled.mark(pool, False))
    assert server.written[-1] == ("", {"metadata": {"annotations": {names.HELD: None}}})


def test_use_is_that_of_all_containers_and_none_where_nobody_measures() -> None:
    scaled, _, server = world()
    assert asyncio.run(scaled.uses()) is None
    usage = [{"cpu": "250m", "memory": "10Mi"}, {"cpu": "1500000000n", "memory": "1024Ki"}]
    server.measured = [
        {"metadata": {"namespace": "m", "name": "p"}, "containers": [{"usage": one} for one in usage]},
        {"metadata": {"namespace": "m", "name": "q"}, "containers": []},
        {"metadata": {"namespace": "m", "name": "r"}, "containers": [{"usage": {"cpu": "odd", "memory": "1"}}]},
    ]
    assert asyncio.run(scaled.uses()) == {
        ("m", "p"): Use(cpu=1.75, memory_bytes=11 * 2**20),
        ("m", "q"): Use(),
        ("m", "r"): Use(cpu=0.0, memory_bytes=1.0),
    }


def test_slices_without_ports_or_addresses_have_no_replicas() -> None:
    assert replicas_of([{"metadata": {}, "ports": None, "endpoints": None}], None) == ()
    empty = slice_of("a", ("p", "10.0.0.1"))
    empty["endpoints"][0]["addresses"] = []
    assert replicas_of([empty], None) == ()


def test_the_activators_pages_are_asked() -> None:
    assert world()[0].activators() == [("10.0.0.9", 9090)]
