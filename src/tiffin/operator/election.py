"""One of several operators leads: a Lease of coordination.k8s.io, held by renewing it. As client-go does it.

Clocks of machines differ, so nobody compares times that others wrote: a lease is over when this process has not
seen it change for as long as it lasts.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Literal, NamedTuple

from tiffin.kube.client import Api, ApiError, Conflict, Kind, NotFound
from tiffin.kube.manifests import Manifest

log = logging.getLogger(__name__)

LEASE = Kind("coordination.k8s.io", "v1", "Lease", "leases")
LEASE_SECONDS = 30
"""How long a lease lasts that nobody renews, where nothing else is said."""
RETRY_SECONDS = 5.0
"""Between two looks of who waits, and of who could not renew it."""

Action = Literal["create", "take", "renew", "wait"]


class Sighting(NamedTuple):
    """A lease as it was seen, and when it was first seen so."""

    record: tuple[str, str, int]
    since: float


def action(
    lease: Manifest | None, me: str, sighting: Sighting | None, now: float
) -> tuple[Action, Sighting | None]:
    """What to do about a lease, and what to remember. ``now`` is in seconds of any clock of this process."""
    if lease is None:
        return "create", None
    spec = lease.get("spec") or {}
    holder = str(spec.get("holderIdentity") or "")
    lasts = int(spec.get("leaseDurationSeconds") or LEASE_SECONDS)
    record = (holder, str(spec.get("renewTime") or ""), int(spec.get("leaseTransitions") or 0))
    if sighting is None or sighting.record != record:
        sighting = Sighting(record, now)
    if holder == me:
        return "renew", sighting
    if not holder or now - sighting.since >= lasts:
        return "take", sighting
    return "wait", sighting


def pauses(seconds: int) -> tuple[float, float]:
    """Of a lease that lasts so long: after how many seconds it is renewed, and after how many it is given up.

    Each renewal is a write of etcd, so there are no more than the lease needs. Who could not renew it leads no
    more after two thirds of it; others wait for the whole, so that two never lead at once.
    """
    return seconds / 3, 2 * seconds / 3


def written(
    lease: Manifest | None,
    me: str,
    what: Action,
    moment: str,
    *,
    namespace: str,
    name: str,
    seconds: int = LEASE_SECONDS,
) -> Manifest:
    """The lease to write, for so many ``seconds``; ``moment`` is now as Kubernetes writes it."""
    spec: dict[str, Any] = dict((lease or {}).get("spec") or {})
    spec |= {"holderIdentity": me, "leaseDurationSeconds": seconds, "renewTime": moment}
    if what != "renew":
        spec["acquireTime"] = moment
        spec["leaseTransitions"] = int(spec.get("leaseTransitions") or 0) + (what == "take")
    metadata = dict(lease["metadata"]) if lease is not None else {"name": name, "namespace": namespace}
    return {"apiVersion": LEASE.api_version, "kind": LEASE.kind, "metadata": metadata, "spec": spec}


class Election:
    """Takes part as ``me``; ``lead`` runs only while the lease is held.

    Two processes that may run at once need two names. One that has the name of a holder takes its lease at once.
    """

    def __init__(
        self,
        api: Api,
        namespace: str,
        me: str,
        *,
        name: str = "tiffin-operator",
        seconds: int = LEASE_SECONDS,
    ) -> None:
        self._api = api
        self._namespace = namespace
        self._name = name
        self._me = me
        self._seconds = seconds
        self._sighting: Sighting | None = None
        self.is_leader = False

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Wait for the lease, then ``lead``; ends when that ends, or at once when the lease is lost.

        Raises:
            LostLease: somebody else may lead now, so nothing may be written any more.
        """
        while not await self._step():  # noqa: ASYNC110  What changes is on a server.
            await asyncio.sleep(RETRY_SECONDS)
        log.info("%s leads", self._me)
        self.is_leader = True
        leading = asyncio.ensure_future(lead())
        renewing = asyncio.ensure_future(self._renew())
        try:
            await asyncio.wait({leading, renewing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.is_leader = False
            for task in (leading, renewing):
                task.cancel()
            await asyncio.gather(leading, renewing, return_exceptions=True)
        if not leading.cancelled():
            leading.result()
        elif not renewing.cancelled():
            renewing.result()

    async def release(self) -> None:
        """Let the next one lead without waiting; best effort."""
        try:
            lease = await self._api.get(LEASE, self._namespace, self._name)
            if (lease.get("spec") or {}).get("holderIdentity") == self._me:
                lease["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
                await self._api.replace(LEASE, lease)
        except ApiError as error:
            log.info("the lease was not given back: %s", error)

    async def _renew(self) -> None:
        loop = asyncio.get_running_loop()
        pause, term = pauses(self._seconds)
        renewed, wait = loop.time(), pause
        while True:
            await asyncio.sleep(min(wait, max(0.0, renewed + term - loop.time())))
            began = loop.time()  # others count from when the server wrote it, which was not before
            try:
                # An answer that comes too late is none.
                async with asyncio.timeout(max(0.1, renewed + term - loop.time())):
                    held = await self._step()
            except TimeoutError:
                held = False
            wait = pause if held else min(RETRY_SECONDS, pause)
            if held:
                renewed = began
            elif self._sighting is not None and self._sighting.record[0] not in ("", self._me):
                raise LostLease(f"{self._sighting.record[0]} leads now")
            elif loop.time() - renewed >= term:
                raise LostLease(f"the lease could not be renewed for {term:g} s")

    async def _step(self) -> bool:
        """Look at the lease once and do what is to be done; whether it is held now."""
        now = asyncio.get_running_loop().time()
        try:
            try:
                lease: Manifest | None = await self._api.get(LEASE, self._namespace, self._name)
            except NotFound:
                lease = None
            what, self._sighting = action(lease, self._me, self._sighting, now)
            if what == "wait":
                return False
            moment = datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
            wanted = written(
                lease,
                self._me,
                what,
                moment,
                namespace=self._namespace,
                name=self._name,
                seconds=self._seconds,
            )
            if lease is None:
                await self._api.create(LEASE, wanted)
            else:
                await self._api.replace(LEASE, wanted)
        except Conflict:
            return False
        except ApiError as error:
            log.warning("the lease cannot be held: %s", error)
            return False
        return True


class LostLease(Exception):
    """Another operator leads, or may."""
