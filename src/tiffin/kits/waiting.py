"""Ask until ready, with a deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

Answer = TypeVar("Answer")


async def until(
    ask: Callable[[], Awaitable[Answer | None]], *, seconds: float, every_seconds: float = 0.03
) -> Answer | None:
    """The first answer that is not ``None``; ``None`` when ``seconds`` have passed without one.

    ``ask`` is asked at least once. What it raises passes through, and ends the waiting.
    """
    deadline = time.monotonic() + seconds
    while True:
        answer = await ask()
        if answer is not None:
            return answer
        if time.monotonic() >= deadline:
            return None
        await asyncio.sleep(every_seconds)
