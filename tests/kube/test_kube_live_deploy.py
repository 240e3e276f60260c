"""``tiffin deploy`` from sources to an answer: built, made an image, pushed, pulled by a node, asked."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.kube import live_world as world

SERVICE = """
import bentoml

@bentoml.service(resources={"cpu": "50m"})
class Greeter:
    @bentoml.api
    def greet(self, name: str) -> str:
        return GREETING + ", " + name

GREETING = "hello"
"""
MANIFEST = """
apiVersion: tiffin.dev/v1
kind: Deployment
metadata: {name: greeter}
spec:
  service: {directory: project, target: "service:Greeter"}
  resources: {cpu: 50m}
"""


@pytest.fixture(scope="module")
def registry(live: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry that the node pulls from."""
    try:
        with world.registry(live.address, tmp_path_factory.mktemp("registry") / "files") as found:
            live.node.trust(found)
            yield found
    except world.clusters.Missing as error:
        pytest.skip(str(error))


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A manifest beside the service that it deploys."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "service.py").write_text(SERVICE)
    manifest = tmp_path / "greeter.yaml"
    manifest.write_text(MANIFEST)
    return manifest


def greet(live: Any, name: str) -> str:
    request = urllib.request.Request(
        f"http://{live.service('greeter-predictor')}/greet",
        json.dumps({"name": name}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=world.SECONDS) as answer:
        return str(answer.read().decode())


def deploy(live: Any, home: Path, registry: str, *words: str) -> subprocess.CompletedProcess[str]:
    found: subprocess.CompletedProcess[str] = live.command(
        "deploy", *words, "--context", "test", "--registry", f"{registry}/team", "--insecure",
        "--base", "scratch-from-host", home=home,
    )  # fmt: skip
    return found


def test_sources_become_an_address_in_one_command_and_again(
    live: Any, registry: str, sources: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    done = deploy(live, home, registry, "-f", str(sources))
    assert done.returncode == 0, done.stderr
    assert "live/greeter created" in done.stdout
    assert "live/greeter is ready at http://" in done.stdout
    assert greet(live, "Ada") == "hello, Ada"
    stored = live.cluster.get("tiffin", "greeter", "-n", "live")["spec"]["service"]
    assert stored["bundle"].startswith(f"{registry}/team/")

    code = sources.parent / "project" / "service.py"
    code.write_text(SERVICE.replace('"hello"', '"good morning"'))
    done = deploy(live, home, registry, "-f", str(sources))
    assert done.returncode == 0, done.stderr
    assert "live/greeter configured" in done.stdout
    # For a moment a node may send calls to the pod that ends.
    world.until(lambda: greet(live, "Ada") == "good morning, Ada", "the new version's answer", world.SECONDS)
