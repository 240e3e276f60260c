"""What pods and Deployments say is wrong, in words that stay the same while it is the same."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.operator import problems
from tiffin.operator.observing import Part
from tiffin.plan.state import Problem

IMAGE = "registry.example/m:1"


def pod(**status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "iris-predictor-abc", "uid": "p-1"}, "status": status}


def container(name: str = "kserve-container", **more: Any) -> dict[str, Any]:
    return {"name": name, "image": IMAGE, "ready": False, "restartCount": 0} | more


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"state": {"waiting": {"reason": reason, "message": message}}}


def ended(code: int, message: str = "", reason: str = "Error") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, "message": message}}


def told(**status: Any) -> Problem:
    found = problems.of_pod(pod(**status))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("status", "reason", "words", "phase"),
    [
        (
            {"containerStatuses": [container(**waiting("ErrImagePull", "not found"))]},
            "ImagePullBackOff",
            f"the image {IMAGE} cannot be pulled: not found",
            "Pending",
        ),
        (
            {"containerStatuses": [container(**waiting("InvalidImageName", "bad"))]},
            "InvalidImageName",
            "cannot be pulled: bad",
            "Pending",
        ),
        (
            {"containerStatuses": [container(**waiting("CreateContainerConfigError", 'secret "s" not found'))]},
            "CreateContainerConfigError",
            'secret "s" not found',
            "Pending",
        ),
        (
            {"containerStatuses": [container(**waiting("CrashLoopBackOff"), lastState=ended(3, "a\nBoom: no\n"))]},
            "CrashLoopBackOff",
            "ended with exit code 3",
            "CrashLoopBackOff",
        ),
        (
            {"containerStatuses": [container(state={"running": {}}, lastState=ended(137, "", "OOMKilled"))]},
            "OOMKilled",
            "more memory than its limit",
            "CrashLoopBackOff",
        ),
        (
            {"initContainerStatuses": [container("storage-initializer", state=ended(1, "x\nno bucket"))]},
            "ModelLoadFailed",
            "the model could not be fetched: no bucket",
            "CrashLoopBackOff",
        ),
        (
            {
                "conditions": [
                    {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}
                ]
            },
            "Unschedulable",
            "0/3 nodes",
            "Pending",
        ),
        (
            {"phase": "Failed", "reason": "Evicted", "message": "low on memory"},
            "Evicted",
            "low on memory",
            "Failed",
        ),
    ],
)
def test_what_is_wrong_with_a_pod(status: dict[str, Any], reason: str, words: str, phase: str) -> None:
    found = told(**status)
    assert (found.reason, problems.phase_of(pod(**status))) == (reason, phase)
    assert words in found.message
    assert found.hint or reason == "CrashLoopBackOff"


def test_the_last_lines_and_the_exit_code_of_a_container_are_kept() -> None:
    lines = "\n".join(f"line {number}" for number in range(50))
    found = told(
        containerStatuses=[container(**waiting("CrashLoopBackOff", "back-off 10s"), lastState=ended(2, lines))]
    )
    assert found.log == tuple(f"line {number}" for number in range(30, 50))
    assert found.exit_code == 2


def test_a_problem_that_stays_has_the_same_words() -> None:
    states = [
        waiting("ErrImagePull", "denied"),
        waiting("ImagePullBackOff", f'Back-off pulling image "{IMAGE}": ErrImagePull: denied'),
    ]
    assert len({told(containerStatuses=[container(**state)]) for state in states}) == 1
    crashing = [
        container(
            **waiting("CrashLoopBackOff", f"back-off {seconds}s restarting failed container"), lastState=ended(1)
        )
        for seconds in (10, 20, 40)
    ]
    crashing += [container(state={"running": {}}, lastState=ended(1)), container(state=ended(1))]
    assert len({told(containerStatuses=[one]) for one in crashing}) == 1
    failures = [
        {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate",
         "message": f'pods "iris-predictor-{suffix}" is forbidden: exceeded quota'}
        for suffix in ("a1b2c", "d3e4f")
    ]  # fmt: skip
    found = {
        problems.of_part(Part(name="iris-predictor", component="predictor", conditions=(one,))) for one in failures
    }
    assert [one.message for one in found if one] == ["pods is forbidden: exceeded quota"]


def test_events_tell_what_no_status_does() -> None:
    def event(reason: str, message: str, uid: str = "p-1") -> dict[str, Any]:
        return {"involvedObject": {"uid": uid, "name": "iris-predictor-abc"}, "reason": reason, "message": message}

    starting = pod(containerStatuses=[container(**waiting("ContainerCreating"))])
    running = pod(containerStatuses=[container(state={"running": {}})])
    events = [event("FailedMount", 'secret "s" not found'), event("Unhealthy", "Readiness probe failed: 404")]
    mount, probe = problems.of_pod(starting, events), problems.of_pod(running, events)
    assert mount is not None
    assert probe is not None
    assert (mount.reason, probe.reason) == ("FailedMount", "Unhealthy")
    assert problems.of_pod(running, [event("Unhealthy", "x", uid="p-2")]) is None


def test_a_pod_that_is_ready_or_ends_has_no_problem() -> None:
    ready = pod(
        conditions=[{"type": "Ready", "status": "True"}], containerStatuses=[container(lastState=ended(1))]
    )
    assert problems.of_pod(ready) is None
    assert problems.phase_of(ready) == "Ready"
    leaving = pod(containerStatuses=[container(state=ended(1))])
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert problems.of_pod(leaving) is None
    assert problems.phase_of(leaving) == "Draining"


def test_the_worst_comes_first() -> None:
    order = ["CrashLoopBackOff", "ModelLoadFailed", "ImagePullBackOff", "Unschedulable", "Unhealthy", "Whatever"]
    found = [Problem(reason=reason, message="") for reason in reversed(order)]
    assert [one.reason for one in sorted(found, key=problems.rank)] == order


def test_a_deployment_that_came_to_no_end_says_so() -> None:
    condition = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "x"}
    found = problems.of_part(Part(name="iris-predictor", component="predictor", conditions=(condition,)))
    assert found is not None
    assert found.reason == "ProgressDeadlineExceeded"
    assert problems.of_part(Part(name="iris-predictor", component="predictor")) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["state", "waiting", "terminated", "reason", "message", "name", "exitCode", "type"]),
            inner,
        )
    ),
    max_leaves=12,
)
STATUSES = st.dictionaries(
    st.sampled_from(["phase", "conditions", "containerStatuses", "initContainerStatuses", "reason", "message"]),
    JSON,
)


@given(status=STATUSES)
def test_whatever_a_status_holds_something_is_said(status: dict[str, Any]) -> None:
    one = {"metadata": {"name": "p"}, "status": status}
    assert problems.phase_of(one) in ("Pending", "Starting", "Ready", "Draining", "CrashLoopBackOff", "Failed")
    found = problems.of_pod(one)
    assert found is None or found.reason
    assert problems.is_fetching(one) in (True, False)


def test_what_a_fetch_says_last_is_told_once_with_its_own_hint() -> None:
    said = "hint: a\nerror: nothing at s3://b/k\nhint: check the spelling\nfetching again\n"
    again = "error: nothing at s3://b/k\nhint: check the spelling\n"
    init = container("storage-initializer", state=ended(1, said + again))
    problem = told(initContainerStatuses=[init])
    assert problem.message == "the model could not be fetched: nothing at s3://b/k"
    assert problem.hint == "check the spelling"
    assert problem.log == ("fetching again",)
