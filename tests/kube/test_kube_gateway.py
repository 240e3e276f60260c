"""Calls through a real gateway: Contour reads what Tiffin renders, and the Envoy that it tells passes them on.

API server, controller manager, operator, Contour and Envoy are real; only the kubelet is played.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.kube import cluster as clusters
from tests.kube.gateway_world import HOW, Echo, Gateway, Kubelet, addresses, ask
from tests.kube.operator_world import Operator, apply, define, until
from tests.kube.test_kube_scale_to_zero import own_pod, say_ready

from tiffin.errors import MissingExtra
from tiffin.gateway import binary

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not os.environ.get("TIFFIN_GATEWAY"), reason="a real gateway takes minutes: `make test-gateway` runs these"
    ),
]
ROOT = Path(__file__).parents[2]
NAMESPACE = "default"
MODEL = ROOT / "examples" / "01-kserve-iris" / "model"
ROW = [6.8, 2.8, 4.8, 1.4]


class World:
    """One cluster behind one gateway."""

    def __init__(self, cluster: Any, gateway: Gateway, kubelet: Kubelet) -> None:
        self.cluster, self.gateway, self.kubelet = cluster, gateway, kubelet

    def apply(self, *objects: dict[str, Any]) -> None:
        apply(self.cluster, NAMESPACE, *objects)

    def service(self, name: str, version: str, **more: Any) -> None:
        """An InferenceService of somebody's program, which says its version."""
        self.apply(isvc(name, version, **more))

    def status(self, name: str, kind: str = "inferenceservice") -> dict[str, Any]:
        return dict((self.cluster.get(kind, name, "-n", NAMESPACE) or {}).get("status") or {})

    def host(self, name: str, kind: str = "inferenceservice") -> str:
        """Of the address in the status, once the object is Ready."""

        def ready() -> str:
            assert self.kubelet.problem is None, self.kubelet.problem
            status = self.status(name, kind)
            met = {one["type"]: one["status"] for one in status.get("conditions") or ()}
            return str(status.get("url") or "") if met.get("Ready") == "True" else ""

        return until(ready, f"{name} to be ready").removeprefix("http://")

    def until_answers(self, host: str, path: str = "/", given: object = None, **headers: str) -> Any:
        """What the first call that is answered says."""

        def said() -> Any:
            status, answer = self.gateway.call(host, path, given, **headers)
            return answer if status == 200 else None

        return until(said, f"an answer of {host}{path}")

    def tally(self, host: str, count: int, **headers: str) -> Counter[str]:
        """Which versions answered so many calls, and how others ended."""
        found: Counter[str] = Counter()
        for _ in range(count):
            status, answer = self.gateway.call(host, "/", **headers)
            found[answer["version"] if status == 200 else str(status)] += 1
        return found

    def delete(self, name: str, kind: str = "inferenceservice") -> None:
        self.cluster.kubectl("delete", kind, name, "-n", NAMESPACE)


def isvc(name: str, version: str, annotations: dict[str, str] | None = None, **predictor: Any) -> dict[str, Any]:
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name, "annotations": annotations or {}},
        "spec": {"predictor": {"containers": [container(version)], **predictor}},
    }


def container(version: str, port: int = 8080) -> dict[str, Any]:
    env = [{"name": "VERSION", "value": version}]
    return {"name": "kserve-container", "image": "none", "env": env, "ports": [{"containerPort": port}]}


