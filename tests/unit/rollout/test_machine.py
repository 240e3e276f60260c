"""A rollout from its first step to its end, in virtual time."""

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiffin.errors import CallError
from tiffin.rollout.gates import Agreement, Reading
from tiffin.rollout.machine import Evidence, RolloutState, Verdict, begin, decide, steer
from tiffin.rollout.streams import Stream
from tiffin.spec.rollout import Gate, Rollout, Step

STEPS = (Step(weight=5, seconds=60), Step(weight=25, seconds=60, pause=True), Step(weight=50, seconds=60))
ROLLOUT = Rollout(steps=STEPS)


class Traffic:
    """Calls split by the weight that the machine asks for; seen through its own eyes each second."""

    def __init__(
        self, rollout: Rollout, *, canary: float = 0.0, stable: float = 0.0, rate: int = 40, seed: int = 1
    ) -> None:
        self.rollout, self.rate, self.source = rollout, rate, random.Random(seed)
        self.errors = {"canary": canary, "stable": stable}
        self.counts = {"canary": [0, 0], "stable": [0, 0]}
        self.now = 1000.0
        self.state = begin("iris-00002", self.evidence(), self.now)
        self.weights: list[float] = []
        self.verdict: Verdict | None = None

    def evidence(self) -> Evidence:
        return Evidence(canary=Stream(*self.counts["canary"]), stable=Stream(*self.counts["stable"]))

    def second(self) -> Verdict:
        weight = self.verdict.weight if self.verdict else 0.0
        for _ in range(self.rate):
            side = "canary" if self.source.random() * 100 < weight else "stable"
            self.counts[side][0] += 1
            self.counts[side][1] += self.source.random() < self.errors[side]
        self.now += 1.0
        # As the store keeps it: what is not in the JSON is not there.
        stored = msgspec.json.encode(self.state)
        self.state = msgspec.json.decode(stored, type=RolloutState)
        self.state, self.verdict = decide(self.rollout, self.state, self.evidence(), self.now)
        self.weights.append(self.verdict.weight)
        return self.verdict

    def until(self, phase: str, most: int = 2000) -> int:
        for number in range(most):
            self.second()
            if self.state.phase == phase:
                return number
        raise AssertionError(f"never {phase}: {self.state.reason}")


def test_a_good_canary_goes_through_its_steps_waits_at_the_pause_and_is_promoted() -> None:
    traffic = Traffic(ROLLOUT, canary=0.001, stable=0.001)
    traffic.until("paused")
    assert traffic.state.step == 1
    for _ in range(500):
        assert traffic.second().weight == 25
    traffic.state = steer(ROLLOUT, traffic.state, "resume", traffic.now)
    traffic.until("promoted")
    assert traffic.verdict is not None
    assert (traffic.verdict.decision, traffic.verdict.weight) == ("promote", 100.0)
    order = [
        weight
        for index, weight in enumerate(traffic.weights)
        if index == 0 or weight != traffic.weights[index - 1]
    ]
    assert order == [5, 25, 50, 100]
    assert len(traffic.weights) > 180


def test_a_bad_canary_is_rolled_back_with_the_evidence_and_stays_so() -> None:
    traffic = Traffic(ROLLOUT, canary=0.2, stable=0.001)
    assert traffic.until("rolled-back") < 60
    verdict = traffic.verdict
    assert verdict is not None
    assert (verdict.decision, verdict.weight, verdict.mirror_percent) == ("roll back", 0.0, 0.0)
    assert "canary failed" in verdict.sentence
    assert any(finding.outcome == "fail" for finding in verdict.findings)
    traffic.errors["canary"] = 0.0
    for _ in range(300):
        assert traffic.second().weight == 0.0


def test_five_percent_errors_against_a_thousandth_are_rolled_back_before_the_last_step_ends() -> None:
    for seed in range(5):
        traffic = Traffic(ROLLOUT, canary=0.05, stable=0.001, seed=seed)
        traffic.until("rolled-back")
        assert traffic.counts["canary"][0] < 1500


def test_equal_revisions_are_rolled_back_at_most_as_often_as_the_bound_says() -> None:
    rollout = msgspec.structs.replace(ROLLOUT, steps=tuple(Step(weight=w, seconds=30) for w in (5, 25, 50)))
    backs = 0
    for seed in range(40):
        traffic = Traffic(rollout, canary=0.03, stable=0.03, rate=20, seed=seed)
        while not traffic.state.is_over and len(traffic.weights) < 1500:
            traffic.second()
        backs += traffic.state.phase == "rolled-back"
    assert backs / 40 <= 0.05


def test_without_traffic_it_holds_and_says_so() -> None:
    traffic = Traffic(ROLLOUT, rate=0)
    for _ in range(600):
        verdict = traffic.second()
    assert (traffic.state.step, verdict.decision, verdict.weight) == (0, "hold", 5)
    assert "canary got 0 calls, at least 50 are needed" in verdict.sentence


def test_gates_that_fail_without_automatic_rollback_hold_until_somebody_decides() -> None:
    rollout = msgspec.structs.replace(ROLLOUT, automatic_rollback=False)
    traffic = Traffic(rollout, canary=0.5)
    for _ in range(600):
        verdict = traffic.second()
    assert (traffic.state.phase, verdict.weight) == ("progressing", 5)
    assert "left to you" in verdict.sentence
    assert steer(rollout, traffic.state, "promote", traffic.now).phase == "promoted"


def test_time_that_nobody_watched_does_not_end_a_step() -> None:
    rollout = Rollout(steps=STEPS, gates=())
    traffic = Traffic(rollout)
    traffic.second()
    traffic.now += 86_400
    traffic.second()
    assert traffic.state.step == 0
    traffic.now -= 100_000
    traffic.second()
    assert traffic.state.elapsed <= 13
    traffic.until("paused")


