"""Keeps the cache as the API server is: lists, then watches, and lists again where a watch missed something.

A new list is compared with what was known, so that what was deleted while nobody watched is noticed.
"""

from __future__ import annotations

import asyncio
import logging
import random

from tiffin.kube.client import Api, ApiError, Expired, Kind, NotFound
from tiffin.operator.cache import Cache, place

log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 30.0
SHORT_SECONDS = 1.0
"""A watch that ends sooner, with nothing said, is not asked for again at once."""


class Reflector:
    """One kind, of one namespace or of all; ``run`` it as a task."""

    def __init__(self, api: Api, cache: Cache, kind: Kind, *, namespace: str = "", labels: str = "") -> None:
        self.kind = kind
        self._api = api
        self._cache = cache
        self._namespace = namespace
        self._labels = labels
        self._pause = FIRST_PAUSE_SECONDS
        self._version = ""
        self.listed = asyncio.Event()
        """Whether the cache has been whole at least once."""
        self.lists = 0

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            try:
                if not self._version:
                    await self._list()
                await self._watch()
            except Expired:
                log.debug("%s: what happened meanwhile is not known any more; listing again", self.kind.plural)
                self._version = ""
            except NotFound:
                # The kind was taken away; whoever started this will end it, or it comes back.
                self._cache.replace(self.kind, (), namespace=self._namespace)
                self.listed.set()
                self._version = ""
                await self._wait("is not served")
            except ApiError as error:
                # The watch goes on from where it broke off.
                await self._wait(str(error))
            except Exception:
                # One odd object must not leave the operator blind for all others.
                log.exception("%s: cannot be followed; listing again", self.kind.plural)
                self._version = ""
                await self._wait("failed")

    async def _list(self) -> None:
        listing = await self._api.list(self.kind, self._namespace, labels=self._labels)
        self.lists += 1
        self._cache.replace(self.kind, listing.items, namespace=self._namespace)
        self._version = listing.version
        self.listed.set()

    async def _watch(self) -> None:
        """Follow what happens until the server ends the watch."""
        loop = asyncio.get_running_loop()
        began, is_silent = loop.time(), True
        async for event in self._api.watch(self.kind, self._namespace, version=self._version, labels=self._labels):
            if event.type == "DELETED":
                self._cache.remove(self.kind, place(event.object))
            elif event.type in ("ADDED", "MODIFIED"):
                event.object.setdefault("apiVersion", self.kind.api_version)
                event.object.setdefault("kind", self.kind.kind)
                self._cache.put(self.kind, event.object)
            self._version = event.object["metadata"].get("resourceVersion", self._version)
            self._pause, is_silent = FIRST_PAUSE_SECONDS, False
        if is_silent and loop.time() - began < SHORT_SECONDS:
            await self._wait("the watch ended at once")
        else:
            self._pause = FIRST_PAUSE_SECONDS

    async def _wait(self, why: str) -> None:
        # All watches break off at once when a server ends; they need not come back in the same moment.
        pause = self._pause * random.uniform(0.5, 1.0)
        log.log(logging.WARNING if self._pause >= 1 else logging.DEBUG, "%s: %s", self.kind.plural, why)
        self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)
        await asyncio.sleep(pause)
