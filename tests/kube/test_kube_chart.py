"""The Helm chart by the real helm: it gives the same objects as ``tiffin install``."""

import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from tests.kube import cluster as clusters

from tiffin.kube import install
from tiffin.kube.install.options import Options
from tiffin.kube.manifests import identify
from tiffin.kube.settings import Gateway, Settings

CHART = Path(__file__).parents[2] / "charts" / "tiffin"
KUBE = ("--kube-version", "1.35.4")
"""A helm that was built here takes an old one for granted."""


@pytest.fixture(scope="module")
def helm(cluster: Any) -> Any:
    try:
        program = clusters.program("helm", cluster.binaries)
    except clusters.Missing as error:
        pytest.skip(str(error))

    def run(*words: str) -> str:
        done = subprocess.run([program, *words], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    return run


def rendered(helm: Any, namespace: str, *words: str) -> dict[Any, dict[str, Any]]:
    text = helm("template", "tiffin", str(CHART), "-n", namespace, *KUBE, *words)
    found = [one for one in yaml.load_all(text, yaml.CSafeLoader) if one]
    for one in found:
        # With a definition go all objects of its kind, so that helm is told to leave it.
        if one["kind"] == "CustomResourceDefinition":
            assert one["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
    return {identify(one): one for one in found}


def printed(options: Options) -> dict[Any, dict[str, Any]]:
    return {identify(one): one for one in install.manifests(options) if one["kind"] != "Namespace"}


def test_the_chart_has_no_faults(helm: Any) -> None:
    assert "0 chart(s) failed" in helm("lint", "--strict", str(CHART))


def test_with_its_defaults_it_gives_what_the_command_prints(helm: Any) -> None:
    assert rendered(helm, "tiffin-system") == printed(Options())


def test_values_do_what_options_do(helm: Any) -> None:
    words = "image=registry.example.com/tiffin:2,replicas=3,watchNamespaces={a,b},crds={tiffin}"
    options = Options(
        namespace="models",
        image="registry.example.com/tiffin:2",
        replicas=3,
        watched=("a", "b"),
        crds=("tiffin",),
    )
    assert rendered(helm, "models", "--set", words) == printed(options)


def test_the_webhook_can_be_left_out(helm: Any) -> None:
    found = rendered(helm, "tiffin-system", "--set", "webhook=false")
    assert {one.kind for one in printed(Options()).keys() - found.keys()} == {"ValidatingWebhookConfiguration"}


def test_settings_are_those_of_the_operator(helm: Any) -> None:
    words = "settings.domain=models.example.org,settings.takeover=true,settings.gateway.name=public"
    found = rendered(helm, "tiffin-system", "--set", words)
    (config,) = [one for one in found.values() if one["kind"] == "ConfigMap"]
    assert msgspec.yaml.decode(config["data"]["settings.yaml"], type=Settings) == Settings(
        domain="models.example.org", takeover=True, gateway=Gateway(name="public")
    )
