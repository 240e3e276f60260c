"""What applying would change on a cluster, as it is told."""

from __future__ import annotations

from typing import Any

from tiffin.cli.clusters import comparing

BEFORE: dict[str, Any] = {
    "apiVersion": "serving.kserve.io/v1beta1",
    "kind": "InferenceService",
    "metadata": {
        "name": "iris",
        "namespace": "ml",
        "uid": "u",
        "generation": 3,
        "resourceVersion": "7",
        "managedFields": [{"manager": "tiffin"}],
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"},
    },
    "spec": {"predictor": {"minReplicas": 1}},
    "status": {"url": "http://x"},
}


def changed(**metadata: Any) -> dict[str, Any]:
    return {**BEFORE, "metadata": {**BEFORE["metadata"], **metadata}, "status": {}}


def test_what_the_server_adds_is_no_change() -> None:
    assert comparing.written(BEFORE) == {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "iris"},
        "spec": {"predictor": {"minReplicas": 1}},
    }
    assert comparing.action(BEFORE, changed(resourceVersion="8", generation=4, managedFields=[])) == "unchanged"
    assert comparing.action(BEFORE, changed(labels={"team": "a"})) == "configured"
    assert comparing.action(BEFORE, {**BEFORE, "spec": {}}) == "configured"
    assert comparing.action(None, BEFORE) == "created"


def test_values_of_a_secret_are_never_shown() -> None:
    before = {"kind": "Secret", "metadata": {"name": "s"}, "data": {"key": "b25l", "same": "dHdv"}}
    after = {
        "kind": "Secret",
        "metadata": {"name": "s"},
        "data": {"key": "dGhyZWU=", "same": "dHdv", "new": "eA=="},
    }
    assert comparing.shown(before, before)["data"] == {"key": "(hidden)", "same": "(hidden)"}
    assert comparing.shown(after, before)["data"] == {
        "key": "(hidden, changed)",
        "same": "(hidden)",
        "new": "(hidden, changed)",
    }
    assert comparing.shown(after, None)["data"]["new"] == "(hidden, changed)"
