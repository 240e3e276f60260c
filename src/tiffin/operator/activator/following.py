"""The activator's edge to the cluster: Services and EndpointSlices as they change, and asks for replicas."""

from __future__ import annotations

import asyncio

from tiffin.kube import names
from tiffin.kube.client import Api, Kind
from tiffin.operator.activator.holder import Holder
from tiffin.operator.cache import Cache, Change, place
from tiffin.operator.reflector import Reflector

SERVICES = Kind("", "v1", "Service", "services")
SLICES = Kind("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices")
DEPLOYMENTS = Kind("apps", "v1", "Deployment", "deployments")
LABELS = f"{names.MANAGED}=tiffin"
"""Of Services; Kubernetes gives the EndpointSlices that it makes for one its labels."""


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
        self._holder = holder
        cache = Cache(self._changed)
        self._reflectors = [
            Reflector(api, cache, kind, namespace=namespace, labels=LABELS)
            for namespace in namespaces or ("",)
            for kind in (SERVICES, SLICES)
        ]

    @property
    def is_complete(self) -> bool:
        """Whether everything was listed once."""
        return all(one.listed.is_set() for one in self._reflectors)

    async def run(self) -> None:
        """For ever."""
        async with asyncio.TaskGroup() as tasks:
            for one in self._reflectors:
                tasks.create_task(one.run())

    def _changed(self, change: Change) -> None:
        targets, is_there = self._holder.targets, change.after is not None
        if change.kind == SLICES:
            changed = targets.slice(change.object) if is_there else targets.no_slice(change.object)
        else:
            changed = targets.service(change.object) if is_there else targets.no_service(*place(change.object))
        self._holder.update(changed)
