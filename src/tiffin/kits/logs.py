"""Log lines for people: time, level, where from, what. Only ``cli`` and a replica's main install handlers."""

from __future__ import annotations

import logging
import sys
from typing import TextIO

LINE = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
CLOCK = "%Y-%m-%dT%H:%M:%S"


def install(level: int | str = logging.INFO, *, stream: TextIO | None = None) -> None:
    """Send all log records to ``stream`` (stderr by default), replacing handlers installed before."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(logging.Formatter(LINE, CLOCK))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
