"""Whole decisions, simulated in virtual time over traces of load."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.autoscale.decision import Decision, State, decide
from tiffin.autoscale.samples import Load, Sample, Use
from tiffin.spec import Measure, Scaling, Stabilization, Windows

TRACES = Path(__file__).parent / "traces"


def trace(name: str) -> list[float]:
    """Calls at once by the second."""
    lines = (TRACES / f"{name}.csv").read_text().splitlines()
    assert "ynthetic" in lines[0]
    values = [float(line.partition(",")[2]) for line in lines[2:]]
    return [value for value in values for _ in range(5)]


@dataclass
class Simulation:
    """A pool whose replicas need ``start`` seconds to become ready."""

    scaling: Scaling
    start: int = 3
    state: State = field(default_factory=State)
    wanted: int = 0
    ready: int = 0
    decisions: list[Decision] = field(default_factory=list)
    _starting: list[tuple[int, int]] = field(default_factory=list)

    def run(
        self,
        values: list[float],
        *,
        clock: Callable[[int], float] = float,
        make: Callable[..., Sample] | None = None,
    ) -> list[int]:
        begun = len(self.decisions)
        for value in values:
            self.tick(value, clock, make)
        return [decision.replicas for decision in self.decisions[begun:]]

    def tick(self, value: float, clock: Callable[[int], float], make: Callable[..., Sample] | None) -> None:
        second = len(self.decisions)
        self._starting = [(at, count) for at, count in self._starting if count <= self.wanted]
        due = [count for at, count in self._starting if at <= second]
        self.ready = min(self.wanted, max([self.ready, *due]))
        sample = (make or self.sample)(value)
        self.state, decision = decide(self.scaling, self.state, sample, clock(second))
        if decision.replicas > self.wanted:
            self._starting.append((second + self.start, decision.replicas))
        self.wanted = decision.replicas
        self.decisions.append(decision)

    def sample(self, value: float) -> Sample:
        return Sample(load=Load(value, value), wanted=self.wanted, ready=self.ready)


def scaling(low: int = 1, high: int | None = 0, *, target: float = 10, **windows: float) -> Scaling:
    return Scaling(
        min_replicas=low,
        max_replicas=high,
        measures=(Measure(target=target),),
        windows=Windows(utilization_percent=100, **windows),  # type: ignore[arg-type]
    )


def ups_and_downs(counts: list[int]) -> int:
    """How often the direction turned."""
    steps = [after - before for before, after in pairwise(counts) if after != before]
    return sum(1 for before, after in pairwise(steps) if (before > 0) != (after > 0))


def test_a_day_is_followed_with_one_turn_a_slope() -> None:
    counts = Simulation(scaling(1)).run(trace("daily"))
    assert max(counts) in (12, 13)
    assert counts[0] == 1
    assert counts[-1] <= 3
    # Noise of 10 % moves an average of 60 s by less than a replica.
    assert ups_and_downs(counts) <= 6


def test_a_slow_ramp_is_followed_and_only_one_replica_is_enough_to_panic() -> None:
    simulation = Simulation(scaling(1))
    counts = simulation.run(trace("ramp"))
    # From one replica to two is twice as many, which is panic; its end is the only turn.
    assert ups_and_downs(counts) <= 2
    assert counts[-1] >= 39
    assert not any(decision.is_panic for decision in simulation.decisions[200:])
    # The average is half a window old: 30 s at a third of a call a second.
    assert all(count * 10 >= second / 3 - 20 for second, count in enumerate(counts))


def test_a_spike_is_answered_within_the_panic_window_and_held_for_a_stable_one() -> None:
    simulation = Simulation(scaling(1))
    counts = simulation.run(trace("spike"))
    assert counts[299] == 1
    reached = next(second for second, count in enumerate(counts) if count >= 50)
    assert reached <= 306
    left = next(second for second, count in enumerate(counts) if second > 306 and count < 50)
    # Panic lasts a stable window from when capacity came; after that the average of the window counts.
    assert left >= 300 + 60
    assert counts[left] >= 25
    assert counts[-1] == 1
    assert any("burst" in decision.reason for decision in simulation.decisions[300:310])


def test_on_and_off_goes_to_zero_in_each_silence_and_comes_back_at_once() -> None:
    simulation = Simulation(scaling(0))
    counts = simulation.run(trace("on-off"))
    for begun in (240, 720, 1200):
        silence = counts[begun : begun + 240]
        gone = silence.index(0)
        assert 60 <= gone <= 62
        assert set(silence[gone:]) == {0}
    assert counts[480] >= 1
    assert counts[960] >= 1
    assert simulation.decisions[310].reason.startswith("no calls for")


def test_the_last_replica_is_kept_for_the_retention_and_until_calls_are_held() -> None:
    def seconds_to_zero(made: Scaling, is_held: bool = True) -> int:
        simulation = Simulation(made)
        simulation.run([5.0] * 10)

        def make(value: float) -> Sample:
            return msgspec.structs.replace(simulation.sample(value), is_held=is_held)

        return simulation.run([0.0] * 200, make=make).index(0)

    assert seconds_to_zero(scaling(0)) in (60, 61)
    assert seconds_to_zero(scaling(0, zero_retention_seconds=45.0)) in (105, 106)
    assert seconds_to_zero(scaling(0), is_held=False) in (90, 91)
    assert seconds_to_zero(scaling(0, zero_grace_seconds=5.0), is_held=False) in (65, 66)


def test_from_zero_by_one_held_call_or_to_the_activation_scale() -> None:
    for windows, expected in (({}, 1), ({"activation_scale": 4}, 4)):
        simulation = Simulation(scaling(0, initial_scale=0, **windows))
        assert simulation.run([0.0] * 90)[-1] == 0
        assert simulation.run([1.0])[-1] == expected


def test_it_begins_with_the_initial_scale_until_it_was_ready() -> None:
    simulation = Simulation(scaling(0, initial_scale=3), start=100)
    assert simulation.run([0.0] * 100) == [3] * 100
    counts = simulation.run([0.0] * 120)
    assert counts[-1] == 0


def test_a_replica_that_is_still_starting_is_not_taken_away_as_idle() -> None:
    simulation = Simulation(scaling(0, initial_scale=0), start=300)
    simulation.run([1.0])
    assert simulation.run([0.0] * 290) == [1] * 290


def test_a_fixed_number_stays() -> None:
    for low, high in ((2, None), (2, 2), (3, 2)):
        found = Simulation(scaling(low, high)).run([0.0, 1000.0, 0.0])
        assert found == [low] * 3


def test_what_nobody_reaches_may_go_to_none() -> None:
    simulation = Simulation(scaling(2, 5))
    simulation.run([0.0] * 10)

    def unreachable(value: float) -> Sample:
        return msgspec.structs.replace(simulation.sample(value), is_reachable=False)

    assert simulation.run([0.0] * 100, make=unreachable)[-1] == 0


def test_nothing_changes_while_the_gateway_cannot_be_asked() -> None:
    simulation = Simulation(scaling(0))
    simulation.run([35.0] * 70)
    before = simulation.wanted
    assert before == 4

    def deaf(value: float) -> Sample:
        return Sample(load=None, wanted=simulation.wanted, ready=simulation.ready)

    assert simulation.run([0.0] * 300, make=deaf) == [before] * 300


def test_of_several_measures_the_highest_counts() -> None:
    both = Scaling(
        max_replicas=0,
        measures=(Measure(target=100), Measure(metric="rps", target=1)),
        windows=Windows(utilization_percent=100),
    )
    assert Simulation(both).run([3.0] * 61)[-1] == 3


def cpu(low: int = 1, **more: float) -> Scaling:
    return Scaling(
        min_replicas=low,
        max_replicas=10,
        measures=(Measure(metric="cpu", target=50),),
        stabilization=Stabilization(down_seconds=30, **more),
    )


def test_processor_scales_up_at_once_and_down_after_its_window() -> None:
    simulation = Simulation(cpu())

    def using(cores: float) -> Callable[[float], Sample]:
        def make(value: float) -> Sample:
            uses = tuple(Use(cpu=cores / max(1, simulation.ready)) for _ in range(simulation.ready))
            return Sample(load=Load(value, value), wanted=simulation.wanted, ready=simulation.ready, uses=uses)

        return make

    assert simulation.run([1.0] * 40, make=using(2.0))[-1] == 4
    counts = simulation.run([1.0] * 60, make=using(0.5))
    assert counts[28] == 4
    assert counts[-1] == 1


def test_processor_wakes_for_a_call_and_goes_to_zero_without_any() -> None:
    simulation = Simulation(msgspec.structs.replace(cpu(0), windows=Windows(initial_scale=0)))

    def make(value: float) -> Sample:
        uses = tuple(Use(cpu=0.1) for _ in range(simulation.ready))
        return Sample(load=Load(value, value), wanted=simulation.wanted, ready=simulation.ready, uses=uses)

    assert simulation.run([0.0] * 5, make=make) == [0] * 5
    assert simulation.run([1.0] * 5, make=make) == [1] * 5
    assert simulation.run([0.0] * 65, make=make)[-1] == 0


loads = st.floats(0, 1000).map(lambda value: round(value, 1))


def jumps() -> Iterator[Callable[[int], float]]:
    yield lambda second: second + (3600.0 if second >= 100 else 0.0)
    yield lambda second: second - (3600.0 if second >= 100 else 0.0)
    yield lambda second: float(-second)
    yield lambda second: 0.0


@pytest.mark.parametrize("clock", list(jumps()))
def test_a_clock_that_jumps_takes_no_replica_away_early_and_gives_none(clock: Callable[[int], float]) -> None:
    steady = [45.0] * 100 + [45.0] * 30
    simulation = Simulation(scaling(0))
    counts = simulation.run(steady, clock=clock)
    assert set(counts[10:]) == {5}
    simulation = Simulation(scaling(0))
    simulation.run([45.0] * 95, clock=clock)
    counts = simulation.run([0.0] * 40, clock=clock)
    assert 0 not in counts


@given(st.lists(loads, max_size=150), st.integers(0, 4), st.integers(0, 6), st.integers(0, 8))
def test_bounds_are_always_kept(values: list[float], low: int, more: int, start: int) -> None:
    high = 0 if more == 6 else low + more
    made = scaling(low, high or 0, panic_percent=10.0)
    counts = Simulation(made, start=start).run(values)
    assert all(low <= count for count in counts)
    if high:
        assert all(count <= high for count in counts)


@given(st.floats(0.01, 500), st.integers(0, 2), st.integers(1, 10))
def test_constant_load_settles_and_never_flaps(value: float, low: int, start: int) -> None:
    simulation = Simulation(scaling(low), start=start)
    counts = simulation.run([value] * 400)
    assert ups_and_downs(counts) <= 1
    assert len(set(counts[-150:])) == 1
    assert counts[-1] >= value / 10


@given(st.lists(loads, min_size=1, max_size=80), st.lists(st.floats(1, 3), min_size=80, max_size=80))
def test_more_load_never_wants_fewer(values: list[float], factors: list[float]) -> None:
    """With the same replicas ready: what is ready sets the rates and the threshold of panic."""
    less, more = State(), State()
    for second, value in enumerate(values):
        for_less = Sample(load=Load(value, value), wanted=3, ready=3)
        greater = value * factors[second]
        for_more = Sample(load=Load(greater, greater), wanted=3, ready=3)
        less, few = decide(scaling(0), less, for_less, float(second))
        more, many = decide(scaling(0), more, for_more, float(second))
        assert few.replicas <= many.replicas


@given(
    st.lists(
        st.tuples(
            st.floats(-1e6, 1e6),
            st.one_of(st.none(), loads),
            st.integers(0, 5),
            st.integers(0, 5),
            st.booleans(),
            st.lists(st.one_of(st.none(), st.floats(0, 4)), max_size=4),
        ),
        max_size=60,
    ),
    st.sampled_from(["concurrency", "rps", "cpu", "memory"]),
)
def test_whatever_comes_there_is_a_decision_that_can_be_written_down(ticks, metric) -> None:
    made = Scaling(min_replicas=0, max_replicas=7, measures=(Measure(metric=metric),))
    state = State()
    for now, load, wanted, ready, is_held, uses in ticks:
        sample = Sample(
            load=None if load is None else Load(load, load),
            wanted=wanted,
            ready=ready,
            is_held=is_held,
            uses=tuple(Use(cpu=use, memory_bytes=None if use is None else use * 1e9) for use in uses),
        )
        state, decision = decide(made, state, sample, now)
        assert 0 <= decision.replicas <= 7
        assert decision.reason
        assert msgspec.json.decode(msgspec.json.encode(state), type=State) == state