def settings(**more: Any) -> dict[str, Any]:
    said = {"gateway": {"name": "tiffin", "namespace": NAMESPACE}, "ingressClass": "contour", **more}
    data = {"settings.yaml": json.dumps(said)}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "tiffin-settings"}, "data": data}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("gateway")
    try:
        assets = clusters.assets()
        contour = clusters.program("contour", assets)
        binary.find_binary()
    except clusters.Missing as error:
        pytest.skip(f"{error}" if "contour" not in str(error) else f"there is no contour: {HOW}")
    except MissingExtra as error:
        pytest.skip(f"{error}: {error.hint}")
    try:
        reserved = addresses(first=10, count=30)
        given = reserved.__enter__()
    except OSError as error:
        pytest.skip(f"no address can be added to this machine's loopback device ({error}): run as root")
    try:
        with clusters.running() as cluster:
            cluster.start_controllers()
            define(cluster)
            cluster.add_kinds("gateway-api")
            cluster.add_kinds("contour")
            kubelet = Kubelet(cluster, NAMESPACE, given, MODEL)
            gateway = Gateway(cluster, contour, directory, clusters.free_port)
            apply(cluster, NAMESPACE, settings(), *gateway.objects())
            kubelet.start()
            try:
                with Operator(cluster, NAMESPACE, directory / "operator.log", "--no-election") as operator:
                    operator.ready()
                    yield World(cluster, gateway, kubelet)
            finally:
                print(gateway.log(), operator.log()[-3000:])
                gateway.stop()
                kubelet.stop()
    finally:
        reserved.__exit__(None, None, None)


def test_a_saved_model_answers_on_its_own_host_in_both_protocols(world: World) -> None:
    model = {"modelFormat": {"name": "sklearn"}, "storageUri": "gs://models/iris"}
    world.apply(
        {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": {"name": "iris"},
            "spec": {"predictor": {"model": model}},
        }
    )
    host = world.host("iris")
    assert host == "iris-default.example.com"
    answer = world.until_answers(host, "/v1/models/iris:predict", {"instances": [ROW]})
    assert answer == {"predictions": [1]}
    tensor = {"name": "x", "shape": [1, 4], "datatype": "FP64", "data": ROW}
    status, answer = world.gateway.call(
        host, "/v2/models/iris/infer", {"inputs": [tensor]}, content_type="application/json"
    )
    assert (status, answer["outputs"][0]["data"]) == (200, [1])
    until(
        lambda: world.gateway.call("iris-predictor-default.example.com", "/v2/health/ready")[0] == 200, "its part"
    )
    assert world.gateway.call("nobody.example.com", "/v2/health/ready")[0] == 404
    world.delete("iris")
    # Contour's Envoy does not even listen while it has no route at all.
    until(lambda: world.gateway.call(host, "/v2/health/ready")[0] in (0, 404), "its address to go")


def test_a_canary_gets_its_share_and_is_promoted_and_undone_without_a_failed_call(world: World) -> None:
    world.service("split", "one")
    host = world.host("split")
    world.until_answers(host)
    assert world.until_answers(host)["headers"]["kserve-isvc-name"] == "split"
    over = threading.Event()
    ends: Counter[str] = Counter()

    def load() -> None:
        while not over.wait(0.01):
            status, answer = world.gateway.call(host)
            ends["" if status == 200 else f"{status} {answer}"] += 1

    threads = [threading.Thread(target=load) for _ in range(4)]
    for one in threads:
        one.start()
    try:
        world.service("split", "two", canaryTrafficPercent=20)
        until(lambda: world.tally(host, 20)["two"] > 0, "the canary's first calls")
        until(lambda: settled(world, "split"), "the share to be told")
        found = world.tally(host, 500)
        assert set(found) == {"one", "two"}
        # Of 500 calls 100 are expected; a fair draw is outside of these once in a hundred thousand times.
        assert 60 <= found["two"] <= 140, found
        only = world.tally("canary-split-default.example.com", 10) if tagged(world, "split") else Counter(two=10)
        assert only == {"two": 10}
        # Promoted by removing the field, then another one tried and taken back.
        world.service("split", "two")
        until(lambda: set(world.tally(host, 20)) == {"two"}, "the promotion")
        world.service("split", "three", canaryTrafficPercent=50)
        until(lambda: world.tally(host, 20)["three"] > 0, "another canary's first calls")
        world.service("split", "three", canaryTrafficPercent=0)
        until(lambda: set(world.tally(host, 20)) == {"two"}, "the canary to be without calls")
        world.service("split", "two")
        until(lambda: len(running(world, "split")) == 1, "one replica alone", 90)
        assert set(world.tally(host, 20)) == {"two"}
    finally:
        over.set()
        for one in threads:
            one.join()
    assert set(ends) == {""}, ends
    assert ends[""] > 500
    world.delete("split")


