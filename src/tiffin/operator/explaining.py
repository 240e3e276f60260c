"""Events of pods that do not come up and do not say why: volumes that cannot be mounted, probes that fail.

Events are not watched: there are many of them, and they are about what works as well. Only those of a pod that
nothing else explains are asked for, seldom.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence

from tiffin.kube.client import Api, ApiError, Kind
from tiffin.kube.manifests import Manifest
from tiffin.operator import problems
from tiffin.operator.observing import seconds

log = logging.getLogger(__name__)

EVENT = Kind("", "v1", "Event", "events")
PATIENCE_SECONDS = 15.0
"""How long a pod may be on its way before somebody asks why."""
AGAIN_SECONDS = 30.0
"""Between two questions about the pods of one object."""
MOST_PODS = 3
REMEMBERED = 1000
"""Objects whose events are remembered at most."""


def unexplained(pods: Iterable[Manifest], now: float) -> list[Manifest]:
    """Pods that are not ready for a while and do not say why, the oldest first."""
    found = [
        pod
        for pod in pods
        if not problems.is_ready(pod)
        and problems.phase_of(pod) in ("Pending", "Starting")
        and not problems.is_fetching(pod)
        and now - (seconds(pod["metadata"].get("creationTimestamp")) or now) >= PATIENCE_SECONDS
        and problems.of_pod(pod) is None
    ]
    return sorted(found, key=lambda pod: str(pod["metadata"].get("creationTimestamp")))


class Explainer:
    """Asks for events of pods, for each object once in a while. ``clock`` is in seconds since 1970."""

    def __init__(self, api: Api, clock: Callable[[], float] = time.time) -> None:
        self._api = api
        self._clock = clock
        self._known: dict[str, tuple[float, tuple[Manifest, ...]]] = {}

    async def events(self, uid: str, pods: Sequence[Manifest]) -> tuple[Manifest, ...]:
        """What was told of an object's pods that do not come up; what was asked just now is not asked again."""
        now = self._clock()
        stuck = unexplained(pods, now)[:MOST_PODS]
        if not stuck:
            self._known.pop(uid, None)
            return ()
        asked, found = self._known.get(uid, (0.0, ()))
        if 0.0 <= now - asked < AGAIN_SECONDS:
            return found
        try:
            found = tuple([event for pod in stuck for event in await self._of(pod)])
        except ApiError as error:
            log.debug("events could not be asked for: %s", error)
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._known[uid] = (now, found)
        return found

    async def _of(self, pod: Manifest) -> list[Manifest]:
        metadata = pod["metadata"]
        selector = f"involvedObject.uid={metadata['uid']}"
        listed = await self._api.ask("GET", EVENT.path(metadata["namespace"]), query={"fieldSelector": selector})
        items: list[Manifest] = listed.get("items") or []
        return sorted(items, key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""))
