"""What tests of a real node share: Tiffin installed as its users install it, models and a registry to ask."""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.kube import cluster as clusters
from tests.kube import node as nodes
from tests.kube.operator_world import until

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "examples" / "01-kserve-iris" / "model" / "model.joblib"
HOME = "tiffin-system"
SECONDS = 240.0
"""How long a pod may take to run, be asked, or go, on machines of any speed."""
# Two flowers of the KServe documentation, and what its model says they are.
INPUT = {
    "name": "input-0",
    "shape": [2, 4],
    "datatype": "FP64",
    "data": [[6.8, 2.8, 4.8, 1.4], [6.0, 3.4, 4.5, 1.6]],
}
ANSWER = [1, 1]


class Live(NamedTuple):
    """A cluster with a real node, on which Tiffin's programs are Available as pods."""

    cluster: Any
    node: Any
    address: str

    def command(self, *words: str, home: Path, namespace: str = "live") -> subprocess.CompletedProcess[str]:
        """``tiffin`` as somebody types it, about this cluster; ``namespace`` is that of the context."""
        config = json.loads(self.cluster.kubeconfig.read_text())
        config["contexts"][0]["context"]["namespace"] = namespace
        own = home / "kubeconfig"
        own.parent.mkdir(parents=True, exist_ok=True)
        own.write_text(json.dumps(config))
        return subprocess.run(
            [sys.executable, "-m", "tiffin", *words],
            env={**os.environ, "KUBECONFIG": str(own), "TIFFIN_HOME": str(home)},
            capture_output=True,
            text=True,
            timeout=2 * SECONDS,
        )

    def pods(self, selector: str, namespace: str = "live") -> dict[str, str]:
        """Name to address of pods that are Ready and not about to end."""
        found = (self.cluster.get("pods", "-n", namespace, "-l", selector) or {"items": []})["items"]
        return {
            pod["metadata"]["name"]: pod["status"]["podIP"]
            for pod in found
            if "deletionTimestamp" not in pod["metadata"]
            and any(
                each["type"] == "Ready" and each["status"] == "True"
                for each in pod["status"].get("conditions", [])
            )
        }

    def service(self, name: str, namespace: str = "live") -> str:
        """The address of a Service, for pods and for this machine."""
        return str(self.cluster.get("service", name, "-n", namespace)["spec"]["clusterIP"])


@contextlib.contextmanager
def installed(archive: Path) -> Iterator[Live]:
    """What `tiffin install` prints is applied, and runs; raises Missing."""
    with (
        nodes.bridge() as address,
        clusters.running(address=address) as cluster,
        nodes.joined(cluster) as node,
    ):
        node.load(archive)
        done = subprocess.run(
            [sys.executable, "-m", "tiffin", "install"], check=True, capture_output=True, text=True
        )
        cluster.kubectl("apply", "--server-side", "-f", "-", given=done.stdout)
        live = Live(cluster, node, address)
        for name in ("tiffin-operator", "tiffin-activator"):
            until(
                lambda name=name: live.pods(f"app.kubernetes.io/name={name}", HOME),  # type: ignore[misc]
                f"{name} to be Ready",
                SECONDS,
            )
        cluster.kubectl("create", "namespace", "live")
        yield live
        cluster.kubectl("delete", "isvc,sdep,tiffin", "--all", "-n", "live", "--timeout=100s")
        cluster.kubectl("wait", "--for=delete", "pod", "--all", "-n", "live", "--timeout=100s")


def ask(address: str, model: str = "iris") -> list[int]:
    """What a saved model says the two flowers are; ``address`` is host or host:port."""
    request = urllib.request.Request(
        f"http://{address}/v2/models/{model}/infer",
        json.dumps({"inputs": [INPUT]}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:
        found: list[int] = json.loads(answer.read())["outputs"][0]["data"]
    return found


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: Any) -> None:
        pass


@contextlib.contextmanager
def model_server(address: str) -> Iterator[str]:
    """The address of a directory with the model of the first example, for pods to fetch from."""
    handler = functools.partial(_Quiet, directory=str(MODEL.parent))
    server = http.server.ThreadingHTTPServer((address, 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://{address}:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def registry(address: str, directory: Path) -> Iterator[str]:
    """``host:port`` of a real registry in plain HTTP; raises Missing where there is none."""
    binary = shutil.which("docker-registry") or shutil.which("registry")
    if binary is None:
        raise clusters.Missing("docker-registry is not installed: `make system-packages`")
    directory.mkdir()
    (directory / "config.yml").write_text(
        "version: 0.1\nlog:\n  level: info\n"
        f"storage:\n  filesystem:\n    rootdirectory: {directory / 'storage'}\n"
        f"http:\n  addr: {address}:0\n  secret: of-the-tests\n"
    )
    log = directory / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [binary, "serve", str(directory / "config.yml")],
            stdout=output,
            stderr=output,
            env={"PATH": "/usr/bin:/bin", "OTEL_TRACES_EXPORTER": "none"},
        )
    try:
        found = until(
            lambda: re.search(rf"listening on ({re.escape(address)}:\d+)", log.read_text()), "the registry"
        )
        yield found[1]
    finally:
        process.terminate()
        process.wait(30)
