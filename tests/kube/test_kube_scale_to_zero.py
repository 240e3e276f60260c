"""From one replica to none and back: operator, activator and Kubernetes' own controllers, all real.

Only kubelets are missing. What they would say of a pod, the test says; the pod's process is a server of this one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.integration.activator_world import call, pod
from tests.kube.operator_world import Operator, apply, define, until
from tests.kube.test_kube_activator import machine_address, page

from tiffin.kube import names
from tiffin.operator.activator.pages import PORT as PAGES_PORT

SERVICE = "iris-predictor"


class Replica:
    """Answers calls with how many there were, and its page of metrics."""

    def __init__(self) -> None:
        self.calls = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                return
            if head.startswith(b"GET /metrics "):
                body = b'tiffin_requests_total{endpoint="/x"} %d\ntiffin_in_flight 1\n' % self.calls
            else:
                self.calls += 1
                body = b"call %d" % self.calls
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
            await writer.drain()


def own_pod(name: str, labels: dict[str, str]) -> dict[str, Any]:
    spec = {"containers": [{"name": "main", "image": "none"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec}


def place(cluster: Any, namespace: str, name: str, node: str) -> None:
    """What a scheduler does; a pod without a node is in no EndpointSlice."""
    binding = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": name},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    }
    path = f"/api/v1/namespaces/{namespace}/pods/{name}/binding"
    cluster.kubectl("create", "--raw", path, "-f", "-", given=json.dumps(binding))


def say_ready(cluster: Any, namespace: str, name: str, address: str) -> None:
    """What a kubelet says of a pod whose containers run and are ready."""
    conditions = [{"type": one, "status": "True"} for one in ("Initialized", "ContainersReady", "Ready")]
    status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": conditions}
    change = json.dumps({"status": status})
    cluster.kubectl("patch", "pod", name, "-n", namespace, "--subresource=status", "--type=merge", "-p", change)


@pytest.mark.slow
def test_the_last_replica_goes_when_nobody_calls_and_the_next_call_brings_one(
    own_cluster: Any, tmp_path: Path
) -> None:
    cluster, namespace, address = own_cluster, "default", machine_address()
    with contextlib.closing(socket.socket()) as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            free.bind((address, PAGES_PORT))
        except OSError:
            pytest.skip(f"something else listens on port {PAGES_PORT}, which is the activator's")
    define(cluster)

    def deployment() -> Any:
        return cluster.get("deploy", SERVICE, "-n", namespace)

    def pods() -> list[str]:
        listed = cluster.get("pods", "-n", namespace, "-l", names.DEPLOYMENT)
        items = listed["items"] if listed else ()
        return [one["metadata"]["name"] for one in items if not one["metadata"].get("deletionTimestamp")]

    def own_slice() -> Any:
        return cluster.get("endpointslice", f"{SERVICE}-activator", "-n", namespace)

    def scenario(port: int) -> None:
        predictor = {
            "minReplicas": 0,
            "containers": [{"name": "kserve-container", "image": "none", "ports": [{"containerPort": port}]}],
        }
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": namespace}}
        cluster.kubectl("create", "-f", "-", given=json.dumps(node))
        apply(
            cluster,
            namespace,
            own_pod("activator", {"app.kubernetes.io/name": "tiffin-activator"}),
            {
                "apiVersion": "serving.kserve.io/v1beta1",
                "kind": "InferenceService",
                "metadata": {"name": "iris", "annotations": {"autoscaling.knative.dev/window": "6s"}},
                "spec": {"predictor": predictor},
            },
        )
        say_ready(cluster, namespace, "activator", address)
        (first,) = until(pods, "the first pod")
        place(cluster, namespace, first, namespace)
        say_ready(cluster, namespace, first, address)
        until(lambda: deployment()["metadata"].get("annotations", {}).get(names.HELD), "the mark")
        until(own_slice, "the activator's slice")
        until(lambda: deployment()["spec"].get("replicas") == 0, "none")
        cluster.kubectl("delete", "pod", first, "-n", namespace, "--grace-period=0", "--force")
        until(lambda: not pods(), "the pod to go")
        # What the call brings has to stay while the test looks at it, however slow the machine is.
        window = "autoscaling.knative.dev/window=30m"
        cluster.kubectl("annotate", "--overwrite", "isvc/iris", window, "-n", namespace)
        # Pods carry the annotations of their InferenceService, so this is another revision.
        revision = "iris-00002"
        until(lambda: deployment()["metadata"]["annotations"][names.REVISION] == revision, "the longer window")
        (entry,) = own_slice()["ports"]
        assert own_slice()["endpoints"][0]["addresses"] == [address]
        until(lambda: "tiffin_activator_ports 1\n" in (page(PAGES_PORT, "/metrics", address) or ""), "its port")
        calling = asyncio.run_coroutine_threadsafe(call(entry["port"], b"x" * 100, address), loop)
        (second,) = until(pods, "a pod for the call")
        assert not calling.done()
        place(cluster, namespace, second, namespace)
        say_ready(cluster, namespace, second, address)
        assert calling.result(30).endswith(b"call 1")
        until(lambda: not own_slice(), "the activator to step out of the path")
        assert names.HELD not in deployment()["metadata"].get("annotations", {})
        assert deployment()["spec"]["replicas"] == 1

    loop = asyncio.new_event_loop()

    async def main() -> None:
        replica = Replica()
        async with pod(replica.handle, address) as (_, port):
            await asyncio.to_thread(scenario, port)

    command = [sys.executable, "-m", "tiffin.operator.activator", "--kubeconfig", str(cluster.kubeconfig)]
    command += ["--namespace", namespace, "--host", address, "--leave-seconds", "0", "--grace-seconds", "0"]
    with (
        (tmp_path / "activator.log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log) as activator,
        Operator(cluster, namespace, tmp_path / "operator.log", "--no-election") as operator,
    ):
        operator.ready()
        try:
            loop.run_until_complete(main())
        finally:
            print((tmp_path / "activator.log").read_text()[-2000:], operator.log()[-5000:])
            activator.send_signal(signal.SIGTERM)
            cluster.kubectl("delete", "node", namespace)
            loop.close()
    assert activator.returncode == 0
