"""How a new revision takes over from the one that serves: in steps, judged before each."""

from __future__ import annotations

from typing import Literal

import msgspec


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """Give the new revision ``weight`` percent; go on after ``seconds``, or when told to (``pause``)."""

    weight: float
    seconds: float = 0.0
    pause: bool = False


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """What must hold for the new revision.

    ``error-rate``: its share of failed calls may exceed the stable one's by ``margin`` (a share, 0.01 is 1 %).
    ``latency``: its ``quantile`` may be ``ratio`` times the stable one's.
    ``query``: a PromQL expression at ``server`` must be between ``least`` and ``most``.
    ``agreement``: at least the share ``least`` of its mirrored answers equal those of the stable one; numbers
    within ``tolerance``, relative or absolute.
    """

    kind: Literal["error-rate", "latency", "query", "agreement"]
    margin: float = 0.01
    quantile: float = 0.95
    ratio: float = 1.2
    query: str = ""
    server: str = ""
    least: float | None = None
    most: float | None = None
    tolerance: float = 1e-6


class Rollout(msgspec.Struct, frozen=True, kw_only=True):
    """Steps from nothing to all, and gates judged all along.

    ``false_alarm`` bounds the chance that an equal revision is rolled back, over the whole rollout, however
    often it is looked at. ``min_calls``: fewer than this says nothing. ``mirror_percent``: how many calls are
    copied to the new revision for ``agreement``, before and while it gets calls of its own.
    """

    steps: tuple[Step, ...]
    gates: tuple[Gate, ...] = (Gate(kind="error-rate"),)
    false_alarm: float = 0.05
    min_calls: int = 50
    mirror_percent: float = 0.0
    automatic_rollback: bool = True
