"""What a cluster serves, and the settings, may change while the operator runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.kube.operator_world import Operator, apply, define, inference_service, until

from tiffin.kube import crds

ROUTES = "gateway.networking.k8s.io"
GROUPS = ("inferenceservices.serving.kserve.io", "servingruntimes.serving.kserve.io")


@pytest.fixture
def operator(cluster: Any, namespace: str, tmp_path: Path) -> Any:
    with Operator(cluster, namespace, tmp_path / "operator.log", "--no-election") as found:
        yield found.ready()


def definition(group: str, kind: str, plural: str) -> dict[str, Any]:
    """A stand-in: the name is all that counts here."""
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{plural}.{group}",
            "annotations": {"api-approved.kubernetes.io": "unapproved, a test's"},
        },
        "spec": {
            "group": group,
            "names": {"kind": kind, "plural": plural},
            "scope": "Namespaced",
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }


def settings(**fields: Any) -> dict[str, Any]:
    text = json.dumps(fields)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "tiffin-settings"},
        "data": {"settings.yaml": text},
    }


def test_the_operators_own_kinds_may_come_after_it(cluster, namespace, operator):
    if cluster.get("crd", GROUPS[0]):
        cluster.kubectl("delete", "crd", *GROUPS, "--ignore-not-found")
        until(lambda: "inferenceservices is not served any more" in operator.log(), "the watch to end")
    given = "\n".join(msgspec.json.encode(one).decode() for one in crds.manifests())
    cluster.kubectl("apply", "--server-side", "-f", "-", given=given)
    cluster.kubectl("wait", "--for=condition=Established", "crd", *GROUPS, "--timeout=60s")
    apply(cluster, namespace, inference_service("iris"))
    until(lambda: cluster.get("deploy", "iris-predictor", "-n", namespace), "a Deployment")
    assert operator.process.poll() is None


def test_the_gateway_api_is_used_from_when_it_is_there_until_it_goes(cluster, namespace, operator):
    define(cluster)
    if cluster.get("crd", f"httproutes.{ROUTES}"):
        pytest.skip("another test has brought the Gateway API, and needs it")
    apply(cluster, namespace, inference_service("iris"))
    until(lambda: cluster.get("service", "iris-predictor", "-n", namespace), "a Service")
    cluster.kubectl("apply", "-f", "-", given=json.dumps(definition(ROUTES, "HTTPRoute", "httproutes")))
    # Nobody runs pods here, and nothing is routed to what never was ready.
    status = {"replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1}
    change = json.dumps({"status": status | {"observedGeneration": 99}})
    where = ("deploy", "iris-predictor", "-n", namespace, "--subresource=status")
    cluster.kubectl("patch", *where, "--type=merge", "-p", change)
    try:
        cluster.kubectl("wait", "--for=condition=Established", f"crd/httproutes.{ROUTES}", "--timeout=60s")
        until(lambda: (cluster.get(f"httproutes.{ROUTES}", "-n", namespace) or {}).get("items"), "an HTTPRoute")
    finally:
        cluster.kubectl("delete", "crd", f"httproutes.{ROUTES}")
    until(lambda: "httproutes is not served any more" in operator.log(), "the watch to end")
    operator.settle()
    failures = operator.number("tiffin_operator_failures_total")
    cluster.kubectl("delete", "service", "iris-predictor", "-n", namespace)
    until(lambda: cluster.get("service", "iris-predictor", "-n", namespace), "the Service again")
    operator.settle()
    assert operator.number("tiffin_operator_failures_total") == failures, operator.log()


def test_settings_are_followed_and_bad_ones_leave_those_before(cluster, namespace, operator):
    define(cluster)
    apply(cluster, namespace, inference_service("iris"))
    until(lambda: cluster.get("deploy", "iris-predictor", "-n", namespace), "a Deployment")

    def image() -> str:
        template = cluster.get("deploy", "iris-predictor", "-n", namespace)["spec"]["template"]
        return template["spec"]["containers"][0]["image"]

    apply(cluster, namespace, settings(runtimeImage="here/runtime:2"))
    until(lambda: image() == "here/runtime:2", "the image of the settings")
    apply(cluster, namespace, settings(runtimeImage="here/runtime:3", noSuchField=1))
    until(lambda: "noSuchField" in operator.log(), "a word about the field")
    operator.settle()
    assert image() == "here/runtime:2"
    apply(cluster, namespace, settings(runtimeImage="here/runtime:4"))
    until(lambda: image() == "here/runtime:4", "the image of settings that are right again")


def test_an_operator_that_does_not_understand_its_settings_says_so_and_ends(cluster, namespace):
    apply(cluster, namespace, settings(domain="models.example.com", ofALaterRelease=True))
    words = ["--namespace", namespace, "--no-election", "--port", "0", "--kubeconfig", str(cluster.kubeconfig)]
    done = subprocess.run(
        [sys.executable, "-m", "tiffin.operator", *words], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 3
    said = done.stdout + done.stderr
    assert "ofALaterRelease" in said
    assert "hint: apply what `tiffin install` of this version prints" in said
