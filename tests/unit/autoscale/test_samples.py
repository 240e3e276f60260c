import pytest

from tiffin.autoscale.samples import LEAST, Load, Reading, load_between


@pytest.mark.parametrize(
    ("before", "after", "concurrency", "rps"),
    [
        (Reading(0, active=2), Reading(1, active=4), 3, LEAST),
        (Reading(0, active=2, waiting=1, held=3), Reading(2, active=2, waiting=3, held=5, calls=20), 8, 11),
        (Reading(0, calls=100), Reading(0.5, calls=150), LEAST, 100),
        (Reading(0, calls=100), Reading(1, calls=100), 0, 0),
        # The gateway was started again and has counted 30 since.
        (Reading(0, calls=100), Reading(1, calls=30), LEAST, 30),
        (Reading(0, held=0), Reading(1, held=7), 3.5, 7),
        (Reading(0, held=7), Reading(1, held=0, active=7), 7, LEAST),
    ],
)
def test_load_is_what_changed_between_two_readings(before, after, concurrency, rps) -> None:
    assert load_between(before, after) == Load(concurrency, rps)


def test_of_a_first_reading_only_what_is_at_hand_is_known() -> None:
    assert load_between(None, Reading(5, active=3, calls=10_000)) == Load(3, LEAST)
    assert load_between(None, Reading(5, calls=10_000)) == Load(0, 0)


def test_a_clock_that_went_back_gives_no_negative_load() -> None:
    assert load_between(Reading(10, active=1, calls=5), Reading(4, active=2, calls=9)) == Load(2, LEAST)


def test_a_call_that_came_and_went_between_readings_is_load() -> None:
    load = load_between(Reading(0), Reading(60, calls=1))
    assert load.concurrency > 0
    assert load.rps > 0


def test_a_pool_the_gateway_does_not_know_has_counted_nothing() -> None:
    assert Reading.of(1.0, None, held=2) == Reading(1.0, held=2)
