"""The installation on a real API server: taken as it is, with rights that are enough and not more."""

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tiffin.dialects import live
from tiffin.kube import client, install
from tiffin.kube.install import rights
from tiffin.kube.install.naming import CERTIFICATE, WEBHOOK
from tiffin.kube.install.options import Options
from tiffin.operator.webhook import serving

HOME = "tiffin-system"
REGISTRATION = "ValidatingWebhookConfiguration"
ISVC = """
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {name: iris}
spec: {predictor: {%s model: {modelFormat: {name: sklearn}, storageUri: "s3://models/iris"}}}
"""

GRAPH = """
apiVersion: serving.kserve.io/v1alpha1
kind: InferenceGraph
metadata: {name: g}
spec: {nodes: {root: {routerType: Sequence, steps: [{serviceName: iris}]}}}
"""


def put(cluster: Any, found: Any, *words: str) -> Any:
    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(found)})
    return cluster.kubectl("apply", "--server-side", *words, "-f", "-", given=listed)


@pytest.fixture(scope="module")
def installed(cluster: Any) -> Iterator[Any]:
    """A cluster with everything, but the programs have no nodes to run on."""
    options = Options()
    found = install.manifests(options)
    put(cluster, found, "--force-conflicts")
    names = [f"crd/{one['metadata']['name']}" for one in found if one["kind"] == "CustomResourceDefinition"]
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=60s", *names)
    # Nobody answers behind the operator's Service here, and every object would wait for that.
    cluster.kubectl("delete", "validatingwebhookconfiguration", WEBHOOK)
    yield cluster
    for one in ("deployment", "service", "poddisruptionbudget", "networkpolicy"):
        cluster.kubectl("delete", one, "--all", "-n", HOME, "--wait=false", check=False)


def test_a_second_time_changes_nothing(installed: Any) -> None:
    before = installed.get(
        "clusterrole,role,deployment,configmap", "-n", HOME, "-l", "app.kubernetes.io/part-of=tiffin"
    )
    put(
        installed, [one for one in install.manifests(Options()) if one["kind"] != "ValidatingWebhookConfiguration"]
    )
    after = installed.get(
        "clusterrole,role,deployment,configmap", "-n", HOME, "-l", "app.kubernetes.io/part-of=tiffin"
    )
    versions = [[one["metadata"]["resourceVersion"] for one in listed["items"]] for listed in (before, after)]
    assert versions[0] == versions[1]
    assert versions[0]


def test_definitions_of_somebody_else_are_not_overwritten(cluster: Any) -> None:
    group = "models.example.com"
    found = [one for one in install.manifests(Options()) if one["metadata"]["name"].startswith("inferencegraphs")]
    theirs = json.loads(json.dumps(found[0]).replace("serving.kserve.io", group))
    put(cluster, [theirs], "--field-manager=somebody")
    ours = json.loads(json.dumps(theirs))
    ours["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["description"] = "ours"
    ours["spec"]["scope"] = "Namespaced"
    ours["spec"]["versions"][0]["served"] = False
    listed = json.dumps(ours)
    done = cluster.kubectl("apply", "--server-side", "-f", "-", given=listed, check=False)
    assert done.returncode != 0
    assert "conflict" in done.stderr
    kept = cluster.get("crd", f"inferencegraphs.{group}")
    assert kept["spec"]["versions"][0]["served"] is True
    cluster.kubectl("delete", "crd", f"inferencegraphs.{group}")


def can(cluster: Any, account: str, verb: str, what: str, namespace: str) -> bool:
    words = ["auth", "can-i", verb, what, "-n", namespace, f"--as=system:serviceaccount:{HOME}:{account}"]
    return cluster.kubectl(*words, check=False).stdout.strip() == "yes"


def test_each_program_may_do_what_it_does(installed: Any, namespace: str) -> None:
    for account, rules in (("tiffin-operator", rights.of_operator()), ("tiffin-activator", rights.of_activator())):
        for rule in rules:
            if rule["apiGroups"][0] not in ("", "apps", "serving.kserve.io"):
                continue  # can-i asks discovery, which knows no kinds of parts that are not there
            for resource in rule["resources"]:
                plural, _, part = resource.partition("/")
                group = rule["apiGroups"][0]
                what = f"{plural}.{group}" if group else plural
                words = [f"--subresource={part}"] if part else []
                for verb in rule["verbs"]:
                    done = installed.kubectl(
                        *("auth", "can-i", verb, what, "-n", namespace, *words),
                        f"--as=system:serviceaccount:{HOME}:{account}",
                        check=False,
                    )
                    assert done.stdout.strip() == "yes", f"{account} {verb} {what}/{part}"


@pytest.mark.parametrize(
    ("verb", "what"),
    [
        ("list", "secrets"),
        ("create", "secrets"),
        ("delete", "secrets"),
        ("create", "pods"),
        ("create", "pods/exec"),
        ("delete", "namespaces"),
        ("update", "inferenceservices.serving.kserve.io"),
        ("delete", "inferenceservices.serving.kserve.io"),
        ("create", "clusterroles.rbac.authorization.k8s.io"),
        ("update", "customresourcedefinitions.apiextensions.k8s.io"),
    ],
)
def test_the_operator_may_do_no_more(verb: str, what: str, installed: Any, namespace: str) -> None:
    assert not can(installed, "tiffin-operator", verb, what, namespace)


def test_people_who_may_edit_a_namespace_may_edit_deployments(
    controllers: Any, installed: Any, namespace: str
) -> None:
    controllers.kubectl("create", "rolebinding", "ada", "--clusterrole=edit", "--user=ada", "-n", namespace)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:  # the controller gathers roles when it likes
        done = installed.kubectl(
            "auth",
            "can-i",
            "create",
            "inferenceservices.serving.kserve.io",
            "-n",
            namespace,
            "--as=ada",
            check=False,
        )
        if done.stdout.strip() == "yes":
            return
        time.sleep(0.5)
    raise AssertionError("edit does not know InferenceServices")


# ---- the operator with those rights


def kubeconfig_of(cluster: Any, account: str, place: Path) -> Path:
    token = cluster.kubectl("create", "token", account, "-n", HOME).stdout.strip()
    config = json.loads(cluster.kubeconfig.read_text())
    config["users"] = [{"name": "admin", "user": {"token": token}}]
    place.write_text(json.dumps(config))
    return place


@contextlib.contextmanager
def operator(cluster: Any, tmp_path: Path, *words: str) -> Iterator[Path]:
    kubeconfig = kubeconfig_of(cluster, "tiffin-operator", tmp_path / "kubeconfig")
    log = tmp_path / "operator.log"
    command = [sys.executable, "-m", "tiffin.operator", "--kubeconfig", str(kubeconfig), "--namespace", HOME]
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*command, "--port", "0", "--webhook-port", "0", *words], stdout=file, stderr=file
        )
    try:
        yield log
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


