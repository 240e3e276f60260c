"""The life of a replica."""

import itertools

import pytest

from tiffin.runtime.lifecycle import NEXT, State, after

EVENTS = ["loaded", "failed", "drain", "idle", "late"]


@pytest.mark.parametrize(
    ("events", "state"),
    [
        ([], State.STARTING),
        (["loaded"], State.READY),
        (["failed"], State.STOPPED),
        (["drain"], State.STOPPED),
        (["loaded", "drain"], State.DRAINING),
        (["loaded", "drain", "idle"], State.STOPPED),
        (["loaded", "drain", "late"], State.STOPPED),
        (["loaded", "drain", "drain"], State.STOPPED),
        (["idle", "late"], State.STARTING),
        (["loaded", "loaded", "failed", "idle", "late"], State.READY),
        (["loaded", "drain", "loaded"], State.DRAINING),
    ],
)
def test_lives(events: list[str], state: State) -> None:
    found = State.STARTING
    for event in events:
        found = after(found, event)
    assert found is state


def test_nothing_leaves_stopped_and_nothing_comes_back_to_ready() -> None:
    assert all(after(State.STOPPED, event) is State.STOPPED for event in [*EVENTS, "anything"])
    assert [key for key, state in NEXT.items() if state is State.READY] == [(State.STARTING, "loaded")]


def test_every_state_can_be_stopped_with_two_signals() -> None:
    for start in State:
        assert after(after(start, "drain"), "drain") is State.STOPPED
    for start, event in itertools.product(State, EVENTS):
        assert isinstance(after(start, event), State)
