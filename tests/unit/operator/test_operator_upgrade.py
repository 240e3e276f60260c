"""What the last release wrote is read as it was meant, and what a later one may write does no harm."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from tests.unit.operator.kubernetes_model import CANDIDATE, STABLE, World, deployment, served

from tiffin.kube import names
from tiffin.operator import histories, revisions, running, statuses
from tiffin.operator.revisions import STANDING
from tiffin.operator.rollouts import read_state
from tiffin.spec import Variant

PREVIOUS = Path(__file__).parents[2] / "kube" / "previous"
"""What the operator of the last release wrote: see ``tests/kube/previous.py``."""
OWNER = {"apiVersion": "v1", "kind": "X", "name": "iris", "uid": "u-1"}


def stored(kind: str) -> list[Any]:
    """All objects of a kind that the last release wrote, as parameters of a test."""
    return [
        pytest.param(one["wrote"], id=f"{one['wrote']['metadata']['name']}-{index}")
        for file in sorted(PREVIOUS.glob("*.yaml"))
        for index, one in enumerate(yaml.safe_load_all(file.read_text()))
        if one["wrote"]["kind"] == kind and one["by"] == "tiffin"
    ]


def plain(value: Any) -> Any:
    return json.loads(msgspec.json.encode(value))


def lost(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """What was written and is read as something else."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            yield from lost(value, after.get(key), f"{path}.{key}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, value in enumerate(before):
            yield from lost(value, after[index], f"{path}[{index}]")
    elif before != after:
        yield f"{path}: {before!r} became {after!r}"


@pytest.mark.parametrize("manifest", stored("ControllerRevision"))
def test_a_revision_of_the_last_release_is_read_whole(manifest: dict[str, Any]) -> None:
    found = revisions.decode(manifest)
    assert found.revision is not None
    assert list(lost(manifest["data"], plain(found.revision))) == []
    assert (found.number, found.variant) == (manifest["revision"], manifest["metadata"]["labels"][names.VARIANT])
    written = Variant(name=found.variant, components=found.revision.components)
    assert revisions.is_of(found.revision, written, found.revision.protocol)
    assert revisions.digest_of(written, found.revision.protocol) == found.revision.digest, (
        "each would be another one"
    )


@pytest.mark.parametrize("manifest", stored("ControllerRevision"))
def test_what_the_last_release_remembered_is_read_whole(manifest: dict[str, Any]) -> None:
    text = (manifest["metadata"].get("annotations") or {}).get(STANDING)
    found = revisions.decode(manifest).kept
    if text is None:
        assert found is None
        return
    assert found is not None
    assert list(lost(json.loads(text), plain(found))) == []
    if found.standing.judged:
        state = read_state(found.standing.judged)
        assert state is not None
        assert list(lost(json.loads(found.standing.judged), plain(state))) == []


def test_what_was_kept_of_each_kind_is_there() -> None:
    kept = [revisions.decode(one.values[0]).kept for one in stored("ControllerRevision")]
    standings = [one.standing for one in kept if one is not None]
    assert any(one.judged for one in standings), "a rollout that goes on"
    assert any(one.rejected for one in standings), "one that was rolled back"
    assert any(len(one.serving) == 2 for one in standings), "calls that are split"


@pytest.mark.parametrize("kind", ["InferenceService", "SeldonDeployment", "Deployment"])
def test_conditions_of_the_last_release_are_read(kind: str) -> None:
    given = [one.values[0] for one in stored(kind) if "status" in one.values[0]]
    assert given
    for manifest in given:
        found = {one.type: one for one in statuses.written_conditions(manifest)}
        assert len(found) == len(manifest["status"]["conditions"])
        assert found["Ready"].since > 0


# ---- going back: what a later release may write


@pytest.mark.parametrize("manifest", stored("ControllerRevision"))
def test_fields_of_a_later_release_are_passed_over_and_stay_as_they_were_written(manifest: dict[str, Any]) -> None:
    newer = copy.deepcopy(manifest)
    newer["metadata"]["namespace"] = "shop"
    for component in newer["data"]["components"]:
        component["scaling"] |= {"of_a_later_release": 1}
        component["source"] |= {"of_a_later_release": {"any": ["thing"]}}
        component["of_a_later_release"] = [1]
    newer["data"]["of_a_later_release"] = True
    annotations = newer["metadata"].get("annotations", {})
    if STANDING in annotations:
        annotations[STANDING] = json.dumps(json.loads(annotations[STANDING]) | {"of_a_later_release": {"a": 1}})
    found, before = revisions.decode(newer), revisions.decode(manifest)
    assert (found.revision, found.kept) == (before.revision, before.kept)
    assert found.revision is not None
    spec = deployment(name=found.revision.deployment, namespace="shop")
    assert revisions.again(newer, spec, found.kept, OWNER)["data"] == newer["data"]


def in_the_middle() -> World:
    """A canary with 20 % of the calls."""
    world = served(World())
    world.apply(deployment("2", canary_percent=20))
    world.roll(CANDIDATE)
    world.restart()
    return world


def unreadable(world: World, name: str) -> None:
    world.revisions[name]["data"]["components"][0]["source"]["type"] = "of-a-later-release"


@pytest.mark.parametrize("is_remembered", [True, False])
def test_a_canary_beside_what_cannot_be_read_is_not_promoted_but_refused(is_remembered: bool) -> None:
    world = in_the_middle()
    unreadable(world, "iris-00001")
    if not is_remembered:
        world.revisions["iris-00002"]["metadata"]["annotations"][STANDING] = '{"weights":"of-a-later-release"}'
    with pytest.raises(histories.Unreadable, match="iris-00001") as refused:
        histories.see_readable(world.spec, world.observed())
    assert refused.value.hint is not None
    assert "go back to the operator that wrote it" in refused.value.hint


def test_a_canary_that_cannot_be_read_is_made_again_of_the_spec_and_the_split_stays() -> None:
    world = in_the_middle()
    unreadable(world, "iris-00002")
    histories.see_readable(world.spec, world.observed())
    world.settle()
    assert world.targets() == {STABLE: "iris-00001", CANDIDATE: "iris-00003"}
    assert world.weights() == {STABLE: 80, CANDIDATE: 20}


def test_an_old_revision_that_nobody_calls_need_not_be_read() -> None:
    world = served(World())
    world.apply(deployment("2"))
    world.settle()
    unreadable(world, "iris-00001")
    world.restart()
    histories.see_readable(world.spec, world.observed())
    world.settle()
    assert world.targets() == {STABLE: "iris-00002"}
    assert "iris-00003" not in world.revisions


class Kept:
    """An API server with the settings of a later release."""

    async def get(self, kind: Any, namespace: str, name: str) -> dict[str, Any]:
        return {"data": {"settings.yaml": "domain: models.example.com\nofALaterRelease: true\n"}}


def test_an_operator_does_not_start_with_settings_of_its_own_in_place_of_those_it_does_not_understand() -> None:
    with pytest.raises(running.SettingsError, match="ofALaterRelease") as refused:
        asyncio.run(running.read_settings(Kept(), "tiffin-system", ()))  # type: ignore[arg-type]
    assert refused.value.hint is not None
    assert "tiffin install" in refused.value.hint
