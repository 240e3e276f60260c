"""The control plane that the tests of the Kubernetes target use."""

import pytest

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: nothing}]}
"""


def test_it_keeps_what_is_applied(cluster, namespace):
    cluster.kubectl("apply", "--server-side", "-n", namespace, "-f", "-", given=DEPLOYMENT)
    assert cluster.get("deployment", "web", "-n", namespace)["spec"]["replicas"] == 2
    assert cluster.get("deployment", "other", "-n", namespace) is None


def test_it_refuses_what_is_no_object(cluster, namespace):
    wrong = DEPLOYMENT.replace("replicas", "replicaz")
    with pytest.raises(AssertionError, match="replicaz"):
        cluster.kubectl("apply", "--server-side", "--validate=strict", "-n", namespace, "-f", "-", given=wrong)


def test_what_was_applied_is_there_after_a_restart(cluster, namespace):
    cluster.kubectl("apply", "-n", namespace, "-f", "-", given=DEPLOYMENT)
    cluster.stop_server()
    assert not cluster.is_running("kube-apiserver")
    cluster.start_server()
    assert cluster.get("deployment", "web", "-n", namespace) is not None
