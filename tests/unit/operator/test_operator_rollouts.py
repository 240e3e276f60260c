"""Rollouts of a cluster: steps and gates, what people ask for by annotation, and what outlives an operator."""

from __future__ import annotations

import pytest
from tests.unit.operator.kubernetes_model import CANDIDATE, STABLE, World, deployment, served

from tiffin.operator.rollouts import REQUEST
from tiffin.rollout.machine import Evidence
from tiffin.rollout.streams import Stream
from tiffin.spec import Deployment, Gate, Rollout, Step

STEPS = (Step(weight=10, seconds=20), Step(weight=50, seconds=20))
ROLLOUT = Rollout(steps=STEPS, gates=(Gate(kind="error-rate", margin=0.01),), min_calls=50)


def second(**changes: object) -> Deployment:
    return deployment("2", rollout=ROLLOUT, dialect="tiffin", **changes)


@pytest.fixture
def world() -> World:
    """A second revision that is ready beside the first one."""
    found = World()
    served(found, rollout=ROLLOUT, dialect="tiffin")
    found.apply(second())
    found.roll(CANDIDATE)
    return found


def look(world: World, canary: Stream, stable: Stream, seconds: float = 5.0) -> None:
    """Time passes, and the judge is told what was counted."""
    world.now += seconds
    world.reconcile(evidence={"main": Evidence(canary=canary, stable=stable)})


def ask(world: World, action: str) -> list[str]:
    world.object["metadata"]["annotations"][REQUEST] = action
    return [note.reason for note in world.reconcile().notes]


def test_a_candidate_gets_its_first_step_once_it_is_ready(world: World) -> None:
    assert world.weights() == {STABLE: 90, CANDIDATE: 10}
    assert world.outcome.requeue_after is not None
    assert [contest.candidate.revision for contest in world.outcome.contests] == ["iris-00002"]


def test_steps_are_taken_while_the_gates_pass_and_the_stable_pods_are_replaced_at_the_end(world: World) -> None:
    for count in range(1, 6):
        look(world, Stream(40 * count, 0), Stream(400 * count, 0))
    assert world.weights() == {STABLE: 50, CANDIDATE: 50}
    for count in range(6, 12):
        look(world, Stream(40 * count, 0), Stream(400 * count, 0))
    assert world.targets() == {STABLE: "iris-00002", CANDIDATE: "iris-00002"}
    assert world.weights() == {STABLE: 50, CANDIDATE: 50}
    assert world.outcome.contests == ()
    world.settle()
    assert world.targets() == {STABLE: "iris-00002"}
    assert world.ready() == "True"


def test_a_candidate_that_fails_calls_is_rolled_back_and_goes(world: World) -> None:
    notes = []
    for count in range(1, 6):
        look(world, Stream(100 * count, 60 * count), Stream(400 * count, 0))
        notes += [note.reason for note in world.outcome.notes]
    assert "RolledBack" in notes
    assert world.weights() == {STABLE: 100}
    world.settle()
    assert world.targets() == {STABLE: "iris-00001"}
    latest = world.outcome.status.condition("LatestReady")
    assert latest is not None
    assert (latest.status, latest.reason) == ("False", "RolledBack")
    world.apply(deployment("3", rollout=ROLLOUT, dialect="tiffin"))
    world.roll(CANDIDATE)
    assert world.weights() == {STABLE: 90, CANDIDATE: 10}


def test_too_few_calls_hold_a_step(world: World) -> None:
    for count in range(1, 30):
        look(world, Stream(count, 0), Stream(count, 0))
    assert world.weights() == {STABLE: 90, CANDIDATE: 10}


def test_what_nobody_could_measure_moves_nothing(world: World) -> None:
    for _ in range(20):
        world.now += 5.0
        world.reconcile()
    assert world.weights() == {STABLE: 90, CANDIDATE: 10}


def test_another_operator_goes_on_with_the_step_and_what_was_counted(world: World) -> None:
    for count in range(1, 6):
        look(world, Stream(40 * count, 0), Stream(400 * count, 0))
    assert world.weights() == {STABLE: 50, CANDIDATE: 50}
    world.restart()
    look(world, Stream(0, 0), Stream(0, 0))
    assert world.weights() == {STABLE: 50, CANDIDATE: 50}
    for count in range(1, 6):
        look(world, Stream(40 * count, 0), Stream(400 * count, 0))
    assert world.targets()[STABLE] == "iris-00002"


