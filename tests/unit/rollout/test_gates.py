"""Gates by themselves: what passes, what waits, what fails, and how often an equal revision fails."""

import random
from bisect import bisect_left
from itertools import accumulate

import pytest

from tiffin.rollout import gates
from tiffin.rollout.gates import Agreement, Reading
from tiffin.rollout.streams import Stream
from tiffin.spec.rollout import Gate

ERRORS = Gate(kind="error-rate", margin=0.01)
LATENCY = Gate(kind="latency", quantile=0.95, ratio=1.2)
AGREEMENT = Gate(kind="agreement", least=0.98)
QUERY = Gate(kind="query", query="up", server="http://x", least=0.5, most=2.0)
BOUNDS = tuple(1.2**power for power in range(45))


class Durations:
    """Durations counted by bounds, as a gateway does."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)

    def add(self, milliseconds: float) -> None:
        self.counts[bisect_left(BOUNDS, milliseconds)] += 1

    def stream(self) -> Stream:
        sums = list(accumulate(self.counts))
        return Stream(sums[-1], 0, tuple(zip(BOUNDS, sums, strict=False)), sums[-1])


@pytest.mark.parametrize(
    ("canary", "stable", "outcome"),
    [
        pytest.param((100, 0), (900, 1), "pass", id="no failures"),
        pytest.param((49, 49), (900, 1), "wait", id="fewer calls than say anything"),
        pytest.param((100, 0), (10, 0), "wait", id="no stable one to compare with"),
        pytest.param((50, 10), (900, 1), "fail", id="every fifth fails"),
        pytest.param((60, 1), (900, 0), "wait", id="one failure, which may be chance"),
        pytest.param((1000, 205), (9000, 1800), "pass", id="both fail alike"),
        pytest.param((0, 0), (0, 0), "wait", id="no traffic"),
    ],
)
def test_error_rates(canary: tuple[int, int], stable: tuple[int, int], outcome: str) -> None:
    found = gates.error_rate(0, ERRORS, "rollout", Stream(*canary), Stream(*stable), least=50, alpha=0.02)
    assert found.outcome == outcome, found.sentence
    assert f"canary failed {canary[1]} of {canary[0]}" in found.sentence or outcome == "wait"
    assert (found.evidence or 0) >= 1 / 0.02 or outcome != "fail"


def test_evidence_shows_both_sides_with_their_intervals() -> None:
    found = gates.error_rate(0, ERRORS, "step", Stream(200, 20), Stream(2000, 2), least=50, alpha=0.02)
    assert found.canary is not None
    assert found.stable is not None
    assert found.canary.low is not None
    assert found.canary.high is not None
    assert 0.03 < found.canary.low < 0.1 < found.canary.high < 0.25
    assert found.stable.estimate == pytest.approx(0.001)
    assert (found.threshold, found.bound) == (0.01, 0.02)


def compare(source: random.Random, factor: float, *, calls: int, every: int, alpha: float) -> int | None:
    """Calls of the canary until the gate fails, durations log-normal around 20 ms."""
    canary, stable = Durations(), Durations()
    for number in range(1, calls + 1):
        canary.add(factor * 20.0 * source.lognormvariate(0, 0.4))
        for _ in range(3):
            stable.add(20.0 * source.lognormvariate(0, 0.4))
        if number % every == 0:
            found = gates.latency(0, LATENCY, "rollout", canary.stream(), stable.stream(), least=50, alpha=alpha)
            if found.outcome == "fail":
                return number
    return None


def test_latencies_that_are_equal_raise_no_more_alarms_than_the_bound() -> None:
    source = random.Random(6)
    alarms = [compare(source, 1.0, calls=600, every=10, alpha=0.1) for _ in range(50)]
    assert sum(number is not None for number in alarms) / len(alarms) <= 0.1


def test_twice_the_latency_is_found_within_400_calls() -> None:
    source = random.Random(7)
    numbers = [compare(source, 2.0, calls=1000, every=10, alpha=0.0125) for _ in range(20)]
    assert all(number is not None and number <= 400 for number in numbers), numbers


def test_latency_says_between_which_bounds_the_quantile_is() -> None:
    source, canary, stable = random.Random(8), Durations(), Durations()
    for _ in range(2000):
        canary.add(40.0 * source.lognormvariate(0, 0.1))
        stable.add(20.0 * source.lognormvariate(0, 0.1))
    found = gates.latency(0, LATENCY, "rollout", canary.stream(), stable.stream(), least=50, alpha=0.02)
    assert found.outcome == "fail"
    assert found.canary is not None
    assert found.canary.low is not None
    assert found.canary.high is not None
    assert found.canary.low < 40 * 1.18 < found.canary.high
    assert "p95" in found.sentence


def test_agreement_fails_below_what_is_wanted_and_passes_above() -> None:
    def outcome(compared: int, equal: int) -> str:
        return gates.agreement(0, AGREEMENT, "rollout", Agreement(compared, equal), least=50, alpha=0.02).outcome

    assert outcome(1000, 999) == "pass"
    assert outcome(1000, 850) == "fail"
    assert outcome(100, 97) == "wait"
    assert outcome(20, 0) == "wait"


@pytest.mark.parametrize(
    ("reading", "outside", "outcome"),
    [
        (None, 0, "wait"),
        (Reading(value=1.0, time=1.0), 0, "pass"),
        (Reading(value=9.0, time=1.0), 1, "wait"),
        (Reading(value=9.0, time=1.0), 3, "fail"),
        (Reading(value=0.1, time=1.0), 3, "fail"),
        (Reading(value=float("nan"), time=1.0), 3, "wait"),
        (Reading(error="the server cannot be reached", time=1.0), 9, "wait"),
    ],
)
def test_queries(reading: Reading | None, outside: int, outcome: str) -> None:
    found = gates.query(0, QUERY, reading, outside)
    assert found.outcome == outcome
    if reading is not None and reading.error:
        assert reading.error in found.sentence
