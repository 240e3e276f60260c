"""Which deployment to look at next: each once however often it changed, one at a time, failing ones more seldom.

``Queue`` is pure: it is told the time and decides. ``Worker`` s take from it in a loop.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 300.0

Key = TypeVar("Key", bound=Hashable)


class Queue(Generic[Key]):
    """Keys that are due, those that are due later, and those in hand. Times are in seconds of any clock.

    A key that is added while it is in hand is due again once it is done; nobody else takes it meanwhile.
    """

    def __init__(self) -> None:
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._count = 0
        self._running: dict[Key, float | None] = {}
        self._failures: dict[Key, int] = {}

    def __len__(self) -> int:
        return len(self._due)

    @property
    def running(self) -> frozenset[Key]:
        """What is in hand."""
        return frozenset(self._running)

    def add(self, key: Key, now: float, *, after: float = 0.0) -> None:
        """Look at it in ``after`` seconds; an earlier wish that is already there stands."""
        when = now + after
        if key in self._running:
            again = self._running[key]
            self._running[key] = when if again is None else min(again, when)
        elif key not in self._due or when < self._due[key]:
            self._due[key] = when
            self._count += 1  # of keys that are due at once, the one that was added first
            heapq.heappush(self._heap, (when, self._count, key))

    def take(self, now: float) -> Key | None:
        """The key that has been due for longest, which is in hand from now on; ``None`` when none is due."""
        while self._heap:
            when, _, key = self._heap[0]
            if self._due.get(key) != when:
                heapq.heappop(self._heap)  # it was taken, or is due earlier
                continue
            if when > now:
                return None
            heapq.heappop(self._heap)
            del self._due[key]
            self._running[key] = None
            return key
        return None

    def done(self, key: Key, now: float, *, failed: bool = False, after: float | None = None) -> float | None:
        """It is not in hand any more; ``after`` how many seconds it is to be looked at again.

        One that failed is looked at again after a pause, twice as long each time; that also holds up changes of
        it.

        Returns:
            The pause of one that failed.
        """
        again = self._running.pop(key)
        pause = None
        if failed:
            count = self._failures.get(key, 0)
            pause = min(FIRST_PAUSE_SECONDS * 2.0**count, LONGEST_PAUSE_SECONDS)
            self._failures[key] = min(count + 1, 32)
            self.add(key, now, after=pause)
            return pause
        self._failures.pop(key, None)
        if again is not None:
            self.add(key, now, after=max(0.0, again - now))
        if after is not None:
            self.add(key, now, after=after)
        return None

    def forget(self, key: Key) -> None:
        """It is gone: no pause is remembered."""
        self._failures.pop(key, None)

    def next_at(self) -> float | None:
        """When the next key is due; ``None`` when there is none."""
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None


class Workers(Generic[Key]):
    """Takes keys from a queue and looks at them, several at a time."""

    def __init__(
        self,
        queue: Queue[Key],
        look: Callable[[Key], Awaitable[float | None]],
        failed: Callable[[Key, Exception, float], None],
    ) -> None:
        """``look`` returns after how many seconds to look again; ``failed`` is told the error and the pause."""
        self._queue = queue
        self._look = look
        self._failed = failed
        self._news = asyncio.Event()

    def add(self, key: Key, *, after: float = 0.0) -> None:
        """Look at it in ``after`` seconds."""
        self._queue.add(key, self._now(), after=after)
        self._news.set()

    async def run(self, count: int) -> None:
        """Work until this is cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            key = self._queue.take(self._now())
            if key is None:
                await self._wait()
                continue
            try:
                after = await self._look(key)
            except Exception as error:
                pause = self._queue.done(key, self._now(), failed=True)
                self._failed(key, error, pause or 0.0)
            else:
                self._queue.done(key, self._now(), after=after)
            self._news.set()

    async def _wait(self) -> None:
        self._news.clear()
        at = self._queue.next_at()
        pause = None if at is None else max(0.0, at - self._now())
        try:
            async with asyncio.timeout(pause):
                await self._news.wait()
        except TimeoutError:
            return

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
