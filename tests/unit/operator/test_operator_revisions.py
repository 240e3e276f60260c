"""ControllerRevisions: read back what was written, without secrets, whoever wrote it."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from tests.unit.operator.kubernetes_model import World, deployment, model, served

from tiffin.dialects.secret_uses import VARIABLE
from tiffin.operator import revisions
from tiffin.operator.revisions import KEPT, STANDING, Kept
from tiffin.plan.share import Standing
from tiffin.spec import Artefact, Component, ModelSource, Pod, Scaling

OWNER = {"apiVersion": "v1", "kind": "X", "name": "iris", "uid": "u-1"}
POD = Pod(spec={"containers": [{"name": "kserve-container", "resources": {"limits": {"cpu": "1"}}}]})
SECRET = Component(
    source=ModelSource(
        artefact=Artefact("s3://m/x"),
        credentials={"AWS_SECRET_ACCESS_KEY": "hunter2", VARIABLE: '[{"kind":"kserve","secret":"s"}]'},
    ),
    environment={"TOKEN": "hunter2", "MODE": "fast"},
    secret_variables=("TOKEN",),
    pod=POD,
)


def written(component: Component, kept: Kept | None = None) -> dict[str, Any]:
    spec = deployment(components=(component,))
    manifest = revisions.encode(spec, revisions.make(spec, spec.main, 7), kept, OWNER)
    return json.loads(json.dumps(manifest))


def test_a_revision_is_read_back_as_it_was_written() -> None:
    kept = Kept(standing=Standing(current=7, serving={7: 100.0}, judged=b"\x00\xff"), weights={"stable": 100.0})
    found = revisions.decode(written(model("1", pod=POD), kept), created=5.0)
    assert found.revision is not None
    assert (found.name, found.number, found.variant, found.kept) == ("iris-00007", 7, "main", kept)
    assert (found.revision.components[0].pod, found.revision.created) == (POD, 5.0)


def test_no_value_of_a_secret_is_written_and_references_are() -> None:
    text = json.dumps(written(SECRET))
    assert "hunter2" not in text
    assert "fast" in text
    assert VARIABLE in text


def test_a_secret_that_changes_makes_no_revision_and_a_pod_that_does_makes_one() -> None:
    spec = deployment(components=(SECRET,))
    revision = revisions.decode(written(SECRET)).revision
    assert revision is not None
    rotated = msgspec.structs.replace(SECRET, environment={"TOKEN": "other", "MODE": "fast"})
    assert revisions.is_of(revision, deployment(components=(rotated,)).main, spec.protocol)
    more = msgspec.structs.replace(SECRET, scaling=Scaling(min_replicas=5))
    assert revisions.is_of(revision, deployment(components=(more,)).main, spec.protocol)
    labelled = msgspec.structs.replace(SECRET, pod=Pod(labels={"a": "b"}))
    assert not revisions.is_of(revision, deployment(components=(labelled,)).main, spec.protocol)


def test_a_digest_that_was_made_in_other_ways_restarts_nobody() -> None:
    manifest = written(model("1"))
    manifest["data"]["digest"] = "made-by-an-earlier-one"
    revision = revisions.decode(manifest).revision
    assert revision is not None
    assert revisions.is_of(revision, deployment().main, deployment().protocol)


@pytest.mark.parametrize("data", [None, 3, {}, {"number": "x"}, []])
@pytest.mark.parametrize("standing", ["", "{", "[]", '{"weights":3}'])
def test_what_cannot_be_read_is_no_revision_and_stops_nothing(data: Any, standing: str) -> None:
    manifest = written(model("1"))
    manifest["data"] = data
    manifest["metadata"]["annotations"] = {STANDING: standing}
    found = revisions.decode(manifest)
    assert (found.revision, found.kept, found.number, found.variant) == (None, None, 7, "main")


def test_the_oldest_revisions_go_and_what_serves_stays() -> None:
    world = served(World())
    for number in range(2, KEPT + 6):
        world.apply(deployment(str(number)))
        world.roll()
    numbers = sorted(one["revision"] for one in world.revisions.values())
    assert numbers[-1] == KEPT + 5
    assert len(numbers) <= KEPT + 2
    assert numbers[0] > 1