def test_without_gates_the_steps_go_by_time_alone() -> None:
    rollout = Rollout(steps=(Step(weight=10, seconds=5), Step(weight=50, seconds=5)), gates=())
    traffic = Traffic(rollout, canary=1.0, rate=0)
    assert traffic.until("promoted") < 12


def test_a_pause_by_hand_stops_the_clock_but_not_the_judge() -> None:
    rollout = Rollout(steps=(Step(weight=50, seconds=20), Step(weight=60, seconds=10_000)))
    traffic = Traffic(rollout)
    traffic.second()
    traffic.state = steer(rollout, traffic.state, "pause", traffic.now)
    for _ in range(100):
        traffic.second()
    assert (traffic.state.phase, traffic.state.step) == ("paused", 0)
    traffic.errors["canary"] = 1.0
    assert traffic.until("rolled-back") < 50


@pytest.mark.parametrize("end", ["promote", "undo"])
def test_what_is_over_cannot_be_steered(end: Any) -> None:
    over = steer(ROLLOUT, RolloutState(), end, 1.0)
    assert over.is_over
    for action in ("promote", "undo", "pause", "resume"):
        with pytest.raises(CallError) as raised:
            steer(ROLLOUT, over, action, 2.0)  # type: ignore[arg-type]
        assert raised.value.hint


def test_an_agreement_gate_waits_for_answers_and_fails_on_differences() -> None:
    rollout = Rollout(
        steps=(Step(weight=0, seconds=5), Step(weight=50, seconds=5)),
        gates=(Gate(kind="agreement", least=0.95),),
        mirror_percent=100,
    )
    state = begin("iris-00002", Evidence(), 0.0)
    for second in range(1, 20):
        state, verdict = decide(rollout, state, Evidence(), float(second))
    assert (state.step, verdict.mirror_percent) == (0, 100)
    assert "at least 50 are needed" in verdict.sentence
    good, _ = decide(rollout, state, Evidence(agreement=Agreement(100, 100)), 20.0)
    assert good.step == 1
    bad, verdict = decide(rollout, state, Evidence(agreement=Agreement(100, 60)), 20.0)
    assert bad.phase == "rolled-back"
    assert "60 of 100 mirrored answers are equal" in verdict.sentence


def test_a_gate_on_agreement_without_copies_says_why_it_waits() -> None:
    rollout = Rollout(steps=(Step(weight=50),), gates=(Gate(kind="agreement"),))
    state, verdict = decide(rollout, begin("r", Evidence(), 0.0), Evidence(), 1.0)
    assert state.phase == "progressing"
    assert "no calls are mirrored" in verdict.sentence


def test_a_query_fails_after_three_readings_in_a_row_and_waits_while_its_server_is_away() -> None:
    rollout = Rollout(
        steps=(Step(weight=50, seconds=3),), gates=(Gate(kind="query", query="q", server="s", most=1),)
    )

    def look(state: RolloutState, now: float, reading: Reading) -> RolloutState:
        return decide(rollout, state, Evidence(readings={0: reading}), now)[0]

    away = state = begin("r", Evidence(), 0.0)
    for second in range(1, 50):
        away = look(away, second, Reading(error="connection refused", time=second))
    assert away.phase == "progressing"
    assert "connection refused" in away.reason
    for second in range(1, 3):
        for repeated in (0.0, 0.4):
            state = look(state, second + repeated, Reading(value=5.0, time=second))
    assert state.phase == "progressing"
    assert look(state, 3, Reading(value=5.0, time=3)).phase == "rolled-back"
    assert look(state, 3, Reading(value=0.5, time=3)).phase == "promoted"


ACTIONS = st.sampled_from(["", "", "", "promote", "undo", "pause", "resume"])
LOOKS = st.lists(
    st.tuples(st.floats(-100, 100), st.integers(0, 200), st.integers(0, 200), st.integers(0, 200), ACTIONS),
    max_size=40,
)
ROLLOUTS = st.builds(
    Rollout,
    steps=st.lists(
        st.builds(Step, weight=st.floats(0, 100), seconds=st.floats(0, 50), pause=st.booleans()), max_size=4
    ).map(tuple),
    gates=st.sampled_from([(), (Gate(kind="error-rate"),), (Gate(kind="error-rate"), Gate(kind="agreement"))]),
    mirror_percent=st.sampled_from([0.0, 10.0]),
    automatic_rollback=st.booleans(),
)


@given(ROLLOUTS, LOOKS)
@settings(deadline=None)
def test_weights_only_follow_the_steps_and_ends_are_for_good(
    rollout: Rollout, looks: list[tuple[float, int, int, int, str]]
) -> None:
    state, now, canary, failed, stable = begin("r", Evidence(), 0.0), 0.0, 0, 0, 0
    by_hand = False
    for seconds, more, bad, others, action in looks:
        before = state
        now += seconds
        canary, failed, stable = canary + more, failed + min(bad, more), stable + others
        if action:
            try:
                state = steer(rollout, state, action, now)  # type: ignore[arg-type]
            except CallError:
                assert before.is_over
            by_hand = by_hand or action == "promote"
        evidence = Evidence(
            canary=Stream(canary, failed), stable=Stream(stable, 0), agreement=Agreement(canary, canary - failed)
        )
        state, verdict = decide(rollout, state, evidence, now)
        assert state.step - before.step in (0, 1, 2)  # Resumed, and gone on at once.
        assert verdict.weight in {step.weight for step in rollout.steps} | {0.0, 100.0}
        if before.is_over:
            assert state == before
        elif state.phase == "promoted" and not by_hand and rollout.gates:
            assert canary >= rollout.min_calls
        if state.phase == "rolled-back":
            assert verdict.weight == 0.0
