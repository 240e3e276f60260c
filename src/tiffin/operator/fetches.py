"""How far pods are with fetching their models, told as Events of those pods.

What an init container says of how far it is stands in its log and nowhere else. Only logs of pods that have been
fetching for a while are read, their last line, and few in a second however many pods there are.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from tiffin.kube.client import Api, ApiError, Kind
from tiffin.kube.manifests import Manifest
from tiffin.operator import problems
from tiffin.operator.cache import Change
from tiffin.operator.noting import Note, Told, event

log = logging.getLogger(__name__)

EVENT = Kind("", "v1", "Event", "events")
POD = Kind("", "v1", "Pod", "pods")
PATIENCE_SECONDS = 10.0
"""What is fetched sooner needs no word."""
EVERY_SECONDS = 15.0
"""Between two looks at one pod, at least."""
APART_SECONDS = 0.5
"""Between two looks at any pods, on average."""
LOG_SECONDS = 5.0
"""How long a node may take to give the end of a log."""
_LOG_BYTES = 16 * 1024
_ON_ITS_WAY = ("fetching ", "attempt ")
"""How lines of ``tiffin.models.delivery`` begin that say how far it is."""


@dataclass
class _Followed:
    """A pod that fetches; ``due`` is when it is looked at next, in seconds since 1970."""

    pod: Manifest
    due: float
    is_over: bool = False
    message: str = ""
    told: Told | None = None


class Fetches:
    """Follows pods from when they begin to fetch until they have. ``clock`` is in seconds since 1970."""

    def __init__(self, api: Api, clock: Callable[[], float] = time.time) -> None:
        self._api = api
        self._clock = clock
        self._followed: dict[str, _Followed] = {}
        self._has_more = asyncio.Event()

    def see(self, change: Change) -> None:
        """A pod has changed."""
        pod = change.after
        uid = str(change.object["metadata"].get("uid") or "")
        known = self._followed.get(uid)
        if pod is None or pod["metadata"].get("deletionTimestamp"):
            self._followed.pop(uid, None)
        elif problems.is_fetching(pod):
            if known is None:
                self._followed[uid] = _Followed(pod, self._clock() + PATIENCE_SECONDS)
                self._has_more.set()
        elif known is not None and known.told is not None and problems.has_fetched(pod):
            known.is_over, known.due = True, self._clock()
            self._has_more.set()
        elif known is not None:
            # It failed, which its status says, or was so quick that nobody was told that it had begun.
            del self._followed[uid]

    async def run(self) -> None:
        """Look at what is due, until it is cancelled."""
        while True:
            self._has_more.clear()
            await self.look()
            due = min((one.due for one in self._followed.values()), default=None)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if due is None else max(0.0, due - self._clock())):
                    await self._has_more.wait()

    async def look(self) -> None:
        """Tell of each pod that is due how far it is, those first that wait longest."""
        for uid, one in sorted(self._followed.items(), key=lambda item: item[1].due):
            if one.due > self._clock():
                return
            one.due = self._clock() + max(EVERY_SECONDS, APART_SECONDS * len(self._followed))
            is_over = one.is_over
            try:
                await self._tell(one, is_over=is_over)
            except (ApiError, TimeoutError) as error:
                # It is a service; what fails for good is said by the pod's status.
                log.debug("how far %s is was not told: %s", one.pod["metadata"]["name"], error)
            if is_over:
                self._followed.pop(uid, None)

    async def _tell(self, one: _Followed, *, is_over: bool) -> None:
        async with asyncio.timeout(LOG_SECONDS):
            message = await self._last_line(one.pod)
        # What it says at its end is told once it has ended, beside how far it was the last time.
        is_news = is_over or (message != one.message and message.startswith(_ON_ITS_WAY))
        if not message or not is_news:
            return
        now = self._clock()
        reason = "FetchedModel" if is_over else "FetchingModel"
        told = one.told
        if told is None or is_over:
            told = Told(_name(one.pod, reason), 0, now, now)
        # One Event of a pod for the whole way, whose text says how far it is.
        told.count, told.last = told.count + 1, now
        await self._api.apply(EVENT, event(one.pod, Note(reason=reason, message=message), told))
        one.message, one.told = message, told

    async def _last_line(self, pod: Manifest) -> str:
        metadata = pod["metadata"]
        path = POD.path(metadata["namespace"], metadata["name"], "log")
        last = ""
        async for line in self._api.lines(
            path, {"container": problems.FETCHING, "tailLines": 1, "limitBytes": _LOG_BYTES}
        ):
            last = line.strip() or last
        return last


def _name(pod: Manifest, reason: str) -> str:
    metadata = pod["metadata"]
    digest = hashlib.sha256(f"{metadata['uid']}\0{reason}".encode()).hexdigest()[:16]
    return f"{metadata['name'][:200]}.{digest}"
