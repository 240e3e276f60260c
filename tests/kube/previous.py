"""What the last release of the operator wrote for some deployments: ``previous/``, and how it came about.

    python -m tests.kube.previous --write

writes it anew when a release is made, with a real API server, Kubernetes' controllers and nodes that are played.
``test_kube_upgrade.py`` loads it into a fresh cluster, where the operator of today goes on with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from tests.kube import cluster as clusters
from tests.kube import stored
from tests.kube.operator_world import Operator, define, until
from tests.kube.stories import SHOP, STORIES, document, kind_of

from tiffin.kube import client, names
from tiffin.operator.autoscaler import Pool
from tiffin.operator.cache import Cache
from tiffin.operator.revisions import STANDING, Kept
from tiffin.operator.scaled import Scaled
from tiffin.spec import Artefact, Component, ModelSource

PREVIOUS = Path(__file__).with_name("previous")
SYSTEM = "tiffin-system"
ACTIVATOR = "10.9.0.7"
SETTINGS = "runtimeImage: registry.example.com/tiffin/runtime:previous\n"
"""An image of its own, which a release does not change: that alone would roll all pods of saved models."""
OWNED = (
    "controllerrevisions", "deployments.apps", "services", "endpointslices", "poddisruptionbudgets",
    "networkpolicies", "horizontalpodautoscalers", "httproutes", "grpcroutes",
)  # fmt: skip
_HPAS = "horizontalpodautoscalers"
Manifest = dict[str, Any]


# ---- the world it is in


def prepare(cluster: Any) -> None:
    """Nodes, kinds, namespaces, settings an activator that is ready: all but deployments and their operator."""
    cluster.start_scheduler()
    cluster.start_kwok()
    cluster.add_nodes(2)
    cluster.kubectl("label", "nodes", "--all", "disktype=ssd")
    cluster.add_kinds("gateway-api")
    define(cluster)
    config = {"metadata": {"name": "tiffin-settings", "namespace": SYSTEM}, "data": {"settings.yaml": SETTINGS}}
    activator = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "activator",
            "namespace": SYSTEM,
            "labels": {"app.kubernetes.io/name": "tiffin-activator"},
        },
        # No node: its address is in what was written, so it is not to be another one each time.
        "spec": {"schedulerName": "none", "containers": [{"name": "activator", "image": "none"}]},
    }
    for name in (SHOP, SYSTEM):
        cluster.kubectl("create", "namespace", name)
    objects = [{"apiVersion": "v1", "kind": "ConfigMap"} | config, activator]
    cluster.kubectl("apply", "-f", "-", given="\n".join(map(json.dumps, objects)))
    status = {"phase": "Running", "podIP": ACTIVATOR, "podIPs": [{"ip": ACTIVATOR}]}
    status["conditions"] = [{"type": one, "status": "True"} for one in ("Initialized", "ContainersReady", "Ready")]
    change = json.dumps({"status": status})
    cluster.kubectl(
        "patch", "pod", "activator", "-n", SYSTEM, "--subresource=status", "--type=merge", "-p", change
    )


@contextlib.contextmanager
def operated(cluster: Any, log: Path) -> Iterator[Operator]:
    """The operator, once it has nothing left to do."""
    with Operator(cluster, SYSTEM, log, "--no-election", "--watch", SHOP) as operator:
        yield operator.ready().settle()


def listed(cluster: Any, kinds: str, namespace: str = SHOP) -> list[Manifest]:
    """Objects of some kinds, with those who wrote their fields."""
    words = ("get", kinds, "-n", namespace, "--show-managed-fields", "-o", "json")
    return list(json.loads(cluster.kubectl(*words).stdout)["items"])


def of(manifests: list[Manifest], name: str) -> list[Manifest]:
    """Those that the operator made for one deployment."""
    return [
        one
        for one in manifests
        if (one["metadata"].get("labels") or {}).get(names.DEPLOYMENT) == name
        and (one["kind"] != "EndpointSlice" or one["metadata"]["labels"].get(names.SLICE_MANAGER) == "tiffin")
    ]


def shares(cluster: Any, name: str) -> dict[int, float]:
    """Percentages by number of revision, as they are remembered of the main variant."""
    found = of(listed(cluster, "controllerrevisions"), name)
    kept = [
        msgspec.json.decode(one["metadata"]["annotations"][STANDING], type=Kept)
        for one in sorted(found, key=lambda one: one["revision"])
        if STANDING in (one["metadata"].get("annotations") or {})
        and one["metadata"]["labels"][names.VARIANT] in ("main", "predictor")
    ]
    return dict(kept[-1].standing.serving) if kept else {}


def is_rolled_out(cluster: Any) -> bool:
    """Whether every Deployment has the pods it should have, and they are ready."""
    found = listed(cluster, "deployments.apps")
    least = {one["metadata"]["name"]: one["spec"]["minReplicas"] for one in listed(cluster, _HPAS)}
    if any(one["spec"]["replicas"] < least.get(one["metadata"]["name"], 0) for one in found):
        return False
    return bool(found) and all(
        one.get("status", {}).get("observedGeneration") == one["metadata"]["generation"]
        and one["status"].get("replicas", 0) == one["status"].get("updatedReplicas", 0) == one["spec"]["replicas"]
        and one["status"].get("readyReplicas", 0) == one["spec"]["replicas"]
        for one in found
    )


def at_rest(cluster: Any, operator: Operator) -> None:
    until(lambda: is_rolled_out(cluster), f"every Deployment\n{operator.log()[-2000:]}")
    operator.settle()
    take_routes(cluster)
    operator.settle()


def take_routes(cluster: Any) -> None:
    """As a gateway does: say of each route that it is taken."""
    conditions = [
        {"type": one, "status": "True", "reason": one, "message": "", "lastTransitionTime": stored.MOMENT}
        for one in ("Accepted", "ResolvedRefs")
    ]
    for route in listed(cluster, "httproutes"):
        if (route.get("status") or {}).get("parents"):
            continue
        (gateway,) = route["spec"]["parentRefs"]
        parents = [{"parentRef": gateway, "controllerName": "example.com/played", "conditions": conditions}]
        words = (
            "patch",
            "httproute",
            route["metadata"]["name"],
            "-n",
            SHOP,
            "--subresource=status",
            "--type=merge",
        )
        cluster.kubectl(*words, "--field-manager=gateway", "-p", json.dumps({"status": {"parents": parents}}))


# ---- written


def write() -> None:
    """All stories, told to the operator of today."""
    with clusters.running() as cluster, tempfile.TemporaryDirectory() as directory:
        cluster.start_controllers()
        prepare(cluster)
        log = Path(directory) / "operator.log"
        try:
            _tell(cluster, log)
        except BaseException:
            print(log.read_text()[-5000:] if log.exists() else "", file=sys.stderr)
            raise
        manifests = listed(cluster, ",".join(OWNED))
        for old in PREVIOUS.glob("*.yaml"):
            old.unlink()
        for name, story in STORIES.items():
            own = json.loads(
                cluster.kubectl(
                    "get", kind_of(name), name, "-n", SHOP, "--show-managed-fields", "-o", "json"
                ).stdout
            )
            stored.save(PREVIOUS / f"{name}.yaml", story.about, [own, *of(manifests, name)])


def _tell(cluster: Any, log: Path) -> None:
    for index, name in enumerate(STORIES, start=1):
        _say(cluster, name, 0)
        uid = f"00000000-0000-4000-8000-{index:012d}"
        stored.rewrite(cluster, SHOP, document(name, 0), uid=uid)
    with operated(cluster, log) as operator:
        at_rest(cluster, operator)
        for name, story in STORIES.items():
            if len(story.versions) > 1:
                until(lambda: shares(cluster, name) == {1: 100.0}, f"{name} to be rolled out")  # noqa: B023
                _say(cluster, name, 1)
        for name, story in STORIES.items():
            until(lambda: shares(cluster, name) == story.shares, f"{name} to have {story.shares}")  # noqa: B023
            for word, after in story.requests:
                ask(cluster, name, word)
                until(lambda: shares(cluster, name) == after, f"{name} to have {after}")  # noqa: B023
        operator.settle()
        cluster.kubectl("scale", "deploy/scaled-predictor", "--replicas=3", "-n", SHOP)
        at_rest(cluster, operator)
    asyncio.run(_let_go(cluster, "idle"))
    with operated(cluster, log) as operator:
        at_rest(cluster, operator)


def ask(cluster: Any, name: str, word: str) -> None:
    """What `tiffin rollout` does."""
    words = ("annotate", "--field-manager=kubectl", "--overwrite", f"{kind_of(name)}/{name}")
    cluster.kubectl(*words, f"tiffin.dev/rollout={word}", "-n", SHOP)


def _say(cluster: Any, name: str, version: int) -> None:
    words = ("apply", "--server-side", "--field-manager=kubectl", "-f", "-")
    cluster.kubectl(*words, given=json.dumps(document(name, version)))


async def _let_go(cluster: Any, name: str) -> None:
    """The last replica goes, in the autoscaler's own words: on nodes that are played nobody counts calls."""
    source = ModelSource(artefact=Artefact(uri="s3://models/iris"))
    pool = Pool(namespace=SHOP, name=f"{name}-predictor", component=Component(source=source), wanted=1)
    async with client.connect(kubeconfig=cluster.kubeconfig) as api:
        scaled = Scaled(api, Cache(lambda change: None), dict, tuple)
        await scaled.mark(pool, True)
        assert await scaled.scale(pool, 0)


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit(__doc__)
    write()
