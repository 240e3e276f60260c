"""Objects that a KServe of raw deployments made are taken over in place: none is deleted, pods are rolled."""

import asyncio
from pathlib import Path
from typing import Any

import yaml

from tiffin.kube import client
from tiffin.kube.client import Kind
from tiffin.operator.applying import Applier
from tiffin.operator.cache import Cache

KINDS = {
    "Deployment": Kind("apps", "v1", "Deployment", "deployments"),
    "Service": Kind("", "v1", "Service", "services"),
}
GOLDEN = Path(__file__).parents[1] / "unit" / "kube" / "golden" / "kserve-sklearn.yaml"
KSERVES = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: iris-predictor, labels: {app: isvc.iris-predictor, component: predictor}}
spec:
  replicas: 3
  selector: {matchLabels: {app: isvc.iris-predictor}}
  template:
    metadata: {labels: {app: isvc.iris-predictor, component: predictor}}
    spec:
      containers:
      - name: kserve-container
        image: kserve/sklearnserver:v0.15.0
        args: [--model_name=iris, --model_dir=/mnt/models, --http_port=8080]
        ports: [{name: user-port, containerPort: 8080, protocol: TCP}]
        readinessProbe: {tcpSocket: {port: 8080}}
---
apiVersion: v1
kind: Service
metadata: {name: iris-predictor}
spec:
  selector: {app: isvc.iris-predictor}
  ports: [{name: iris-predictor, port: 80, targetPort: 8080, protocol: TCP}]
"""


async def applied(cluster: Any, manifests: list[dict[str, Any]]) -> None:
    """As the operator does it."""
    async with client.connect(kubeconfig=cluster.kubeconfig) as api:
        cache = Cache()
        for manifest in manifests:
            kind = KINDS[manifest["kind"]]
            metadata = manifest["metadata"]
            cache.put(kind, await api.get(kind, metadata["namespace"], metadata["name"]))
            assert await Applier(api, cache).apply(kind, manifest)
            assert not await Applier(api, cache).apply(kind, manifest)


def test_what_kserve_made_becomes_tiffins_in_place(cluster: Any, namespace: str) -> None:
    cluster.kubectl("create", "-n", namespace, "-f", "-", given=KSERVES)
    before = cluster.get("deployment", "iris-predictor", "-n", namespace)
    address = cluster.get("service", "iris-predictor", "-n", namespace)["spec"]["clusterIP"]
    manifests = list(yaml.safe_load_all(GOLDEN.read_text()))
    for manifest in manifests:
        manifest["metadata"]["namespace"] = namespace
        del manifest["metadata"]["ownerReferences"]  # The golden file's owner is not there.
    asyncio.run(applied(cluster, manifests))
    after = cluster.get("deployment", "iris-predictor", "-n", namespace)
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["spec"]["selector"] == before["spec"]["selector"]
    assert after["spec"]["replicas"] == 3  # Whoever scales it goes on.
    assert after["spec"]["strategy"]["type"] == "RollingUpdate"
    (container,) = after["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["python", "-m", "tiffin.runtime"]
    assert container["args"][0] == "--replica-json"
    assert "tcpSocket" not in container["readinessProbe"]
    service = cluster.get("service", "iris-predictor", "-n", namespace)["spec"]
    assert service["clusterIP"] == address
    assert [one["targetPort"] for one in service["ports"]] == [8080]
