"""Tiffin as its users meet it on a real node: installed as pods, asked at a Service, scaled, drained, killed.

``make kind-like`` makes the image and sets TIFFIN_RUNTIME_ARCHIVE; elsewhere these tests are skipped.
"""

from __future__ import annotations

import json
import re
import signal
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from tests.kube import live_world as world

PODS = "app=isvc.iris-predictor"


def service(address: str, **model: Any) -> dict[str, Any]:
    """The iris example, whose model is at an address."""
    asked = {
        "modelFormat": {"name": "sklearn"},
        "protocolVersion": "v2",
        "storageUri": address,
        "resources": {"requests": {"cpu": "50m"}},  # two replicas, and what was there before, on small machines
        **model,
    }
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "iris", "annotations": {"autoscaling.knative.dev/window": "10s"}},
        "spec": {"predictor": {"minReplicas": 1, "model": asked}},
    }


@pytest.fixture(scope="module")
def iris(live: Any) -> Iterator[Any]:
    """The iris example, Ready; its model is fetched over HTTP from this machine by the init container."""
    with world.model_server(live.address) as address:
        given = json.dumps(service(f"{address}/model.joblib"))
        live.cluster.kubectl("apply", "-n", "live", "-f", "-", given=given)
        live.cluster.kubectl("wait", "--for=condition=Ready", "isvc/iris", "-n", "live", "--timeout=110s")
        yield live
        live.cluster.kubectl("delete", "isvc/iris", "-n", "live", "--timeout=60s")
        live.cluster.kubectl("wait", "--for=delete", "pod", "-l", PODS, "-n", "live", "--timeout=100s")


def scale(live: Any, least: int, most: int | None = None) -> None:
    change = json.dumps({"spec": {"predictor": {"minReplicas": least, "maxReplicas": most or least or 1}}})
    live.cluster.kubectl("patch", "isvc/iris", "-n", "live", "--type=merge", "-p", change)


def scaled(live: Any, replicas: int) -> dict[str, str]:
    """Addresses of that many replicas, asked for and waited for."""
    scale(live, replicas)
    return world.until(
        lambda: (now := live.pods(PODS)) and len(now) == replicas and now, f"{replicas} pods", world.SECONDS
    )


def test_the_programs_are_as_restricted_as_the_installation_says(live: Any) -> None:
    for name in ("operator", "activator"):
        words = ("exec", "-n", world.HOME, f"deploy/tiffin-{name}", "--", "python", "-c")
        probe = "import os; print(os.getuid(), os.access('/opt', os.W_OK), os.access('/tmp', os.W_OK))"
        assert live.cluster.kubectl(*words, probe).stdout.split() == ["1034", "False", "True"]


def test_the_api_server_asks_the_webhook_through_its_service(live: Any) -> None:
    wrong = json.dumps(service("gs://models/iris", modelFormat={"name": "skleran"}))

    def refused() -> str:
        # The operator may have begun to answer just now: then the object is taken, as nothing was asked.
        words = ("apply", "-n", "live", "--dry-run=server", "-f", "-")
        return str(live.cluster.kubectl(*words, given=wrong, check=False).stderr)

    world.until(lambda: "objects.tiffin.dev" in refused(), "the webhook", world.SECONDS)
    assert "No runtime found to support specified framework/version" in refused()


def test_a_pod_and_the_service_answer_as_the_documentation_says(iris: Any) -> None:
    (address,) = scaled(iris, 1).values()
    assert world.ask(f"{address}:8080") == world.ANSWER
    assert world.ask(iris.service("iris-predictor")) == world.ANSWER


def test_its_log_says_what_was_fetched(iris: Any) -> None:
    words = ("logs", "-n", "live", "deploy/iris-predictor", "-c", "storage-initializer")
    assert "model.joblib is at /mnt/models" in iris.cluster.kubectl(*words).stdout


def test_it_is_not_root_and_reaches_the_service_of_others(iris: Any) -> None:
    url = f"http://{iris.service('iris-predictor')}/v2/health/ready"
    probe = (
        "import os, urllib.request\n"
        f"with urllib.request.urlopen({url!r}, timeout=60) as got:\n"
        "    print(os.getuid(), got.status)"
    )
    words = ("exec", "-n", "live", "deploy/iris-predictor", "-c", "kserve-container", "--", "python", "-c")
    user, status = iris.cluster.kubectl(*words, probe).stdout.split()
    assert int(user) > 0
    assert status == "200"


