"""The rules of the HorizontalPodAutoscaler: tables computed by hand from its documentation."""

import pytest

from tiffin.autoscale import hpa
from tiffin.autoscale.hpa import State, replicas_for, stabilized
from tiffin.autoscale.samples import Use
from tiffin.spec import Measure, Stabilization

CPU = Measure(metric="cpu", target=50)


def wanted(uses: list[Use], measure: Measure = CPU, cpu: float | None = 1.0, memory: int | None = None):
    return replicas_for(measure, uses, cpu=cpu, memory_bytes=memory, tolerance=0.1)


@pytest.mark.parametrize(
    ("cores", "expected"),
    [
        ([0.5], 1),
        ([1.0], 2),
        ([0.55], 1),  # within the tolerance of 10 %
        ([0.56], 2),
        ([0.45], 1),
        ([0.25, 0.25], 1),
        ([0.5, 0.5, 0.5], 3),
        ([0.9, 0.9, 0.9], 6),
        ([0.0, 0.0], 0),
        ([2.0], 4),
    ],
)
def test_replicas_are_the_ratio_of_use_to_target_rounded_up(cores: list[float], expected: int) -> None:
    assert wanted([Use(cpu=amount) for amount in cores]) == expected


@pytest.mark.parametrize(
    ("uses", "expected"),
    [
        # Two use little, one is unknown: it counts as using its target, (0.1 + 0.1 + 0.5) / 0.5 = 1.4.
        ([Use(0.1), Use(0.1), Use()], 2),
        # Two use much, one is unknown: it counts as using nothing, 2.0 / 0.5 = 4.
        ([Use(1.0), Use(1.0), Use()], 4),
        # The unknown one turns the direction round: nothing changes.
        ([Use(0.6), Use(0.6), Use()], 3),
        # A fresh one counts as nothing on the way up, and not at all on the way down.
        ([Use(1.0), Use(3.0, is_ready=False)], 2),
        ([Use(0.9), Use(0.9), Use(0.9, is_ready=False)], 4),
        ([Use(0.1), Use(3.0, is_ready=False)], 1),
        # Counted as nothing, the fresh one brings the ratio into the tolerance: 3.2 / 3.
        ([Use(0.8), Use(0.8), Use(0.8, is_ready=False)], 3),
        ([Use(), Use()], None),
        ([Use(1.0, is_ready=False)], None),
        ([], None),
    ],
)
def test_what_is_not_known_dampens(uses: list[Use], expected: int | None) -> None:
    assert wanted(uses) == expected


def test_percentages_are_of_what_is_asked_for_and_values_are_not() -> None:
    uses = [Use(cpu=1.0, memory_bytes=3e9)]
    assert wanted(uses, cpu=4.0) == 1
    assert wanted(uses, cpu=None) == 2
    assert wanted(uses, Measure(metric="memory", target=50), memory=2 * 10**9) == 3
    assert wanted(uses, Measure(metric="memory", target=10**9, is_value=True)) == 3
    assert wanted(uses, Measure(metric="cpu", target=0.25, is_value=True), cpu=8.0) == 4
    assert wanted(uses, Measure(metric="cpu")) == 2  # of 80 %: 1.25


def run(script: list[tuple[float, int]], settings: Stabilization, current: int) -> list[int]:
    state, counts = State(), []
    for now, count in script:
        state, current = stabilized(state, count, current=current, settings=settings, now=now)
        counts.append(current)
    return counts


def test_down_only_to_the_most_of_the_window() -> None:
    settings = Stabilization(down_seconds=60)
    script = [(second, 10 if second < 30 else 2) for second in range(0, 120, 10)]
    counts = run(script, settings, 10)
    assert counts[:8] == [10] * 8
    assert counts[8] == 2  # 80 s: ten was wanted last at 20 s


def test_up_only_to_the_least_of_the_window() -> None:
    settings = Stabilization(up_seconds=30, down_seconds=0)
    script = [(0, 1), (10, 3), (20, 9), (30, 9), (40, 9), (50, 9)]
    assert run(script, settings, 1) == [1, 1, 1, 3, 5, 7]


def test_up_by_four_or_to_twice_as_many_in_fifteen_seconds() -> None:
    settings = Stabilization()
    script = [(float(second), 100) for second in range(0, 61, 5)]
    counts = run(script, settings, 1)
    assert counts == [5, 5, 5, 10, 10, 10, 20, 20, 20, 40, 40, 40, 80]


def test_what_is_remembered_stays_short_under_constant_load() -> None:
    state = State()
    for second in range(5000):
        state, _ = stabilized(state, 3, current=3, settings=Stabilization(), now=float(second))
    assert len(state.recommended) <= 3
    assert len(state.counts) <= 3


def test_defaults_are_those_of_kubernetes_and_kserve() -> None:
    assert hpa.TARGET_PERCENT == 80
    assert Stabilization().down_seconds == 300
    assert Stabilization().tolerance == 0.1
