"""Numbers of replicas."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tiffin.plan.changes import Seen, Start, Stop, reconcile

P = (1, "predictor")


def test_missing_replicas_are_started_before_others_are_stopped() -> None:
    old = Seen(id="r1", place=P, phase="Ready")
    assert reconcile({(2, "predictor"): 2}, [old]) == [
        Start((2, "predictor")),
        Start((2, "predictor")),
        Stop("r1"),
    ]


def test_of_too_many_those_that_serve_nobody_go_first_then_the_youngest() -> None:
    seen = [
        Seen(id="old", place=P, phase="Ready", order=1),
        Seen(id="young", place=P, phase="Ready", order=4),
        Seen(id="broken", place=P, phase="CrashLoopBackOff", order=2),
        Seen(id="starting", place=P, phase="Starting", order=3),
    ]
    assert reconcile({P: 3}, seen) == [Stop("broken")]
    assert reconcile({P: 1}, seen) == [Stop("broken"), Stop("starting"), Stop("young")]


def test_a_replica_that_is_draining_counts_for_nothing() -> None:
    assert reconcile({P: 1}, [Seen(id="a", place=P, phase="Draining")]) == [Start(P)]


PHASES = st.sampled_from(["Pending", "Starting", "Ready", "Draining", "CrashLoopBackOff", "Failed"])
PLACES = st.tuples(st.integers(1, 3), st.sampled_from(["predictor", "transformer"]))


@given(st.dictionaries(PLACES, st.integers(0, 4)), st.lists(st.tuples(PLACES, PHASES)))
def test_after_the_changes_the_numbers_are_right_and_nothing_is_done_twice(wanted, found) -> None:
    seen = [Seen(id=f"r{n}", place=place, phase=phase, order=n) for n, (place, phase) in enumerate(found)]
    changes = reconcile(wanted, seen)
    stopped = {change.id for change in changes if isinstance(change, Stop)}
    left = Counter(one.place for one in seen if one.phase != "Draining" and one.id not in stopped)
    left.update(change.place for change in changes if isinstance(change, Start))
    assert {place: count for place, count in left.items() if count} == {p: n for p, n in wanted.items() if n}
    after = [one for one in seen if one.id not in stopped]
    after += [
        Seen(id=f"n{n}", place=c.place, phase="Starting") for n, c in enumerate(changes) if isinstance(c, Start)
    ]
    assert reconcile(wanted, after) == []
