"""Asks for replicas, once for all that wait for them, and again until there are some."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from tiffin.errors import PlatformError
from tiffin.operator.activator.targets import Target

log = logging.getLogger(__name__)

AGAIN_SECONDS = 5.0
"""Until what was asked for is asked for again: somebody may have taken it back."""
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 10.0

Ask = Callable[[str, str, int], Awaitable[bool]]
"""Namespace, name, replicas: see that there are to be at least so many. Whether that took a change. Raises
PlatformError."""


class Asking:
    """At most one ask for a target is under way, however many wait."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.asked = 0
        """Asks that changed a number."""
        self.failed = 0

    def want(self, target: Target, is_wanted: Callable[[], bool]) -> None:
        """Ask for replicas of this target for as long as they are wanted; does nothing while that is done."""
        if target.key not in self._tasks:
            task = asyncio.get_running_loop().create_task(self._until(target, is_wanted))
            self._tasks[target.key] = task
            task.add_done_callback(lambda done: self._ended(target.key, done))

    def stop(self, key: str) -> None:
        """There are replicas."""
        task = self._tasks.pop(key, None)
        if task is not None:
            task.cancel()

    async def close(self) -> None:
        """Ask no more."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, key: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(key) is task:
            del self._tasks[key]

    async def _until(self, target: Target, is_wanted: Callable[[], bool]) -> None:
        pause = FIRST_PAUSE_SECONDS
        while is_wanted():
            try:
                if await self._ask(target.namespace, target.name, target.scale):
                    self.asked += 1
                    log.info("%s: asked for %d replicas, since a call waits", target.key, target.scale)
                pause = FIRST_PAUSE_SECONDS
                await asyncio.sleep(AGAIN_SECONDS)
            except PlatformError as error:
                self.failed += 1
                log.warning("%s: a replica could not be asked for: %s", target.key, error.message)
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            except Exception:
                self.failed += 1
                log.exception("%s: a replica could not be asked for", target.key)
                await asyncio.sleep(LONGEST_PAUSE_SECONDS)
