"""The activator's own process against a real API server; a pod is a server of this process, behind our own slice.

Nodes are missing here, so nobody runs pods: what kubelet and the endpoints' controller would do, the test does.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.activator_world import HOST, call, free_port, http_pod, pod

from tiffin.kits.waiting import until
from tiffin.kube import names

LABELS = {names.MANAGED: "tiffin"}
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: iris-predictor}
spec:
  replicas: 0
  selector: {matchLabels: {app: iris}}
  template:
    metadata: {labels: {app: iris}}
    spec: {containers: [{name: kserve-container, image: none}]}
"""


def service(port: int) -> str:
    return f"""
apiVersion: v1
kind: Service
metadata:
  name: iris-predictor
  labels: {{{names.MANAGED}: tiffin}}
  annotations: {{{names.PORT}: "{port}", {names.HOLD_SECONDS}: "30", {names.ACTIVATION}: "2"}}
spec:
  selector: {{app: iris}}
  ports: [{{name: http, port: 80, targetPort: 8080}}]
"""


def slices(address: str, port: int) -> str:
    return f"""
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: iris-predictor-x1
  labels: {{{names.MANAGED}: tiffin, kubernetes.io/service-name: iris-predictor}}
addressType: IPv4
ports: [{{name: http, port: {port}}}]
endpoints: [{{addresses: ["{address}"], conditions: {{ready: true}}}}]
"""


@pytest.fixture
def activator(cluster: Any, namespace: str, tmp_path: Path) -> Iterator[int]:
    """The port of its pages."""
    port = free_port()
    with (tmp_path / "activator.log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "tiffin.operator.activator", "--kubeconfig", str(cluster.kubeconfig)),
                *("--namespace", namespace, "--pages-port", str(port), "--leave-seconds", "0"),
                *("--grace-seconds", "1"),
            ],
            stderr=log,
            stdout=log,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
    try:
        yield port
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.wait()
        print((tmp_path / "activator.log").read_text()[-3000:])


def page(port: int, path: str, host: str = HOST) -> str | None:
    try:
        with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=5) as answer:
            return str(answer.read().decode())
    except OSError:
        return None


def test_the_first_call_is_answered_by_a_replica_that_it_asked_for(
    cluster: Any, namespace: str, activator: int
) -> None:
    port = free_port()
    for manifest in (DEPLOYMENT, service(port)):
        cluster.kubectl("apply", "-n", namespace, "-f", "-", given=manifest)

    def replicas() -> int:
        return int(cluster.get("deploy", "iris-predictor", "-n", namespace)["spec"]["replicas"])

    async def scenario() -> None:
        async def ready() -> bool | None:
            said = await asyncio.to_thread(page, activator, "/metrics")
            return True if said and "\ntiffin_activator_ports 1\n" in said else None

        assert await until(ready, seconds=30)
        assert await asyncio.to_thread(page, activator, "/readyz") == "ok\n"
        # An API server takes no slice with an address of the loopback.
        async with pod(http_pod, machine_address()) as (address, outside):
            waiting = asyncio.create_task(call(port, b"x" * 1000))

            async def asked() -> bool | None:
                return True if await asyncio.to_thread(replicas) == 2 else None

            assert await until(asked, seconds=20, every_seconds=0.2)
            said = await asyncio.to_thread(page, activator, "/metrics") or ""
            assert f'tiffin_activator_held{{namespace="{namespace}",service="iris-predictor"}} 1\n' in said
            assert not waiting.done()
            await asyncio.to_thread(
                cluster.kubectl, "apply", "-n", namespace, "-f", "-", given=slices(address, outside)
            )
            assert (await asyncio.wait_for(waiting, 20)).endswith(b'{"length": 1000}')
            assert (await asyncio.wait_for(call(port), 20)).endswith(b'{"length": 2}')
            await asyncio.to_thread(cluster.kubectl, "delete", "-n", namespace, "endpointslice", "--all")
            late = asyncio.create_task(call(port))

            async def held() -> bool | None:
                said = await asyncio.to_thread(page, activator, "/metrics") or ""
                return True if 'iris-predictor"} 1\n' in said.partition("holds_total")[0] else None

            assert await until(held, seconds=20)
            await asyncio.to_thread(cluster.kubectl, "delete", "-n", namespace, "service", "iris-predictor")
            assert b"was deleted" in await asyncio.wait_for(late, 20)

    asyncio.run(scenario())


def machine_address() -> str:
    """An address of this machine that is not the loopback's."""
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        try:
            one.connect(("192.0.2.1", 9))
            found = str(one.getsockname()[0])
        except OSError:
            found = "127.0.0.1"
    if found.startswith("127."):
        pytest.skip("this machine has no address beside the loopback's, which EndpointSlices may not have")
    return found
