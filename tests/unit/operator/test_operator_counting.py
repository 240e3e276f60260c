"""Who is idle: nobody calls it, and a call brings a replica."""

from __future__ import annotations

import pytest

from tiffin.operator.counting import Owner, is_idle
from tiffin.operator.observing import Part


@pytest.mark.parametrize(("ready", "held", "idle"), [(0, True, True), (1, True, False), (0, False, False)])
@pytest.mark.parametrize("owner", ["hpa", "keda", "none", "external"])
def test_what_others_scale_now_stays_idle_while_the_activator_holds_it(
    owner: Owner, ready: int, held: bool, idle: bool
) -> None:
    part = Part(name="iris-predictor", component="predictor", wanted=0, ready=ready, is_held=held)
    assert is_idle(owner, part, is_proven=True) is idle
    assert not is_idle("knative", part, is_proven=True)


@pytest.mark.parametrize(
    ("wanted", "ready", "held", "idle"),
    [(0, 0, True, True), (1, 0, True, True), (1, 1, True, False), (1, 0, False, False), (0, 0, False, True)],
)
def test_a_part_stays_idle_while_the_replica_for_the_first_call_starts(
    wanted: int, ready: int, held: bool, idle: bool
) -> None:
    part = Part(name="iris-predictor", component="predictor", wanted=wanted, ready=ready, is_held=held)
    assert is_idle("tiffin", part, is_proven=True) is idle
