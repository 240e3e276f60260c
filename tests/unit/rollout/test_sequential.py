"""Tests that may be looked at all the time: simulated, with fixed seeds, against what they promise."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.rollout import sequential


def test_the_mixture_is_the_average_over_all_orders() -> None:
    # Every order of n tosses has the same averaged probability as others with as many hits: together they are 1.
    for calls in (1, 2, 5, 12):
        total = sum(
            math.comb(calls, hits) * math.exp(sequential.log_mixture(calls, hits)) for hits in range(calls + 1)
        )
        assert total == pytest.approx(1.0)


@pytest.mark.parametrize("chance", [0.001, 0.2, 0.5, 0.97])
def test_the_martingale_is_expected_to_stay_where_it_is(chance: float) -> None:
    for calls, hits in ((0, 0), (3, 1), (40, 2)):
        now = sequential.log_mixture(calls, hits) - sequential.log_likelihood(calls, hits, chance)
        hit = sequential.log_mixture(calls + 1, hits + 1) - sequential.log_likelihood(calls + 1, hits + 1, chance)
        miss = sequential.log_mixture(calls + 1, hits) - sequential.log_likelihood(calls + 1, hits, chance)
        assert chance * math.exp(hit) + (1 - chance) * math.exp(miss) == pytest.approx(math.exp(now))


@given(st.integers(1, 5000), st.floats(0, 1), st.sampled_from([0.001, 0.05, 0.2]))
def test_an_interval_holds_the_estimate_and_widens_with_caution(calls: int, share: float, alpha: float) -> None:
    hits = round(share * calls)
    low, high = sequential.interval(calls, hits, alpha)
    assert 0 <= low <= hits / calls <= high <= 1
    wider = sequential.interval(calls, hits, alpha / 10)
    assert wider[0] <= low
    assert high <= wider[1]


def test_an_interval_of_nothing_is_everything() -> None:
    assert sequential.interval(0, 0, 0.05) == (0.0, 1.0)


@pytest.mark.parametrize("chance", [0.002, 0.05, 0.5])
def test_intervals_miss_the_truth_at_any_time_in_fewer_than_the_bound(chance: float) -> None:
    source, alpha, missed, runs = random.Random(1), 0.1, 0, 300
    for _ in range(runs):
        hits = 0
        for calls in range(1, 1501):
            hits += source.random() < chance
            if sequential.rejects(calls, hits, chance, alpha):
                missed += 1
                break
    assert missed / runs <= alpha


def alarm_after(
    source: random.Random,
    canary: float,
    stable: float,
    *,
    margin: float,
    alpha: float,
    weight: float,
    most: int,
    every: int = 1,
) -> int | None:
    """The number of canary calls at the first alarm, looking after ``every`` of them; ``None``: no alarm."""
    calls = failed = others = bad = 0
    while calls < most:
        if source.random() >= weight:
            others += 1
            bad += source.random() < stable
            continue
        calls += 1
        failed += source.random() < canary
        if calls % every:
            continue
        log = sequential.log_evidence_of_more((calls, failed), (others, bad), margin)
        if log >= -math.log(alpha):
            return calls
    return None


@pytest.mark.parametrize(("rate", "margin"), [(0.02, 0.0), (0.2, 0.0), (0.001, 0.01)])
def test_equal_revisions_raise_fewer_false_alarms_than_the_bound_allows(rate: float, margin: float) -> None:
    source, alpha, runs = random.Random(2), 0.1, 200
    alarms = sum(
        alarm_after(source, rate, rate, margin=margin, alpha=alpha, weight=0.3, most=1000, every=5) is not None
        for _ in range(runs)
    )
    assert alarms / runs <= alpha


def test_a_canary_at_the_edge_of_its_margin_raises_no_more_than_that_either() -> None:
    source, alpha, runs = random.Random(3), 0.1, 200
    alarms = sum(
        alarm_after(source, 0.06, 0.05, margin=0.01, alpha=alpha, weight=0.5, most=1000, every=5) is not None
        for _ in range(runs)
    )
    assert alarms / runs <= alpha


def test_a_canary_with_five_percent_errors_is_found_within_800_of_its_calls() -> None:
    source = random.Random(4)
    found = [alarm_after(source, 0.05, 0.001, margin=0.01, alpha=0.0125, weight=0.1, most=3000) for _ in range(40)]
    assert all(calls is not None for calls in found)
    numbers = sorted(calls for calls in found if calls is not None)
    assert numbers[len(numbers) // 2] < 400
    assert numbers[int(0.95 * len(numbers))] < 800


def test_a_canary_that_only_fails_is_found_within_ten_calls() -> None:
    found = alarm_after(random.Random(5), 1.0, 0.001, margin=0.01, alpha=0.0125, weight=0.05, most=100)
    assert found is not None
    assert found <= 10


@given(st.integers(0, 300), st.floats(0, 1), st.integers(0, 300), st.floats(0, 1), st.floats(0, 1))
def test_evidence_is_never_against_what_was_seen(n: int, p: float, m: int, q: float, margin: float) -> None:
    hits, others = round(n * p), round(m * q)
    log = sequential.log_evidence_of_more((n, hits), (m, others), margin)
    assert not math.isnan(log)
    if n and m and hits / n <= others / m + margin:
        assert log <= 0.0


@given(st.integers(1, 200), st.integers(1, 200), st.floats(0.0, 0.3))
def test_the_least_evidence_over_the_hypothesis_is_found(n: int, m: int, margin: float) -> None:
    hits, others = n, m // 3
    log = sequential.log_evidence_of_more((n, hits), (m, others), margin)
    grid = [index / 400 * (1 - margin) for index in range(401)]
    least = min(
        sequential.log_mixture(n, hits)
        + sequential.log_mixture(m, others)
        - sequential.log_likelihood(n, hits, min(1.0, chance + margin))
        - sequential.log_likelihood(m, others, chance)
        for chance in grid
    )
    assert log <= least + 1e-6
