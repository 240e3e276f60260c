"""Changes of objects, numbered, for whoever watches."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Literal

import msgspec

from tiffin.errors import Expired
from tiffin.local.deploying import Deploying
from tiffin.local.faults import FAILURES
from tiffin.local.store import Store
from tiffin.plan.objects import Object, Watched

KEPT = 1000


class History:
    """The last changes. Versions are the store's, so that they go on after a restart.

    Args:
        store: Where versions come from.
        shown: The object as it is now.
    """

    def __init__(self, store: Store, shown: Callable[[Deploying], Object]) -> None:
        self._store = store
        self._shown = shown
        self._changes: deque[tuple[int, Watched]] = deque(maxlen=KEPT)
        self._oldest = self.version = store.version
        """Changes after ``_oldest`` are known."""
        self._last: dict[str, bytes] = {}
        self._news = asyncio.Event()
        self._is_over = False

    def add(self, type: Literal["ADDED", "MODIFIED", "DELETED"], deploying: Deploying) -> None:
        """An object was written or deleted; its version is the store's newest."""
        self._append(type, deploying, self._store.version)

    def tell(self, deploying: Deploying) -> None:
        """Its status may be another one; what is as it was told last is not told again."""
        status = msgspec.json.encode(_without_use(self._shown(deploying)))
        if self._last.get(deploying.key) == status:
            return
        try:
            version = self._store.bump()
        except FAILURES:
            return  # A full disk: the next change tells it.
        self._append("MODIFIED", deploying, version)

    async def follow(self, since: int) -> AsyncIterator[Watched]:
        """Changes after ``since``; raises Expired when they are not all known."""
        if since < self._oldest or since > self.version:
            raise Expired(
                f"changes since version {since} are not known; the oldest known is {self._oldest}",
                hint="list again, and watch from the version of the list",
            )
        while not self._is_over:
            news = self._news
            for version, change in list(self._changes):
                if version > since:
                    since = version
                    yield change
            if news is self._news:
                await news.wait()
            if since < self._oldest:
                raise Expired(f"the watcher fell behind: changes after {since} are gone", hint="list again")

    def close(self) -> None:
        """Whoever follows comes to an end."""
        self._is_over = True
        self._news.set()

    def _append(self, type: Literal["ADDED", "MODIFIED", "DELETED"], deploying: Deploying, version: int) -> None:
        deploying.version = version
        shown = self._shown(deploying)
        if type == "DELETED":
            self._last.pop(deploying.key, None)
        else:
            self._last[deploying.key] = msgspec.json.encode(_without_use(shown))
        if len(self._changes) == KEPT:
            self._oldest = self._changes[0][0]
        self._changes.append((version, Watched(type=type, object=shown)))
        self.version = max(self.version, version)
        self._news.set()
        self._news = asyncio.Event()


def _without_use(shown: Object) -> Object:
    """What changes all the time is no news."""
    replicas = tuple(msgspec.structs.replace(one, cpu=None, memory_bytes=None) for one in shown.status.replicas)
    return msgspec.structs.replace(
        shown,
        metadata=msgspec.structs.replace(shown.metadata, resource_version=0),
        status=msgspec.structs.replace(shown.status, replicas=replicas),
    )
