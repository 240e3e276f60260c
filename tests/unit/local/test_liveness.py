"""Who is stuck, and who only works long."""

from __future__ import annotations

import pytest

from tiffin.local.liveness import Patience, Silence

PATIENCE = Patience(idle_seconds=10, busy_seconds=60, every_seconds=1)


def first_stuck(answered: list[bool], cores: float) -> int | None:
    """The second at which a process that is asked once a second is found stuck."""
    silence = Silence(PATIENCE)
    for second, answer in enumerate(answered):
        if silence.is_stuck(float(second), answered=answer, used=second * cores):
            return second
    return None


@pytest.mark.parametrize("cores", [0.0, 1.0])
def test_what_answers_is_never_stuck(cores: float) -> None:
    assert first_stuck([True] * 500, cores) is None


@pytest.mark.parametrize(("cores", "second"), [(0.0, 11), (0.01, 11), (0.5, 60), (1.0, 60)])
def test_what_does_nothing_is_stuck_sooner_than_what_works(cores: float, second: int) -> None:
    assert first_stuck([True] + [False] * 100, cores) == second


def test_an_answer_makes_all_well() -> None:
    assert first_stuck(([True] + [False] * 9) * 20, 0.0) is None


def test_work_in_between_begins_the_idle_time_anew() -> None:
    silence = Silence(PATIENCE)
    used = 0.0
    for second in range(40):
        used += 1.0 if second % 8 == 0 else 0.0
        assert not silence.is_stuck(float(second), answered=second == 0, used=used)


def test_a_silence_begins_with_the_first_question() -> None:
    assert first_stuck([False] * 10, 0.0) is None
