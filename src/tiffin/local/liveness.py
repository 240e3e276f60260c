"""What runs and yet answers nobody: a process that is stopped or waits for itself for ever.

Being busy is not being stuck: what computes for minutes with the interpreter in its hand answers no question
either, but uses its core. So the patience with a process that does nothing is short, and with one that works long.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import psutil

IDLE_CORES = 0.02


@dataclass(frozen=True)
class Patience:
    """How long silence is borne: of what does nothing meanwhile, and of what works; how often it is asked."""

    idle_seconds: float
    busy_seconds: float
    every_seconds: float = 2.0


REPLICA = Patience(idle_seconds=20.0, busy_seconds=600.0, every_seconds=5.0)
GATEWAY = Patience(idle_seconds=8.0, busy_seconds=60.0)


@dataclass
class Silence:
    """Decides, from answers and the processor time used so far, whether a process is stuck. Seconds."""

    patience: Patience
    _spoke: float | None = None
    _idle_since: float | None = None
    _used: float = 0.0
    _looked: float = field(default=0.0)

    def is_stuck(self, now: float, *, answered: bool, used: float) -> bool:
        """Note one question; ``used`` is the processor time since the start, of no matter when it answered."""
        passed, worked = now - self._looked, used - self._used
        self._looked, self._used = now, used
        if answered or self._spoke is None:
            self._spoke, self._idle_since, self._used = now, None, -1.0
            return False
        if worked > used:  # Nothing is known of the time before.
            return False
        if worked > IDLE_CORES * passed:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = now - passed
        is_idle = self._idle_since is not None and now - self._idle_since >= self.patience.idle_seconds
        return is_idle or now - self._spoke >= self.patience.busy_seconds


async def until_stuck(ask: Callable[[], Awaitable[bool]], pid: int, patience: Patience) -> None:
    """Ask now and then; returns when the process is stuck, else never."""
    silence = Silence(patience)
    while True:
        answered = await ask()
        if silence.is_stuck(
            time.monotonic(), answered=answered, used=await asyncio.to_thread(processor_seconds, pid)
        ):
            return
        await asyncio.sleep(patience.every_seconds)


async def ended_or_stuck(
    exited: Awaitable[int], ask: Callable[[], Awaitable[bool]], pid: int, patience: Patience
) -> bool:
    """Wait until a process ends (``False``) or is stuck (``True``)."""
    end = asyncio.ensure_future(exited)
    stuck = asyncio.create_task(until_stuck(ask, pid, patience))
    try:
        await asyncio.wait({end, stuck}, return_when=asyncio.FIRST_COMPLETED)
        if end.done():
            end.result()
            return False
        stuck.result()
        return True
    finally:
        for task in (end, stuck):
            task.cancel()
        with contextlib.suppress(Exception):
            await asyncio.gather(end, stuck, return_exceptions=True)


def processor_seconds(pid: int) -> float:
    """What a process and those it started have used; 0 when it has gone."""
    used = 0.0
    with contextlib.suppress(psutil.Error):
        first = psutil.Process(pid)
        for process in (first, *first.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                used += times.user + times.system
    return used
