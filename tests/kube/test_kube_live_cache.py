"""The cache that a node's pods share, on a real node: as a kubelet makes it, as a node gives it, and bounded."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.kube import live_world as world

from tiffin.kube.install.programs import USER

NAME, PODS = "cached", "app=isvc.cached-predictor"


@pytest.fixture
def change(live: Any) -> Iterator[Callable[..., None]]:
    """Sets settings beside those that were installed, which are there again afterwards."""
    words = ("configmap/tiffin-settings", "-n", world.HOME)
    before = live.cluster.get(*words)["data"]["settings.yaml"]

    def write(text: str) -> None:
        data = json.dumps({"data": {"settings.yaml": text}})
        live.cluster.kubectl("patch", *words, "--type=merge", "-p", data)

    yield lambda **settings: write(before + "".join(f"{name}: {value!r}\n" for name, value in settings.items()))
    write(before)


@pytest.fixture
def directory() -> Iterator[Path]:
    """What is not there; the node is this machine."""
    path = Path("/var/cache") / f"tiffin-tests-{os.getpid()}"
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def cached(live: Any) -> Iterator[str]:
    """The name of an InferenceService that fetches its model."""
    with world.model_server(live.address) as address:
        model = {"modelFormat": {"name": "sklearn"}, "storageUri": f"{address}/model.joblib"}
        found = {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": {"name": NAME},
            "spec": {"predictor": {"model": model | {"resources": {"requests": {"cpu": "50m"}}}}},
        }
        live.cluster.kubectl("apply", "-n", "live", "-f", "-", given=json.dumps(found))
        yield NAME
        live.cluster.kubectl("delete", f"isvc/{NAME}", "-n", "live", "--timeout=60s")


def said(live: Any, *, size: str, old: set[str]) -> tuple[str, set[str]]:
    """What the init container said of a new pod that was told this bound; and the names of all pods so far."""

    def found() -> tuple[str, str] | None:
        for name in live.pods(PODS).keys() - old:
            pod = live.cluster.get("pod", name, "-n", "live")
            (container,) = pod["spec"]["initContainers"]
            env = {one["name"]: one.get("value") for one in container["env"]}
            if env.get("TIFFIN_MODEL_CACHE_BYTES") == size:
                words = ("logs", name, "-n", "live", "-c", container["name"])
                return name, live.cluster.kubectl(*words).stdout
        return None

    name, log = world.until(found, f"a pod with a cache of {size} bytes", world.SECONDS)
    return log, old | {name}


def test_a_node_gives_pods_a_cache_and_one_that_it_does_not_give_is_told(
    live: Any, change: Callable[..., None], directory: Path, cached: str
) -> None:
    change(modelCache=str(directory), modelCacheSize="1Gi")
    log, pods = said(live, size=str(2**30), old=set())
    # The kubelet made it, for root alone; the pod serves all the same.
    assert (directory.stat().st_uid, directory.stat().st_mode & 0o777) == (0, 0o755)
    assert f"{directory} is not writable for user {USER}; `install -d -o {USER} {directory}` on the node" in log
    assert list(directory.iterdir()) == []

    os.chown(directory, USER, USER)
    live.cluster.kubectl("delete", "pod", *pods, "-n", "live", "--wait=false")
    log, pods = said(live, size=str(2**30), old=pods)
    assert "warning" not in log
    (content,) = (directory / "content").iterdir()
    assert (content / "model.joblib").stat().st_uid == USER

    change(modelCache=str(directory), modelCacheSize="100")
    log, pods = said(live, size="100", old=pods)
    assert "the node's cache keeps 100 bytes" in log
    assert "the node's cache: removed 1 model" in log
    assert list((directory / "content").iterdir()) == []
    assert world.ask(live.service(f"{cached}-predictor"), cached) == world.ANSWER
