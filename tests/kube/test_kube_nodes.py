"""Played nodes, and the kinds of other projects, for the tests of the Kubernetes target."""

import json

import pytest
from tests.kube.operator_world import until

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: nothing, ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
"""

ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec: {rules: [{backendRefs: [{name: web, port: 80, weight: %s}]}]}
"""

KINDS = (
    "httproutes.gateway.networking.k8s.io",
    "grpcroutes.gateway.networking.k8s.io",
    "scaledobjects.keda.sh",
    "services.serving.knative.dev",
    "podmonitors.monitoring.coreos.com",
    "servicemonitors.monitoring.coreos.com",
    "certificates.cert-manager.io",
)


def test_pods_become_ready_and_go(nodes, namespace):
    nodes.kubectl("apply", "-n", namespace, "-f", "-", given=DEPLOYMENT)
    nodes.kubectl("rollout", "status", "deployment/web", "-n", namespace, "--timeout=60s")

    def addresses() -> int:
        listed = nodes.get("endpointslices", "-n", namespace, "-l", "kubernetes.io/service-name=web")
        return sum(len(each["endpoints"] or ()) for each in (listed or {}).get("items", ()))

    # The controller of the slices hears of ready pods when the one of Deployments does, and may be the later one.
    until(lambda: addresses() == 3, "all pods in the slices")
    nodes.kubectl("scale", "deployment/web", "-n", namespace, "--replicas=0")
    nodes.kubectl("wait", "--for=delete", "pod", "-l", "app=web", "-n", namespace, "--timeout=60s")
    assert nodes.get("pods", "-n", namespace) is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_of_another_project_is_served(kinds_of_others, namespace, kind):
    assert json.loads(kinds_of_others.kubectl("get", kind, "-n", namespace, "-o", "json").stdout)["items"] == []


def test_those_kinds_have_their_own_rules(kinds_of_others, namespace):
    kinds_of_others.kubectl("apply", "-n", namespace, "-f", "-", given=ROUTE % "90")
    with pytest.raises(AssertionError, match="weight"):
        kinds_of_others.kubectl("apply", "-n", namespace, "-f", "-", given=ROUTE % "-1")
