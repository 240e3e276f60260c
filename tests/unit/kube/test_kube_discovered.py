"""What is read out of an API server's aggregated discovery."""

from __future__ import annotations

from typing import Any

import pytest

from tiffin.kube import discovered


def version(name: str, *resources: dict[str, Any]) -> dict[str, Any]:
    return {"version": name, "resources": list(resources), "freshness": "Current"}


def resource(kind: str, plural: str, scope: str = "Namespaced") -> dict[str, Any]:
    return {"resource": plural, "responseKind": {"group": "", "version": "", "kind": kind}, "scope": scope}


def listed(*items: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "items": list(items)}


def test_kinds_are_found_by_group_in_the_version_that_comes_first() -> None:
    core = version("v1", resource("Pod", "pods"), resource("Node", "nodes", "Cluster"))
    answer = listed(
        {"metadata": {}, "versions": [core]},
        {
            "metadata": {"name": "keda.sh"},
            "versions": [
                version("v2", resource("ScaledObject", "scaledobjects")),
                version("v1", resource("ScaledObject", "scaledobjects"), resource("ScaledJob", "scaledjobs")),
            ],
        },
    )
    assert discovered.kinds_in(answer) == {
        ("", "Pod"): ("", "v1", "Pod", "pods", True),
        ("", "Node"): ("", "v1", "Node", "nodes", False),
        ("keda.sh", "ScaledObject"): ("keda.sh", "v2", "ScaledObject", "scaledobjects", True),
        ("keda.sh", "ScaledJob"): ("keda.sh", "v1", "ScaledJob", "scaledjobs", True),
    }


@pytest.mark.parametrize(
    "answer",
    [
        listed(),
        {"kind": "APIGroupDiscoveryList", "items": None},
        listed({"metadata": {"name": "x"}, "versions": [{"version": "v1", "freshness": "Stale"}]}),
        listed({"metadata": {"name": "x"}, "versions": [version("v1", {"resource": "tokens"})]}),
    ],
    ids=["nothing", "null", "a server behind it is down", "subresources alone"],
)
def test_what_is_not_served_is_not_found(answer: dict[str, Any]) -> None:
    assert discovered.is_aggregated(answer)
    assert discovered.kinds_in(answer) == {}


@pytest.mark.parametrize("answer", [{"kind": "APIGroupList", "groups": []}, {"kind": "APIVersions"}, None, []])
def test_an_answer_of_a_server_that_does_not_know_it_is_told_apart(answer: Any) -> None:
    assert not discovered.is_aggregated(answer)