def test_more_replicas_answer_each(iris: Any) -> None:
    found = scaled(iris, 2).values()
    assert [world.ask(f"{address}:8080") for address in found] == [world.ANSWER, world.ANSWER]
    assert len(scaled(iris, 1)) == 1


def test_a_killed_program_is_started_again(iris: Any) -> None:
    (name,) = scaled(iris, 1)
    command = ("python", "-c", f"import os; os.kill(1, {int(signal.SIGTERM)})")
    iris.cluster.kubectl("exec", "-n", "live", name, "-c", "kserve-container", "--", *command, check=False)

    def started_again() -> bool:
        status = iris.cluster.get("pod", name, "-n", "live")["status"]["containerStatuses"][0]
        return status["restartCount"] >= 1 and status["ready"]

    world.until(started_again, "the container", world.SECONDS)
    assert world.ask(f"{world.until(lambda: iris.pods(PODS), 'a pod')[name]}:8080") == world.ANSWER


def test_the_last_replica_goes_and_the_first_call_after_that_is_answered(iris: Any) -> None:
    scaled(iris, 1)
    address = iris.service("iris-predictor")
    scale(iris, 0, 1)
    words = ("pods", "-n", "live", "-l", PODS)
    world.until(lambda: not (iris.cluster.get(*words) or {"items": []})["items"], "no pod", world.SECONDS)

    def is_held() -> bool:
        of_service = ("-l", "kubernetes.io/service-name=iris-predictor")
        slices = iris.cluster.get("endpointslices", "-n", "live", *of_service)["items"]
        ends = [end for one in slices for end in one["endpoints"] or []]
        activators = iris.pods("app.kubernetes.io/name=tiffin-activator", world.HOME)
        return [each for end in ends for each in end["addresses"]] == list(activators.values())

    world.until(is_held, "the activator behind the Service", world.SECONDS)
    assert world.ask(address) == world.ANSWER  # one call, not tried again: it is held until a pod is there
    assert len(iris.pods(PODS)) == 1
    scaled(iris, 1)


def test_a_new_operator_goes_on_where_a_killed_one_was(iris: Any) -> None:
    before = iris.pods("app.kubernetes.io/name=tiffin-operator", world.HOME)
    serving = scaled(iris, 1)
    iris.cluster.kubectl("delete", "pod", *before, "-n", world.HOME, "--grace-period=0", "--force")
    assert world.ask(iris.service("iris-predictor")) == world.ANSWER
    after = scaled(iris, 2)
    assert set(serving) < set(after)
    assert not set(before) & set(iris.pods("app.kubernetes.io/name=tiffin-operator", world.HOME))


def test_the_programs_take_less_memory_than_they_may(live: Any) -> None:
    probe = "print(open('/proc/1/status').read())"  # the image has no other programs
    for name, most in (("operator", 100e6), ("activator", 100e6)):
        (address,) = live.pods(f"app.kubernetes.io/name=tiffin-{name}", world.HOME).values()
        port = {"operator": 8081, "activator": 9090}[name]
        with urllib.request.urlopen(f"http://{address}:{port}/metrics", timeout=60) as answer:
            assert answer.status == 200
        words = ("exec", "-n", world.HOME, f"deploy/tiffin-{name}", "--", "python", "-c", probe)
        found = re.search(r"VmRSS:\s+(\d+) kB", live.cluster.kubectl(*words).stdout)
        assert found is not None
        assert int(found[1]) * 1024 < most


def test_a_drained_node_ends_pods_and_takes_them_back(iris: Any) -> None:
    before = scaled(iris, 1)
    iris.cluster.kubectl("cordon", "localhost")
    iris.cluster.kubectl(
        "drain", "localhost", "--delete-emptydir-data", "--ignore-daemonsets", "--timeout=110s",
        f"--pod-selector={PODS}",
    )  # fmt: skip
    assert not set(before) & set(iris.pods(PODS))
    iris.cluster.kubectl("uncordon", "localhost")
    after = world.until(lambda: iris.pods(PODS), "a pod", world.SECONDS)
    assert not set(before) & set(after)
    assert [world.ask(f"{address}:8080") for address in after.values()] == [world.ANSWER]