def test_rules_shadows_and_time_outs_of_a_file_of_our_own(world: World) -> None:
    world.apply(
        {
            "apiVersion": "tiffin.dev/v1",
            "kind": "Deployment",
            "metadata": {"name": "rules"},
            "spec": {
                **program("main"),
                "timeout": 2,
                "variants": {
                    "beta": {**program("beta"), "weight": 0},
                    "shade": {**program("shade"), "mirror": 100},
                },
                "traffic": {
                    "rules": [{"header": {"x-team": "beta", "x-region": {"prefix": "eu-"}}, "to": "beta"}]
                },
            },
        }
    )
    host = world.host("rules", "tiffin")
    world.until_answers(host, x_team="beta", x_region="eu-west")
    assert world.tally(host, 20) == {"main": 20}
    assert world.tally(host, 20, x_team="beta", x_region="eu-west") == {"beta": 20}
    assert world.tally(host, 5, x_team="beta", x_region="us") == {"main": 5}
    assert world.tally(host, 5, x_team="betamax", x_region="eu-1") == {"main": 5}
    shade = until(lambda: called(world, "shade"), "the shadow's replica")
    before = len(shade)
    assert world.tally(host, 25) == {"main": 25}
    until(lambda: len(called(world, "shade")) >= before + 25, "copies of the calls")
    assert world.gateway.call(host, "/slow")[0] == 504
    world.delete("rules", "tiffin")


def test_users_of_seldon_call_its_path_on_any_host(world: World) -> None:
    def predictor(name: str, traffic: int) -> dict[str, Any]:
        own = {**container(name, 9000), "name": "classifier"}
        spec = {"spec": {"containers": [own]}}
        graph = {"name": "classifier", "type": "MODEL"}
        return {"name": name, "traffic": traffic, "componentSpecs": [spec], "graph": graph}

    world.apply(
        {
            "apiVersion": "machinelearning.seldon.io/v1",
            "kind": "SeldonDeployment",
            "metadata": {"name": "income"},
            "spec": {"predictors": [predictor("a", 70), predictor("b", 30)]},
        }
    )
    path = "/seldon/default/income/api/v1.0/predictions"
    until(lambda: world.status("income", "sdep").get("state") == "Available", "it to be available")
    world.until_answers("any.example.org", path)
    found: Counter[str] = Counter()
    for _ in range(200):
        status, answer = world.gateway.call("any.example.org", path, {"data": {"ndarray": [ROW]}})
        assert status == 200, answer
        assert answer["path"] == "/api/v1.0/predictions"
        found[answer["version"]] += 1
    assert 30 <= found["b"] <= 90, found
    assert world.gateway.call("any.example.org", "/seldon/default/other/api/v1.0/predictions")[0] == 404
    world.delete("income", "sdep")


def test_grpc_goes_by_the_same_host_name(world: World) -> None:
    grpc = pytest.importorskip("tritonclient.grpc")
    import numpy

    model = {"uri": "s3://models/iris", "format": "sklearn"}
    world.apply(
        {
            "apiVersion": "tiffin.dev/v1",
            "kind": "Deployment",
            "metadata": {"name": "spoken"},
            "spec": {"model": model, "grpc": True},
        }
    )
    host = world.host("spoken", "tiffin")
    world.until_answers(host, "/v2/health/ready")
    with grpc.InferenceServerClient(
        f"127.0.0.1:{world.gateway.port}", channel_args=[("grpc.default_authority", host)]
    ) as client:
        tensor = grpc.InferInput("x", [1, 4], "FP64")
        tensor.set_data_from_numpy(numpy.array([ROW]))
        until(lambda: client.is_server_ready(client_timeout=5), "gRPC through the gateway")
        answer = client.infer("spoken", [tensor], client_timeout=20)
    (output,) = answer.get_response().outputs
    assert answer.as_numpy(output.name).tolist() == [1]
    world.delete("spoken", "tiffin")


