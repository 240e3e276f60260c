from hypothesis import given
from hypothesis import strategies as st

from tiffin.local.lives import FORGIVEN_AFTER_SECONDS, PAUSES_SECONDS, Lives


def test_the_first_death_is_answered_at_once_and_further_ones_later_and_later() -> None:
    lives, pauses = Lives(), []
    for _ in range(len(PAUSES_SECONDS) + 2):
        lives = lives.after_death(1.0)
        pauses.append(lives.pause_seconds)
    assert pauses == [*PAUSES_SECONDS, PAUSES_SECONDS[-1], PAUSES_SECONDS[-1]]


def test_a_long_life_is_forgiven() -> None:
    lives = Lives(deaths=5).after_death(FORGIVEN_AFTER_SECONDS)
    assert lives.pause_seconds == PAUSES_SECONDS[0]


@given(st.lists(st.floats(0, 1000)))
def test_no_pause_is_longer_than_the_longest(lived: list[float]) -> None:
    lives = Lives()
    for seconds in lived:
        lives = lives.after_death(seconds)
    assert 0 <= lives.pause_seconds <= PAUSES_SECONDS[-1]


def test_what_never_was_well_waits_longer_and_longer_from_the_first_time_on() -> None:
    record, pauses = Lives(), []
    for _ in range(9):
        record = record.after_death(0)
        pauses.append(record.first_pause_seconds)
    assert pauses == [1, 5, 10, 30, 60, 120, 300, 300, 300]