def until(condition: Any, log: Path, seconds: float = 60.0) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.2)
    raise AssertionError(log.read_text()[-4000:])


def test_the_operator_serves_with_the_rights_it_is_given(installed: Any, namespace: str, tmp_path: Path) -> None:
    put(
        installed, [one for one in install.manifests(Options()) if one["kind"] == "ValidatingWebhookConfiguration"]
    )
    try:
        with operator(installed, tmp_path) as log:
            # Before anything else: while the registration is there, each object waits for a Service without pods.
            registered = until(lambda: trusted(installed), log)
            installed.kubectl("delete", "validatingwebhookconfiguration", WEBHOOK)
            installed.kubectl("apply", "-n", namespace, "-f", "-", given=ISVC % "")
            until(lambda: installed.get("deployment", "iris-predictor", "-n", namespace), log)
            until(
                lambda: (installed.get("isvc", "iris", "-n", namespace).get("status") or {}).get("conditions"), log
            )
            until(lambda: installed.get("controllerrevision", "-n", namespace), log)
            installed.kubectl("apply", "-n", namespace, "-f", "-", given=GRAPH)
            status = until(lambda: installed.get("inferencegraph", "g", "-n", namespace).get("status"), log)
            (condition,) = status["conditions"]
            assert (condition["type"], condition["status"]) == ("Ready", "False")
            assert "a graph of several services belongs to a later version" in condition["message"]
            installed.kubectl("delete", "isvc", "iris", "-n", namespace)
        assert registered
        assert installed.get("secret", CERTIFICATE, "-n", HOME)["type"] == "kubernetes.io/tls"
        assert "forbidden" not in log.read_text()
    finally:
        installed.kubectl("delete", "validatingwebhookconfiguration", WEBHOOK, "--ignore-not-found")
        installed.kubectl("delete", "secret", CERTIFICATE, "-n", HOME, "--ignore-not-found")


def trusted(cluster: Any) -> str:
    found = cluster.get("validatingwebhookconfiguration", WEBHOOK)
    return found["webhooks"][0]["clientConfig"].get("caBundle", "")


# ---- the webhook, asked by the API server


async def _with_webhook(cluster: Any, namespace: str, tmp_path: Path, ask: Any) -> Any:
    async def read(document: dict[str, Any]) -> Any:
        return live.read_object(document)

    kubeconfig = kubeconfig_of(cluster, "tiffin-operator", tmp_path / "kubeconfig")
    async with (
        client.connect(kubeconfig=str(kubeconfig)) as api,
        serving.running(api, HOME, read, "127.0.0.1", 0, name="localhost") as port,
    ):
        registration = install.programs.webhook(Options())
        (one,) = registration["webhooks"]
        # A Service's address leads nowhere here; and what is not answered is to be seen.
        one["clientConfig"] = {"url": f"https://localhost:{port}/validate"}
        one["failurePolicy"] = "Fail"
        one["namespaceSelector"] = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
        await asyncio.to_thread(put, cluster, [registration])
        keeper = serving.Keeper(api, HOME, name="localhost")
        await keeper.look()
        return await asyncio.to_thread(ask)


def test_the_api_server_asks_and_kubectl_shows_what_is_said(
    installed: Any, namespace: str, tmp_path: Path
) -> None:
    def apply(more: str) -> Any:
        return installed.kubectl("apply", "-n", namespace, "-f", "-", given=ISVC % more, check=False)

    def ask() -> list[Any]:
        deadline = time.monotonic() + 30
        while (first := apply("")).returncode and time.monotonic() < deadline:
            time.sleep(0.2)  # the API server has heard of the webhook, and not yet whom to trust
        # No rule of the definition knows this one.
        return [
            first,
            apply("batcher: {maxLatency: 5}, "),
            apply("logger: {storage: {path: a, parameters: {a: b}, key: c}}, "),
        ]

    try:
        good, warned, bad = asyncio.run(_with_webhook(installed, namespace, tmp_path, ask))
    finally:
        installed.kubectl("delete", "validatingwebhookconfiguration", WEBHOOK, "--ignore-not-found")
        installed.kubectl("delete", "secret", CERTIFICATE, "-n", HOME, "--ignore-not-found")
    assert good.returncode == 0, good.stderr
    assert good.stderr == ""
    assert warned.returncode == 0, warned.stderr
    assert "Warning: spec.predictor.batcher.maxLatency: is not needed" in warned.stderr
    assert bad.returncode != 0
    assert "spec.predictor.logger.storage" in bad.stderr
    assert "write a url that takes CloudEvents" in bad.stderr
