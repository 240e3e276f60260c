"""Commands of Tiffin on a cluster: a real API server, the operator's process, nodes that play the kubelet."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.kube import operator_world as world

ISVC = """
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {name: iris}
spec: {predictor: {model: {modelFormat: {name: sklearn}, storageUri: "gs://models/iris"}}}
"""

Tiffin = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def operated(nodes: Any, namespace: str, tmp_path: Path) -> Iterator[Any]:
    world.define(nodes)
    with world.Operator(nodes, namespace, tmp_path / "operator.log", "--no-election"):
        yield nodes


@pytest.fixture
def tiffin(cluster: Any, namespace: str, tmp_path: Path) -> Tiffin:
    """The command, about the cluster; its namespace is that of the kubeconfig's context."""
    config = json.loads(cluster.kubeconfig.read_text())
    config["contexts"][0]["context"]["namespace"] = namespace
    own = tmp_path / "own.kubeconfig"
    own.write_text(json.dumps(config))

    def run(*arguments: str, given: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tiffin", *arguments],
            env={**os.environ, "KUBECONFIG": str(own), "TIFFIN_HOME": str(tmp_path / "home"), **environment},
            input=given,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


def said(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_is_applied_is_shown_as_on_one_machine_and_goes(
    operated: Any, namespace: str, tiffin: Tiffin
) -> None:
    there = ("-n", namespace, "--target", "kubernetes")
    assert f"{namespace}/iris created" in said(tiffin("apply", "-f", "-", "--target", "kubernetes", given=ISVC))
    assert f"{namespace}/iris is ready" in said(tiffin("wait", "iris", *there))
    assert f"{namespace}/iris unchanged" in said(tiffin("apply", "-f", "-", "--context", "test", given=ISVC))
    (header, row) = said(tiffin("get", *there)).splitlines()
    assert header.split() == ["NAME", "READY", "URL", "REVISION", "TRAFFIC", "REPLICAS", "AGE"]
    assert row.split()[:2] == ["iris", "True"]
    assert "1/1" in row
    shown = said(tiffin("describe", "iris", *there))
    assert "sklearn model gs://models/iris" in shown
    assert "iris-00001  Ready, 100% of the calls, 1/1 replicas" in shown
    (item,) = json.loads(said(tiffin("get", "--json", *there)))["items"]
    assert item["metadata"]["name"] == "iris"
    assert json.loads(said(tiffin("get", "iris", "-o", "json", *there)))["status"]["url"]
    assert "RevisionCreated" in said(tiffin("events", "iris", *there))
    assert "iris-00001" in said(tiffin("rollout", "history", "iris", *there))
    assert "iris-predictor-" in said(tiffin("get", "replicas", *there))
    assert f"{namespace}/iris deleted" in said(tiffin("delete", "iris", "--wait", *there))
    assert operated.get("isvc", "iris", "-n", namespace) is None


def test_what_names_no_namespace_is_in_that_of_the_context(operated: Any, namespace: str, tiffin: Tiffin) -> None:
    there = ("--target", "kubernetes")
    said(tiffin("apply", "-f", "-", "--wait", *there, given=ISVC))
    assert said(tiffin("get", "-o", "name", *there)) == "deployments/iris\n"
    assert json.loads(said(tiffin("get", "iris", "--json", *there)))["metadata"]["namespace"] == namespace
    assert "sklearn model gs://models/iris" in said(tiffin("describe", "iris", *there))
    assert "RevisionCreated" in said(tiffin("events", *there))
    assert said(tiffin("diff", "-f", "-", *there, given=ISVC)) == ""
    changed = ISVC.replace("gs://models/iris", "gs://models/iris/2")
    planned = tiffin("plan", "-f", "-", *there, given=changed)
    assert planned.returncode == 2, planned.stderr
    assert f"~ {namespace}/iris: configured" in planned.stdout
    assert '"gs://models/iris" -> "gs://models/iris/2"' in planned.stdout
    assert "a new revision of it would be started" in planned.stdout
    assert f"= {namespace}/iris: no change" in said(tiffin("plan", "-f", "-", *there, given=ISVC))
    differs = tiffin("diff", "-f", "-", *there, given=changed)
    assert differs.returncode == 1
    lines = [line for line in differs.stdout.splitlines() if line[0] in "+-" and line[:3] not in ("+++", "---")]
    assert lines == ["-      storageUri: gs://models/iris", "+      storageUri: gs://models/iris/2"]
    # Another one of that name, which nobody speaks of.
    other = ISVC.replace("name: iris", "name: iris, namespace: default", 1)
    operated.kubectl("apply", "-f", "-", given=other)
    try:
        assert f"{namespace}/iris deleted" in said(tiffin("delete", "-f", "-", "--wait", *there, given=ISVC))
        assert operated.get("isvc", "iris", "-n", namespace) is None
        assert operated.get("isvc", "iris", "-n", "default") is not None
    finally:
        operated.kubectl("delete", "isvc", "iris", "-n", "default")


def test_what_is_wrong_is_said_before_and_after_it_is_applied(
    operated: Any, namespace: str, tiffin: Tiffin
) -> None:
    wrong = ISVC.replace("modelFormat: {name: sklearn}", "modelFormat: {name: sklearn}, runtimez: x")
    done = tiffin("apply", "-f", "-", "--target", "kubernetes", given=wrong)
    assert done.returncode == 1
    assert 'did you mean "runtime"' in done.stderr
    world.apply(operated, namespace, {**world.inference_service("local")})
    patch = '{"spec":{"predictor":{"model":{"storageUri":"./model"}}}}'
    operated.kubectl("patch", "isvc", "local", "-n", namespace, "--type=merge", "-p", patch)
    shown = said(tiffin("describe", "local", "-n", namespace, "--target", "kubernetes"))
    assert "expected an address that the cluster reaches, found ./model" in shown


def test_the_plugin_of_kubectl_is_about_a_cluster(operated: Any, namespace: str, tiffin: Tiffin) -> None:
    world.apply(operated, namespace, world.inference_service("iris"))
    done = tiffin("get", "-n", namespace, TIFFIN_TARGET="kubernetes")
    assert "iris" in said(done)
    plugin = Path(sys.executable).with_name("kubectl-tiffin")
    if not plugin.exists():
        pytest.skip("kubectl-tiffin is not installed beside this Python: pip install -e .")
    path = os.pathsep.join([str(plugin.parent), os.environ.get("PATH", "")])
    done = subprocess.run(
        [operated.binaries / "kubectl", "tiffin", "get", "-n", namespace],
        env={**operated.environment(), "PATH": path},
        capture_output=True,
        text=True,
    )
    assert "iris" in said(done)


def test_a_cluster_that_is_not_there_is_said(tiffin: Tiffin) -> None:
    done = tiffin("get", "--context", "elsewhere")
    assert done.returncode == 1
    assert "no cluster is known" in done.stderr
    assert "kubectl config get-contexts" in done.stderr
    assert "Traceback" not in done.stderr


def test_numbers_are_changed_in_the_object(operated: Any, namespace: str, tiffin: Tiffin) -> None:
    world.apply(operated, namespace, world.inference_service("iris"))
    done = tiffin("scale", "iris", "--replicas", "2", "-n", namespace, "--target", "kubernetes")
    assert done.returncode == 1
    assert "change minReplicas and maxReplicas" in done.stderr