def test_a_route_that_the_gateway_refuses_is_said_in_the_status(world: World) -> None:
    world.service("refused", "one")
    host = world.host("refused")
    world.until_answers(host)

    def ingress() -> dict[str, Any]:
        conditions = world.status("refused")["conditions"]
        return next(dict(one) for one in conditions if one["type"] == "IngressReady")

    world.apply(settings(gateway={"name": "tiffin", "namespace": NAMESPACE, "section": "nowhere"}))
    until(lambda: ingress()["status"] == "False", "the refusal in the status")
    assert ingress()["reason"] == "NoMatchingParent"
    assert "refused" in ingress()["message"]
    world.apply(settings())
    until(lambda: ingress()["status"] == "True", "the route to be taken again")
    world.until_answers(host)
    world.delete("refused")


def test_the_first_calls_after_zero_are_held_and_answered(world: World, tmp_path: Path) -> None:
    with addresses(first=50, count=1) as (address,):
        command = [
            sys.executable,
            "-m",
            "tiffin.operator.activator",
            "--kubeconfig",
            str(world.cluster.kubeconfig),
        ]
        command += ["--namespace", NAMESPACE, "--host", address, "--leave-seconds", "0", "--grace-seconds", "0"]
        labels = {"app.kubernetes.io/name": "tiffin-activator"}
        with (tmp_path / "activator.log").open("wb") as log:
            activator = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            world.apply(own_pod("activator", labels))
            say_ready(world.cluster, NAMESPACE, "activator", address)
            world.service("zero", "one", annotations={"autoscaling.knative.dev/window": "6s"}, minReplicas=0)
            host = world.host("zero")
            world.until_answers(host)
            until(lambda: not running(world, "zero"), "the last replica to go", 120)
            # The later ones come while the route could be gone, if it went with the activator's part in it.
            for path in ("/first", "/second", "/third"):
                status, answer = world.gateway.call(host, path)
                assert (status, answer["path"]) == (200, path), answer
            assert running(world, "zero")
        finally:
            print((tmp_path / "activator.log").read_text()[-2000:])
            world.delete("zero")
            world.cluster.kubectl("delete", "pod", "activator", "-n", NAMESPACE, "--force", "--grace-period=0")
            activator.terminate()
            activator.wait(30)


def test_an_ingress_leads_in_where_no_gateway_is_named(world: World, tmp_path: Path) -> None:
    contour = clusters.program("contour", clusters.assets())
    gateway = Gateway(world.cluster, contour, tmp_path, clusters.free_port, is_plain=True)
    try:
        world.apply(settings(gateway=None))
        world.service("plain", "one")
        host = world.host("plain")
        until(lambda: gateway.call(host)[0] == 200, "an answer through the Ingress")
        until(lambda: gateway.call("plain-predictor-default.example.com")[0] == 200, "its part")
        assert world.cluster.get("httproute", "plain", "-n", NAMESPACE) is None
    finally:
        print(gateway.log())
        world.apply(settings())
        world.delete("plain")
        gateway.stop()


def program(version: str) -> dict[str, Any]:
    return {"container": {"image": "none", "port": 8000}, "env": {"VERSION": version}}


def called(world: World, version: str) -> list[str]:
    """The paths that replicas of a version were asked for."""
    there = [one for one in list(world.kubelet.servers.values()) if isinstance(one, Echo)]
    return [path for one in there if one.version == version for path in ["", *one.calls]]


def settled(world: World, name: str) -> bool:
    route = world.cluster.get("httproute", name, "-n", NAMESPACE)
    weights = [one["weight"] for one in route["spec"]["rules"][-1]["backendRefs"]]
    return len(weights) == 2


def tagged(world: World, name: str) -> bool:
    return world.cluster.get("httproute", f"{name}-tag-canary", "-n", NAMESPACE) is not None


def running(world: World, name: str) -> list[str]:
    path = f"/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=tiffin.dev/deployment={name}"
    return [one["metadata"]["name"] for one in ask(world.cluster, "GET", path)["items"]]
