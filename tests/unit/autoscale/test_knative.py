"""The rules of Knative's autoscaler: tables computed by hand from its documented formulas."""

import msgspec
import pytest

from tiffin.autoscale import knative
from tiffin.autoscale.knative import State, Target, recommend, target_of
from tiffin.spec import Measure, Windows

WINDOWS = Windows()


def fed(values: list[float], *, ready: int = 1, windows: Windows = WINDOWS, target: float = 10.0, **more: bool):
    """One value a second; the last recommendation and the state."""
    state, found = State(), None
    for second, value in enumerate(values):
        state, found = recommend(
            state,
            value,
            windows=windows,
            target=Target(target, target),
            ready=ready,
            now=float(second),
            **more,
        )
    return state, found


@pytest.mark.parametrize(
    ("measure", "limit", "total", "aim"),
    [
        (Measure(), None, 100, 70),
        (Measure(target=10), None, 10, 7),
        (Measure(target=10), 5, 5, 3.5),
        (Measure(), 1, 1, 0.7),
        (Measure(target=0.001), None, 0.001, 0.01),
        (Measure(metric="rps"), None, 200, 140),
        (Measure(metric="rps", target=50), 1, 50, 35),
    ],
)
def test_what_is_aimed_at_is_the_utilization_of_the_target(measure, limit, total, aim) -> None:
    found = target_of(measure, WINDOWS, limit)
    assert found.total == total
    assert found.aim == pytest.approx(aim)


@pytest.mark.parametrize(
    ("value", "ready", "expected"),
    [
        (0.0, 1, 0),
        (0.001, 1, 1),
        (10.0, 1, 1),
        (10.1, 1, 2),
        (95.0, 10, 10),
        # Down to half at most, rounded down.
        (1.0, 10, 5),
        (1.0, 9, 4),
        (0.0, 2, 1),
    ],
)
def test_replicas_are_load_by_target_rounded_up_within_the_rates(value, ready, expected) -> None:
    _, found = fed([value] * 60, ready=ready)
    assert found.replicas == expected


def test_up_by_the_rate_and_by_one_at_least() -> None:
    slow = msgspec.structs.replace(WINDOWS, max_up_rate=1.1, panic_threshold_percent=1000)
    assert fed([300.0], ready=10, windows=slow)[1].replicas == 11
    assert fed([300.0], ready=1, windows=slow)[1].replicas == 2
    assert fed([300.0], ready=0, windows=slow)[1].replicas == 2


def test_what_nobody_reaches_goes_down_at_once() -> None:
    assert fed([0.0] * 60, ready=10, is_reachable=False)[1].replicas == 0


@pytest.mark.parametrize(("ready", "is_panic"), [(1, True), (2, True), (3, False)])
def test_panic_begins_at_twice_what_is_ready(ready: int, is_panic: bool) -> None:
    """31 to 40 calls at 10 each want four replicas: twice two."""
    _, found = fed([5.0] * 54 + [40.0] * 6, ready=ready)
    assert found.panic == 40
    assert found.is_panic is is_panic
    # The stable average is (54 * 5 + 6 * 40) / 60.
    assert found.stable == pytest.approx(8.5)
    assert found.replicas == (4 if is_panic else 1)


def test_panic_only_ever_goes_up_and_ends_a_stable_window_after_the_burst() -> None:
    state, counts = State(), []
    for second in range(200):
        value = 100.0 if 60 <= second < 70 else 5.0
        state, found = recommend(
            state, value, windows=WINDOWS, target=Target(10, 10), ready=1 if second < 63 else 10, now=float(second)
        )
        counts.append((found.is_panic, found.replicas))
    assert not counts[59][0]
    begun = next(second for second, (is_panic, _) in enumerate(counts) if is_panic)
    ended = next(second for second in range(begun, 200) if not counts[second][0])
    assert begun == 60
    # With ten ready, the burst is over the threshold no more; 60 s after it was last, panic ends.
    assert 62 + 60 <= ended <= 70 + 61
    in_panic = [replicas for _, replicas in counts[begun:ended]]
    assert in_panic == sorted(in_panic)
    assert in_panic[-1] == 10
    # Then by half at a time.
    assert counts[ended][1] == 5


def test_activation_scale_is_the_least_when_there_is_load() -> None:
    windows = msgspec.structs.replace(WINDOWS, activation_scale=3)
    assert fed([1.0], windows=windows)[1].replicas == 3
    assert fed([0.0], windows=windows)[1].replicas == 0


def test_a_delayed_way_down_keeps_the_most_of_the_delay() -> None:
    windows = msgspec.structs.replace(
        WINDOWS, stable_seconds=6.0, panic_threshold_percent=1000, scale_down_delay_seconds=30.0
    )
    state, counts = State(), []
    for second in range(80):
        state, found = recommend(
            state,
            50.0 if second < 20 else 10.0,
            windows=windows,
            target=Target(10, 10),
            ready=5,
            now=float(second),
        )
        counts.append(found.replicas)
    assert counts[19] == 5
    assert counts[20 + 28] == 5
    assert counts[20 + 6 + 30] == 2  # half of five ready, rounded down
    assert len(state.delayed) < 10


@pytest.mark.parametrize(
    ("burst", "ready", "total", "panic", "expected"),
    [
        (0.0, 3, 10.0, 100.0, 0.0),
        (-1.0, 100, 10.0, 0.0, -1.0),
        (211.0, 1, 100.0, 0.0, -111.0),
        (211.0, 4, 100.0, 50.0, 139.0),
        (211.0, 3, 100.0, 88.5, 0.0),
        (10.0, 0, 100.0, 3.2, -14.0),
    ],
)
def test_excess_burst_is_capacity_without_burst_and_load(burst, ready, total, panic, expected) -> None:
    windows = msgspec.structs.replace(WINDOWS, burst_capacity=burst)
    assert knative.excess_burst(windows, Target(total, total), ready, panic) == expected


def test_an_average_is_over_the_seconds_that_were_seen() -> None:
    assert fed([10.0])[1].stable == 10
    assert fed([10.0, 20.0])[1].stable == 15
    assert fed([100.0] * 60 + [0.0] * 30)[1].stable == pytest.approx(50)


def test_nothing_known_is_no_recommendation() -> None:
    state, found = recommend(State(), None, windows=WINDOWS, target=Target(1, 1), ready=3, now=0.0)
    assert found is None
    state, found = recommend(state, 5.0, windows=WINDOWS, target=Target(1, 1), ready=3, now=1.0)
    assert found is not None
    state, found = recommend(state, None, windows=WINDOWS, target=Target(1, 1), ready=3, now=30.0)
    assert found is not None
    assert found.stable == 5
    _, found = recommend(state, None, windows=WINDOWS, target=Target(1, 1), ready=3, now=62.0)
    assert found is None


def test_memory_is_bounded_by_the_window() -> None:
    windows = msgspec.structs.replace(WINDOWS, stable_seconds=30.0)
    state = State()
    for tick in range(4000):
        state, _ = recommend(state, 1.0, windows=windows, target=Target(1, 1), ready=1, now=tick / 10)
    assert len(state.values) == 30


def test_after_a_restart_what_runs_is_not_reduced_for_a_stable_window() -> None:
    state, counts = State.of(6, 0.0), []
    for second in range(70):
        state, found = recommend(state, 5.0, windows=WINDOWS, target=Target(10, 10), ready=6, now=float(second))
        counts.append(found.replicas)
    assert counts[:60] == [6] * 60
    assert counts[-1] == 3
    assert State.of(1, 0.0) == State()
