"""Variants beside a transformer: each is called at its own entry, and its parts find each other."""

from __future__ import annotations

from typing import Any

import pytest

from tiffin.dialects import live
from tiffin.kube import render
from tiffin.kube.capabilities import Capabilities
from tiffin.kube.placement import Placement, Share, Slot
from tiffin.kube.settings import Gateway, Settings

SETTINGS = Settings(gateway=Gateway(name="front", namespace="gateways"))
KSERVE: dict[str, Any] = {
    "apiVersion": "serving.kserve.io/v1beta1",
    "kind": "InferenceService",
    "metadata": {"name": "iris", "annotations": {"serving.kserve.io/deploymentMode": "Standard"}},
    "spec": {
        "predictor": {"model": {"modelFormat": {"name": "sklearn"}, "storageUri": "gs://m/1"}},
        "transformer": {"containers": [{"name": "kserve-container", "image": "scale:1"}]},
        "canary": [{"trafficPercent": 20, "predictor": {"name": "v2", "model": {"storageUri": "gs://m/2"}}}],
    },
}
OWN: dict[str, Any] = {
    "apiVersion": "tiffin.dev/v1",
    "kind": "Deployment",
    "metadata": {"name": "iris"},
    "spec": {
        "model": "gs://m/1",
        "transformer": {"container": {"image": "scale:1", "args": ["$(PREDICTOR_HOST)"]}},
        "variants": {"v2": {"model": "gs://m/2", "weight": 20}},
    },
}


def made(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    deployment = live.read_object(document)
    slots = tuple(
        Slot(variant=variant.name, component=component, revision="iris-00001", replicas=1)
        for variant in deployment.all_variants
        for component in variant.components
    )
    shares = tuple(Share(variant=one.name, weight=one.weight) for one in deployment.all_variants)
    placement = Placement(uid="u", owner=(document["apiVersion"], document["kind"]), slots=slots, shares=shares)
    found = render.render(deployment, placement, SETTINGS, Capabilities(http_route=True))
    return {(one["kind"], one["metadata"]["name"]): one for one in found}


def weights(objects: dict[tuple[str, str], dict[str, Any]]) -> dict[str, int]:
    rule = objects["HTTPRoute", "iris"]["spec"]["rules"][-1]
    return {one["name"]: one["weight"] for one in rule["backendRefs"]}


@pytest.mark.parametrize(
    ("document", "called"),
    [
        (KSERVE, {"iris-transformer": 80, "iris-v2-transformer": 20}),
        (OWN, {"iris-transformer": 80, "iris-v2-predictor": 20}),
    ],
)
def test_each_variant_gets_its_share_at_its_own_entry(document: dict[str, Any], called: dict[str, int]) -> None:
    assert weights(made(document)) == called


def test_the_transformer_of_a_canary_calls_that_canary() -> None:
    objects = made(KSERVE)

    def asks(name: str) -> str:
        arguments = objects["Deployment", name]["spec"]["template"]["spec"]["containers"][0]["args"]
        return str(arguments[arguments.index("--predictor_host") + 1])

    assert asks("iris-transformer") == "iris-predictor.default"
    assert asks("iris-v2-transformer") == "iris-v2-predictor.default"
