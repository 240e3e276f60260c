"""The operator of today takes over what that of the last release wrote, and harms nothing of it.

``previous/`` has what it wrote; ``previous.py`` says how it came about, and writes it anew for each release.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.kube import previous, stored
from tests.kube.operator_world import Operator, define, until
from tests.kube.previous import PREVIOUS, listed, of, operated, shares
from tests.kube.stories import SHOP, STORIES, kind_of

ROLLED: dict[str, str] = {}
"""Deployments whose pods this release renders differently than the last one, and why they may roll."""
GIVEN = "isvc,sdep,tiffin"
Objects = dict[tuple[str, str], dict[str, Any]]


def snapshot(cluster: Any) -> Objects:
    """All that somebody wrote and all that the operator made, by kind and name."""
    found = listed(cluster, ",".join((GIVEN, *previous.OWNED)))
    ours = {id(one) for name in STORIES for one in of(found, name)}
    return {
        (f"{one['kind']} of {one['apiVersion']}", one["metadata"]["name"]): one
        for one in found
        if id(one) in ours or stored.is_given(one)
    }


def of_kind(found: Objects, kind: str) -> Objects:
    return {key: one for key, one in found.items() if key[0].startswith(f"{kind} of ")}


def written(one: dict[str, Any]) -> dict[str, str]:
    return {key: one["metadata"][key] for key in ("uid", "resourceVersion")}


def conditions(one: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Statuses and since when, by type."""
    found = (one.get("status") or {}).get("conditions") or ()
    return {each["type"]: (each["status"], each.get("lastTransitionTime", "")) for each in found}


@pytest.mark.slow
def test_what_the_last_release_wrote_is_taken_over_without_harm(own_cluster: Any, tmp_path: Path) -> None:
    cluster = own_cluster
    previous.prepare(cluster)
    for name in STORIES:
        stored.load_all(cluster, SHOP, stored.read(PREVIOUS / f"{name}.yaml"))
    previous.take_routes(cluster)
    until(lambda: previous.is_rolled_out(cluster), "the pods that the last release had asked for")
    before = snapshot(cluster)
    assert {name for _, name in of_kind(before, "InferenceService")} == {
        name for name in STORIES if kind_of(name) == "isvc"
    }

    with operated(cluster, tmp_path / "operator.log") as operator:
        until(lambda: previous.is_rolled_out(cluster), "the pods that this release asks for")
        operator.settle()
        after = snapshot(cluster)
        first = operator.writes
        assert operator.number("tiffin_operator_failures_total") == 0
    see_no_harm(before, after)
    for name, story in STORIES.items():
        told = dict(story.requests)
        expected = list(told.values())[-1] if told else story.shares
        assert shares(cluster, name) == expected, name

    with operated(cluster, tmp_path / "operator.log") as operator:
        assert operator.writes == 0, "an operator that starts again finds all as it should be"
        assert first == 0 or ROLLED
        goes_on(cluster)


def see_no_harm(before: Objects, after: Objects) -> None:
    assert before.keys() == after.keys()
    revisions = of_kind(before, "ControllerRevision")
    assert {key: written(one) for key, one in revisions.items()} == {key: written(after[key]) for key in revisions}
    rolled = set()
    for key, one in of_kind(before, "Deployment").items():
        now = after[key]
        assert one["metadata"]["uid"] == now["metadata"]["uid"], key
        if stored.is_given(one):
            continue
        assert one["spec"]["selector"] == now["spec"]["selector"], key
        assert one["spec"]["replicas"] == now["spec"]["replicas"], key
        if one["spec"]["template"] != now["spec"]["template"]:
            rolled.add(key[1])
    assert rolled == set(ROLLED)
    for key, one in of_kind(before, "HTTPRoute").items():
        assert one["spec"] == after[key]["spec"], key
    for key, one in before.items():
        if stored.is_given(one):
            assert conditions(one) == conditions(after[key]), key
            # What is rolled back serves, but not as its newest spec says.
            assert conditions(one)["Ready"][0] == ("False" if key[1] == "back" else "True"), key


def goes_on(cluster: Any) -> None:
    """The rollout goes on with its third step, and ends."""

    previous.ask(cluster, "halfway", "resume@2")
    until(lambda: shares(cluster, "halfway") == {1: 30.0, 2: 70.0}, "the third step")
    previous.ask(cluster, "halfway", "promote@3")
    until(lambda: shares(cluster, "halfway") == {2: 100.0}, "the end of the rollout")
    until(lambda: not cluster.get("deploy.apps", "halfway-predictor-candidate", "-n", SHOP), "the candidate to go")


def test_after_going_back_a_canary_beside_what_is_not_understood_is_told_and_left_alone(
    cluster: Any, tmp_path: Path
) -> None:
    define(cluster)
    with cluster.namespace() as namespace:
        writes = [one for one in stored.read(PREVIOUS / "canary.yaml") if one["wrote"]["kind"] != "HTTPRoute"]
        for one in writes:
            if one["wrote"]["kind"] == "ControllerRevision" and one["wrote"]["revision"] == 1:
                one["wrote"]["data"]["components"][0]["source"]["type"] = "of-a-later-release"
        stored.load_all(cluster, namespace, writes)

        def versions() -> dict[str, str]:
            found = listed(cluster, "deployments.apps,controllerrevisions,services", namespace)
            return {
                f"{one['kind']} {one['metadata']['name']}": one["metadata"]["resourceVersion"] for one in found
            }

        def reason() -> str:
            status = cluster.get("isvc", "canary", "-n", namespace)["status"]
            (ready,) = [one for one in status["conditions"] if one["type"] == "Ready"]
            return str(ready.get("reason", ""))

        before = versions()
        with Operator(cluster, namespace, tmp_path / "operator.log", "--no-election") as operator:
            operator.ready()
            until(lambda: reason() == "RevisionUnreadable", "the reason")
            operator.settle()
        assert versions() == before
