"""The activator's edge to the cluster: Services and EndpointSlices as they change, and asks for replicas."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from tiffin.errors import PlatformError
from tiffin.kube import names
from tiffin.kube.client import Api, Expired, Kind
from tiffin.kube.manifests import Manifest
from tiffin.operator.activator.holder import Holder

log = logging.getLogger(__name__)

SERVICES = Kind("", "v1", "Service", "services")
SLICES = Kind("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices")
DEPLOYMENTS = Kind("apps", "v1", "Deployment", "deployments")
LABELS = f"{names.MANAGED}=tiffin"
"""Of Services; Kubernetes gives the EndpointSlices that it makes for one its labels."""
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 15.0


class Asker:
    """See ``asking.Ask``: reads the ``scale`` subresource, and writes it when it says less than is asked for."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def __call__(self, namespace: str, name: str, replicas: int) -> bool:
        found = await self._api.ask("GET", DEPLOYMENTS.path(namespace, name, "scale"))
        if int((found.get("spec") or {}).get("replicas") or 0) >= replicas:
            return False
        # On condition of what was read: the autoscaler writes here as well.
        version = found["metadata"]["resourceVersion"]
        change = {"metadata": {"resourceVersion": version}, "spec": {"replicas": replicas}}
        await self._api.patch(DEPLOYMENTS, namespace, name, change, part="scale")
        return True


class Following:
    """Tells a holder what happens in some namespaces (none named: in all)."""

    def __init__(self, api: Api, holder: Holder, namespaces: tuple[str, ...] = ()) -> None:
        self._api = api
        self._holder = holder
        self._namespaces = namespaces or ("",)
        self._waiting = 2 * len(self._namespaces)

    @property
    def is_complete(self) -> bool:
        """Whether everything was listed once."""
        return self._waiting == 0

    async def run(self) -> None:
        """For ever."""
        async with asyncio.TaskGroup() as tasks:
            for namespace in self._namespaces:
                tasks.create_task(self._follow(SERVICES, namespace, self._service, self._no_service))
                tasks.create_task(self._follow(SLICES, namespace, self._slice, self._no_slice))

    async def _follow(
        self, kind: Kind, namespace: str, there: Callable[[Manifest], None], gone: Callable[[Manifest], None]
    ) -> None:
        known: dict[tuple[str, str], Manifest] = {}
        version, pause, is_first = "", FIRST_PAUSE_SECONDS, True
        while True:
            try:
                if not version:
                    listing = await self._api.list(kind, namespace, labels=LABELS)
                    now = {_id(one): one for one in listing.items}
                    # What was deleted while nobody watched is in no event: it is what is not listed any more.
                    for place in known.keys() - now.keys():
                        gone(known[place])
                    known = now
                    for one in now.values():
                        there(one)
                    version = listing.version
                    if is_first:
                        is_first = False
                        self._waiting -= 1
                async for event in self._api.watch(kind, namespace, version=version, labels=LABELS):
                    version = event.object["metadata"].get("resourceVersion") or version
                    pause = FIRST_PAUSE_SECONDS
                    if event.type == "DELETED":
                        known.pop(_id(event.object), None)
                        gone(event.object)
                    elif event.type != "BOOKMARK":
                        known[_id(event.object)] = _slim(event.object)
                        there(event.object)
            except Expired:
                version = ""
            except PlatformError as error:
                log.warning("%s cannot be followed: %s; trying again", kind.plural, error.message)
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
                version = ""

    def _service(self, manifest: Manifest) -> None:
        self._holder.update(self._holder.targets.service(manifest))

    def _no_service(self, manifest: Manifest) -> None:
        self._holder.update(self._holder.targets.no_service(*_id(manifest)))

    def _slice(self, manifest: Manifest) -> None:
        self._holder.update(self._holder.targets.slice(_slim(manifest)))

    def _no_slice(self, manifest: Manifest) -> None:
        self._holder.update(self._holder.targets.no_slice(manifest))


def _id(manifest: Manifest) -> tuple[str, str]:
    metadata = manifest["metadata"]
    return metadata["namespace"], metadata["name"]


def _slim(manifest: Manifest) -> Manifest:
    """Without what takes most of the memory and is not asked for."""
    metadata = {
        key: value
        for key, value in manifest["metadata"].items()
        if key in ("namespace", "name", "labels", "annotations", "deletionTimestamp")
    }
    return {**manifest, "metadata": metadata}