def test_a_rollout_that_waits_and_that_nobody_calls_is_not_written_again(world: World) -> None:
    assert ask(world, "pause") == ["Paused"]
    written = 0
    for _ in range(20):
        look(world, Stream(0, 0), Stream(0, 0))
        written += len(world.outcome.revisions_to_write)
    assert written == 0
    assert ask(world, "resume@2") == ["Resumed"]
    look(world, Stream(40, 0), Stream(400, 0))
    assert world.weights() == {STABLE: 90, CANDIDATE: 10}, "the time of the pause is none of the step"


def test_what_the_judge_counted_is_written_seldom(world: World) -> None:
    written = 0
    for count in range(1, 11):
        look(world, Stream(count, 0), Stream(count, 0), seconds=2.0)
        written += len(world.outcome.revisions_to_write)
    assert 0 < written <= 3


@pytest.mark.parametrize("again", [1, 3])
def test_a_request_is_obeyed_once(world: World, again: int) -> None:
    assert ask(world, "pause@1") == ["Paused"]
    for _ in range(again):
        assert ask(world, "pause@1") == []
    for count in range(1, 20):
        look(world, Stream(40 * count, 0), Stream(400 * count, 0))
    assert world.weights() == {STABLE: 90, CANDIDATE: 10}
    assert ask(world, "resume@2") == ["Resumed"]
    for count in range(20, 26):
        look(world, Stream(40 * count, 0), Stream(400 * count, 0))
    assert world.weights() == {STABLE: 50, CANDIDATE: 50}


def test_a_promotion_ends_the_rollout_at_once(world: World) -> None:
    assert ask(world, "promote") == ["Promoted"]
    assert world.targets() == {STABLE: "iris-00002", CANDIDATE: "iris-00002"}
    assert world.weights() == {STABLE: 90, CANDIDATE: 10}
    world.settle()
    assert world.targets() == {STABLE: "iris-00002"}


def test_an_undo_keeps_the_older_revision_and_a_promotion_takes_it_back(world: World) -> None:
    assert "RolledBack" in ask(world, "undo")
    assert world.weights() == {STABLE: 100}
    world.settle()
    assert world.targets() == {STABLE: "iris-00001"}
    ask(world, "promote@2")
    world.settle()
    assert world.targets() == {STABLE: "iris-00002"}


def test_an_undo_of_what_was_rolled_out_serves_an_older_revision_until_the_spec_changes() -> None:
    world = World()
    served(world)
    for uri in ("2", "3"):
        world.apply(deployment(uri))
        world.roll()
    assert "RolledBack" in ask(world, "undo:1@now")
    assert world.targets() == {STABLE: "iris-00001"}
    world.settle()
    assert world.weights() == {STABLE: 100}
    assert world.targets() == {STABLE: "iris-00001"}
    assert ask(world, "undo:3@later") == ["Undone"]
    world.settle()
    assert world.targets() == {STABLE: "iris-00003"}
    assert world.ready() == "True"
    world.apply(deployment("4"))
    world.settle()
    assert world.targets() == {STABLE: "iris-00004"}


@pytest.mark.parametrize("asked", ["undo:99", "jump", "undo:x", "promote", "undo:" + "9" * 40, "\x00"])
def test_what_cannot_be_done_is_told_and_changes_nothing(asked: str) -> None:
    world = World()
    served(world)
    before = world.outcome.placement
    assert ask(world, asked) == ["RolloutRequestRefused"]
    assert world.outcome.placement == before
    assert ask(world, asked) == []


def test_a_split_by_the_spec_is_promoted_by_the_spec() -> None:
    world = World()
    served(world)
    world.apply(deployment("2", canary_percent=10))
    world.roll(CANDIDATE)
    assert ask(world, "promote") == ["RolloutRequestRefused"]
    assert world.weights() == {STABLE: 90, CANDIDATE: 10}


def test_a_request_that_is_older_than_the_deployment_is_not_obeyed() -> None:
    world = World()
    world.object["metadata"]["annotations"][REQUEST] = "undo"
    served(world)
    world.apply(deployment("2"))
    world.settle()
    assert world.targets() == {STABLE: "iris-00002"}
