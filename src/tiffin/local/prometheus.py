"""A reading for a rollout's gate, asked of a Prometheus server."""

from __future__ import annotations

import time

from tiffin.kits import prometheus
from tiffin.rollout.gates import Reading


def query(server: str, expression: str, *, now: float | None = None) -> Reading:
    """What an expression gives now (``now`` is seconds since 1970); blocks for at most some seconds."""
    asked = time.time() if now is None else now
    value, error = prometheus.query(server, expression)
    return Reading(value=value, time=asked, error=error)
