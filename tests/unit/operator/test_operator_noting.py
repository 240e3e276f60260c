"""Events: counted when they come again, and never in floods."""

from __future__ import annotations

from typing import Any

from tests.unit.operator.kubernetes_model import CANDIDATE, World, deployment, served

from tiffin.operator.noting import AGAIN_SECONDS, BURST, REFILL_SECONDS, Note, Notebook

ABOUT: dict[str, Any] = {
    "apiVersion": "serving.kserve.io/v1beta1",
    "kind": "InferenceService",
    "metadata": {"name": "iris", "namespace": "ns", "uid": "u-1"},
}
BROKEN = Note(reason="CrashLoopBackOff", message="it ended", type="Warning")


def test_an_event_names_what_it_is_about() -> None:
    (found,) = Notebook().events(ABOUT, [BROKEN], 1000.0)
    assert found["metadata"]["namespace"] == "ns"
    assert (found["involvedObject"]["uid"], found["type"], found["count"]) == ("u-1", "Warning", 1)
    assert found["firstTimestamp"] == found["lastTimestamp"] == "1970-01-01T00:16:40Z"


def test_what_stays_so_is_told_once_and_counted_when_it_comes_again() -> None:
    book = Notebook()
    (first,) = book.events(ABOUT, [BROKEN], 0.0)
    assert all(book.events(ABOUT, [BROKEN], float(second)) == [] for second in range(1, 60))
    book.events(ABOUT, [Note(reason="Ready", message="it can be called")], 61.0)
    (again,) = book.events(ABOUT, [BROKEN], 62.0)
    assert again["metadata"]["name"] == first["metadata"]["name"]
    assert (again["count"], again["firstTimestamp"]) == (2, first["firstTimestamp"])
    assert book.events(ABOUT, [BROKEN], 62.0 + AGAIN_SECONDS) != []


def test_several_things_that_stay_so_are_told_once_each() -> None:
    book = Notebook()
    several = [Note(reason="NotHonoured", message=str(number)) for number in range(3)]
    assert len(book.events(ABOUT, several, 0.0)) == 3
    assert all(book.events(ABOUT, several, float(second)) == [] for second in range(1, 60))


def test_one_object_tells_a_bounded_number_and_another_one_is_not_kept_from_it() -> None:
    book = Notebook()
    many = [Note(reason="Odd", message=str(number)) for number in range(200)]
    assert len(book.events(ABOUT, many, 0.0)) == BURST
    assert book.events(ABOUT, many[BURST + 1 :], 1.0) == []
    assert len(book.events(ABOUT, many[BURST + 1 :], REFILL_SECONDS + 1)) == 1
    other = {**ABOUT, "metadata": {"name": "other", "uid": "u-2"}}
    assert len(book.events(other, many[:3], 1.0)) == 3


def test_what_happens_to_a_deployment_is_told_when_it_happens() -> None:
    world = World()
    reasons = [note.reason for note in world.apply(deployment()).notes]
    assert reasons == ["RevisionCreated"]
    assert [note.reason for note in world.roll().notes] == ["TrafficChanged", "InferenceServiceReady"]
    assert world.reconcile().notes == ()
    world.apply(deployment("2", canary_percent=20))
    (note,) = [one for one in world.roll(CANDIDATE).notes if one.reason == "TrafficChanged"]
    assert note.message == "iris-00001 80 %, iris-00002 20 %"


def test_a_failing_deployment_settles_to_no_writes() -> None:
    world = served(World())
    world.fail()
    world.reconcile()
    world.reconcile()
    assert world.writes == 0
