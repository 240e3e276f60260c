"""What rollouts on a cluster are judged by: pages of metrics of pods that come and go."""

import asyncio
from typing import Any

import pytest

from tiffin.kube.placement import Slot
from tiffin.operator.judging import Judge, Tally, address_of, stream_of
from tiffin.operator.placing import Contest
from tiffin.operator.scraping import Address, Scraper
from tiffin.rollout.streams import Stream
from tiffin.spec import Artefact, Component, Deployment, Gate, ModelSource, Rollout, Step

PAGE = b"""# TYPE tiffin_requests_total counter
tiffin_requests_total{method="POST",endpoint="/v2/models/{name}/infer",code="200"} 90.0
tiffin_requests_total{method="POST",endpoint="/v2/models/{name}/infer",code="503"} 10.0
tiffin_requests_total{method="GET",endpoint="/v2/health/ready",code="200"} 4000.0
tiffin_request_seconds_bucket{method="POST",endpoint="/v2/models/{name}/infer",le="0.005"} 60.0
tiffin_request_seconds_bucket{method="POST",endpoint="/v2/models/{name}/infer",le="0.1"} 99.0
tiffin_request_seconds_bucket{method="POST",endpoint="/v2/models/{name}/infer",le="+Inf"} 100.0
tiffin_request_seconds_bucket{method="GET",endpoint="/v2/health/ready",le="+Inf"} 4000.0
"""


def test_calls_failures_and_durations_are_read_and_probes_are_not() -> None:
    assert stream_of(PAGE) == Stream(100, 10, ((5.0, 60), (100.0, 99)), 100)


def test_a_server_that_tells_no_codes_tells_its_durations() -> None:
    name = b"request_predict_seconds_bucket"
    page = name + b'{le="0.01",model_name="m"} 3.0\n' + name + b'{le="+Inf",model_name="m"} 4.0\n'
    assert stream_of(page) == Stream(0, 0, ((10.0, 3),), 4)


@pytest.mark.parametrize(
    "page", [b"", b"\xff\xfe", b"tiffin_requests_total 3\n", b'tiffin_requests_total{code="500"} x\n']
)
def test_a_page_of_anything_counts_nothing(page: bytes) -> None:
    assert stream_of(page) == Stream()


def test_a_tally_only_grows_while_pods_come_restart_and_go() -> None:
    tally = Tally()
    assert tally.add({"a": Stream(10, 1)}) == Stream()  # Before it was watched.
    assert tally.add({"a": Stream(15, 2), "b": Stream(0, 0)}) == Stream(5, 1)
    assert tally.add({"b": Stream(7, 0)}) == Stream(12, 1)  # One did not answer.
    assert tally.add({"a": Stream(3, 0), "b": Stream(7, 0)}) == Stream(15, 1)  # Its process began anew.
    tally.keep(["b"])
    assert tally.add({"b": Stream(8, 0)}) == Stream(16, 1)
    assert tally.add({"a": Stream(99, 0)}) == Stream(16, 1)


class Pages(Scraper):
    """Replicas that answer with what a test says; the network is the boundary."""

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[Address, bytes] = {}

    async def pages(self, asked: Any) -> dict[Address, bytes | None]:
        return {address: self.known.get(address) for address in asked}


def pod(name: str, role: str, revision: str, ip: str) -> dict[str, Any]:
    labels = {
        "tiffin.dev/deployment": "iris",
        "tiffin.dev/component": "predictor",
        "tiffin.dev/variant": "main",
        "tiffin.dev/role": role,
        "tiffin.dev/revision": revision,
    }
    return {
        "metadata": {"name": name, "uid": name, "labels": labels},
        "spec": {
            "containers": [{"name": "side"}, {"name": "kserve-container", "ports": [{"containerPort": 9000}]}]
        },
        "status": {"podIP": ip, "conditions": [{"type": "Ready", "status": "True"}]},
    }


COMPONENT = Component(source=ModelSource(artefact=Artefact("s3://m/x")))
GATE = Gate(kind="query", query='x{r="$candidate"}', server="http://p", most=1.0)
DEPLOYMENT = Deployment(
    name="iris", components=(COMPONENT,), rollout=Rollout(steps=(Step(weight=10),), gates=(GATE,))
)
CONTEST = Contest(
    variant="main",
    stable=Slot(variant="main", component=COMPONENT, revision="iris-00001"),
    candidate=Slot(variant="main", component=COMPONENT, role="candidate", revision="iris-00002"),
)


def calls(count: int, failed: int = 0) -> bytes:
    return f'tiffin_requests_total{{code="200"}} {count}\ntiffin_requests_total{{code="500"}} {failed}\n'.encode()


def test_both_slots_are_measured_by_the_pods_of_their_revision() -> None:
    async def run() -> None:
        pages, asked = Pages(), []
        pods = (
            pod("s", "stable", "iris-00001", "10.0.0.1"),
            pod("old", "stable", "iris-00000", "10.0.0.9"),
            pod("c", "candidate", "iris-00002", "10.0.0.2"),
        )

        def ask(server: str, expression: str) -> tuple[float | None, str]:
            asked.append((server, expression))
            return 0.5, ""

        judge = Judge(
            lambda: {"default/iris": (DEPLOYMENT, pods, (CONTEST,))}, pages, ask=ask, clock=lambda: 100.0
        )
        for count in (0, 50):
            pages.known = {
                ("10.0.0.1", 9000): calls(count),
                ("10.0.0.2", 9000): calls(2 * count, count),
                ("10.0.0.9", 9000): calls(1000 * count),
            }
            await judge.tick()
        for _ in range(100):
            await asyncio.sleep(0.01)
            if judge.evidence("default/iris")["main"].readings:
                break
        found = judge.evidence("default/iris")["main"]
        assert (found.stable, found.canary) == (Stream(50, 0), Stream(150, 50))
        assert found.readings[0].value == 0.5
        assert asked == [("http://p", 'x{r="iris-00002"}')]
        assert judge.evidence("default/other") == {}

    asyncio.run(run())


def test_the_metrics_of_a_pod_are_where_its_annotations_say() -> None:
    one = pod("s", "stable", "iris-00001", "10.0.0.1")
    assert address_of(one, CONTEST.stable) == (("10.0.0.1", 9000), "/metrics")
    one["metadata"]["annotations"] = {"prometheus.io/port": "8082", "prometheus.io/path": "/stats"}
    assert address_of(one, CONTEST.stable) == (("10.0.0.1", 8082), "/stats")
    one["status"].pop("podIP")
    assert address_of(one, CONTEST.stable) is None
