"""What is said of a deployment."""

import msgspec

from tiffin.plan.conditions import View, conditions, revision_statuses
from tiffin.plan.revision import Revision
from tiffin.plan.share import Spread, Standing, aim
from tiffin.plan.state import Condition, Problem, ReplicaPhase, ReplicaStatus
from tiffin.spec import Artefact, Component, ModelSource

PART = Component(source=ModelSource(artefact=Artefact(uri="m")))
BROKEN = Problem(reason="ModelLoadFailed", message="no more beans", hint="buy some")


def revision(number: int) -> Revision:
    return Revision(
        namespace="default",
        deployment="iris",
        number=number,
        variant="main",
        protocol="open-inference",
        components=(PART,),
        digest=str(number),
    )


def replica(number: int, phase: ReplicaPhase, problem: Problem | None = None) -> ReplicaStatus:
    name = f"iris-{number:05d}"
    return ReplicaStatus(name=f"{name}-r", revision=name, component="predictor", phase=phase, problem=problem)


def view(standing: Standing, *able: int, **more: object) -> View:
    found = aim(standing, frozenset(able))
    wanted = {number: {"predictor": 1} for number in found.wanted}
    return View(
        aims={"main": found},
        spread=Spread(dict(found.shares), {}),
        revisions={number: revision(number) for number in (1, 2)},
        wanted=wanted,
        **more,  # type: ignore[arg-type]
    )


NEW = Standing(current=2, rolled_out=1, serving={1: 100.0}, proven=(1,), latest_ready=1)


def ready(one: View) -> Condition:
    return conditions(one, (), 1.0)[0]


def test_all_is_well_when_the_newest_serves() -> None:
    one = view(Standing(current=1), 1, replicas=(replica(1, "Ready"),))
    assert [(found.type, found.status) for found in conditions(one, (), 1.0)] == [
        ("Ready", "True"),
        ("LatestReady", "True"),
        ("Routed", "True"),
        ("PredictorReady", "True"),
    ]


def test_a_new_revision_that_fails_is_told_though_the_old_one_serves() -> None:
    one = view(NEW, 1, replicas=(replica(1, "Ready"), replica(2, "CrashLoopBackOff", BROKEN)))
    found = {condition.type: condition for condition in conditions(one, (), 1.0)}
    assert (found["Ready"].status, found["Ready"].reason, found["Ready"].hint) == (
        "False",
        "ModelLoadFailed",
        "buy some",
    )
    assert found["PredictorReady"].status == "True"
    assert [(status.name, status.phase, status.weight) for status in revision_statuses(one)] == [
        ("iris-00001", "Ready", 100.0),
        ("iris-00002", "Failed", 0.0),
    ]


def test_what_is_on_its_way_is_unknown_not_false() -> None:
    starting = view(NEW, 1, replicas=(replica(1, "Ready"), replica(2, "Starting")))
    assert (ready(starting).status, ready(starting).reason) == ("Unknown", "Starting")
    fetching = view(NEW, 1, replicas=(replica(1, "Ready"),), preparing=frozenset({2}))
    assert ready(fetching).reason == "Fetching"
    untold = view(Standing(current=1), 1, replicas=(replica(1, "Ready"),), is_told=False)
    assert (ready(untold).status, ready(untold).reason) == ("Unknown", "Routing")
    unseen = view(Standing(current=1), 1, replicas=(replica(1, "Ready"),), is_observed=False)
    assert ready(unseen).status == "Unknown"


def test_a_revision_that_was_rolled_back_is_told() -> None:
    rejected = msgspec.structs.replace(NEW, rejected=2, override=0.0)
    one = View(
        aims={"main": aim(rejected, frozenset({1, 2}), has_rollout=True)},
        spread=Spread({1: 100.0}, {}),
        revisions={1: revision(1), 2: revision(2)},
        replicas=(replica(1, "Ready"),),
    )
    assert (ready(one).reason, ready(one).message) == (
        "RolledBack",
        "iris-00002 was rolled back; iris-00001 serves",
    )


def test_one_that_nobody_calls_is_ready_without_a_replica() -> None:
    served = Standing(current=1, rolled_out=1, serving={1: 100.0}, proven=(1,))
    one = view(served, 1, idle=frozenset({1}))
    assert ready(one).status == "True"
    assert revision_statuses(one)[0].phase == "Idle"


def test_a_gateway_that_cannot_be_told_and_a_stop_are_told() -> None:
    full = Problem(reason="DiskFull", message="no room", hint="make room")
    one = view(Standing(current=1), 1, replicas=(replica(1, "Ready"),), gateway=full)
    assert ready(one).reason == "DiskFull"
    stopped = View(aims={}, spread=Spread({}, {}), revisions={}, is_stopped=True)
    assert (ready(stopped).status, ready(stopped).reason) == ("False", "Stopped")


def test_a_condition_keeps_the_time_of_its_last_change() -> None:
    one = view(Standing(current=1), 1, replicas=(replica(1, "Ready"),))
    first = conditions(one, (), 1.0)
    assert {found.since for found in conditions(one, first, 2.0)} == {1.0}
    later = conditions(view(Standing(current=1)), first, 3.0)
    assert {found.type: found.since for found in later}["Ready"] == 3.0
