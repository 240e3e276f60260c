"""The operator's process, and what it is asked: the definitions, a deployment to look after, its numbers."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from tiffin.kube import crds

SECONDS = 60.0
"""How long anything may take before a test gives up; nothing is slow by design."""

Answer = TypeVar("Answer")


def until(ask: Callable[[], Answer], what: str, seconds: float = SECONDS) -> Answer:
    """The first answer that is true."""
    deadline = time.monotonic() + seconds
    while True:
        answer = ask()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"waited in vain for {what}: {answer!r}"
        time.sleep(0.1)


def define(cluster: Any) -> None:
    """Everybody's kinds, once for a cluster."""
    if cluster.get("crd", "inferenceservices.serving.kserve.io"):
        return
    given = "\n".join(msgspec.json.encode(one).decode() for one in crds.manifests())
    cluster.kubectl("apply", "--server-side", "-f", "-", given=given)
    cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")


def inference_service(name: str, **more: Any) -> dict[str, Any]:
    """A saved model as users of KServe write it."""
    model = {"modelFormat": {"name": "sklearn"}, "storageUri": f"gs://models/{name}"}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name, **more},
        "spec": {"predictor": {"model": model}},
    }


def apply(cluster: Any, namespace: str, *objects: dict[str, Any]) -> None:
    """With the real kubectl."""
    cluster.kubectl("apply", "-n", namespace, "-f", "-", given="\n".join(map(json.dumps, objects)))


class Operator:
    """One process that looks after one namespace, with its log in a file. Ends with the ``with``."""

    def __init__(self, cluster: Any, namespace: str, log: Path, *arguments: str) -> None:
        self._log = log
        command = [sys.executable, "-m", "tiffin.operator", "--port", "0"]
        command += ["--namespace", namespace, "--watch", namespace, "--kubeconfig", str(cluster.kubeconfig)]
        self._start = log.stat().st_size if log.exists() else 0
        with log.open("ab") as output:
            self.process = subprocess.Popen([*command, *arguments], stdout=output, stderr=output)
        self.url = ""

    def __enter__(self) -> Operator:
        self.url = until(self._found_url, "the operator's pages")
        return self

    def __exit__(self, *error: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait(SECONDS)

    def _found_url(self) -> str:
        assert self.process.poll() is None, self.log()
        found = re.search(r"health at (http://[\d.:]+)", self.log())
        return found[1] if found else ""

    def log(self) -> str:
        return self._log.read_bytes()[self._start :].decode(errors="replace")

    def ready(self) -> Operator:
        """Wait until it has seen the cluster."""

        def asked() -> bool:
            assert self.process.poll() is None, self.log()
            return self.page("/readyz") == "ok" and (self.number("tiffin_operator_leader") == 1)

        until(asked, "the operator to be ready")
        return self

    def page(self, path: str) -> str:
        try:
            with urllib.request.urlopen(self.url + path, timeout=10) as answer:
                return answer.read().decode()
        except urllib.error.HTTPError as error:
            return f"{error.code}"

    def number(self, name: str) -> float:
        """One metric."""
        found = re.search(rf"^{re.escape(name)} (\S+)$", self.page("/metrics"), re.MULTILINE)
        assert found, f"{name} is not among the metrics"
        return float(found[1])

    @property
    def writes(self) -> float:
        return self.number('tiffin_operator_api_requests_total{kind="write"}')

    def settle(self) -> Operator:
        """Wait until nothing is left to do: nothing is queued, and looks and writes are as they were before."""
        before: list[tuple[float, ...]] = [()]

        def settled() -> bool:
            assert self.process.poll() is None, self.log()
            looks = self.number("tiffin_operator_reconciliations_total")
            now = (self.number("tiffin_operator_queue"), looks, self.writes)
            was, before[0] = before[0], now
            time.sleep(0.5)
            return was == now

        until(settled, f"the operator to come to rest\n{self.log()[-2000:]}")
        return self

    def kill(self) -> None:
        """As a node that fails does."""
        self.process.kill()
        self.process.wait(SECONDS)
