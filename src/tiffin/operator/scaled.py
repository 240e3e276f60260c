"""What the autoscaler sees of a cluster, and how it changes it: see ``autoscaler.Surroundings``."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from tiffin.autoscale.samples import Use
from tiffin.kube import names
from tiffin.kube.client import Api, ApiError, Conflict, Kind, NotFound
from tiffin.kube.manifests import Manifest
from tiffin.operator.activator import pages
from tiffin.operator.activator.targets import SERVICE_NAME
from tiffin.operator.autoscaler import WRITTEN_SECONDS, Pool, Replica
from tiffin.operator.cache import Cache, Change
from tiffin.operator.counting import owner_of
from tiffin.operator.noting import Note, Notebook
from tiffin.operator.reconciling import EVENT, Key, Look
from tiffin.operator.scraping import Address
from tiffin.spec import Component

log = logging.getLogger(__name__)

DEPLOYMENT = Kind("apps", "v1", "Deployment", "deployments")
SLICE = Kind("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices")
_MEASURED = "/apis/metrics.k8s.io/v1beta1/pods"
_PORTS = ("prometheus.kserve.io/port", "prometheus.io/port")
_PATHS = ("prometheus.kserve.io/path", "prometheus.io/path")
_AMOUNT = re.compile(r"([0-9]+(?:\.[0-9]+)?)([numkMGT]|[KMGT]i)?")
_FACTORS = {"n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_FACTORS |= {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}


class _Slot(NamedTuple):
    name: str
    service: str
    component: Component
    is_ours: bool


class Scaled:
    """``slices`` follows the EndpointSlices of what Tiffin manages; a reflector is to feed it."""

    def __init__(
        self,
        api: Api,
        cache: Cache,
        looks: Callable[[], Mapping[Key, Look]],
        activators: Callable[[], Sequence[str]],
    ) -> None:
        self.slices = Cache(self._sliced)
        self._api = api
        self._cache = cache
        self._looks = looks
        self._activators = activators
        self._by_service: dict[tuple[str, str], dict[str, Manifest]] = {}
        self._slots: dict[Key, tuple[Look, list[_Slot]]] = {}
        self._written: dict[tuple[str, str], tuple[int, float]] = {}
        self._notebook = Notebook()
        self._telling: set[asyncio.Task[None]] = set()

    # -- what there is -------------------------------------------------------------------------------------

    def pools(self) -> Sequence[Pool]:
        """See ``Surroundings``."""
        looks = self._looks()
        for key in self._slots.keys() - looks.keys():
            del self._slots[key]
        found = []
        for key, look in looks.items():
            known = self._slots.get(key)
            if known is None or known[0] is not look:
                known = self._slots[key] = (look, _slots(look))
            for slot in known[1]:
                manifest = self._cache.get(DEPLOYMENT, (key.namespace, slot.name))
                if manifest is not None and (slot.is_ours or is_marked(manifest)):
                    found.append(self._pool(key.namespace, slot, manifest))
        return found

    def _pool(self, namespace: str, slot: _Slot, manifest: Manifest) -> Pool:
        slices = list(self._by_service.get((namespace, slot.service), {}).values())
        wanted = (manifest.get("spec") or {}).get("replicas")
        annotations = slot.component.pod.annotations
        said = next((annotations[name] for name in _PORTS if name in annotations), "")
        return Pool(
            namespace=namespace,
            name=slot.name,
            component=slot.component,
            wanted=1 if wanted is None else int(wanted),
            ready=replicas_of(slices, int(said) if said.isascii() and said.isdigit() else None),
            is_ours=slot.is_ours,
            is_marked=is_marked(manifest),
            is_held=any(_is_own(one) and one.get("endpoints") for one in slices),
            path=next((annotations[name] for name in _PATHS if name in annotations), "/metrics"),
        )

    def activators(self) -> Sequence[Address]:
        """See ``Surroundings``."""
        return [(address, pages.PORT) for address in self._activators()]

    def scales(self, namespace: str) -> dict[str, int]:
        """Numbers that were written a moment ago, by the name of a Deployment: the cache may not have them yet."""
        now = time.monotonic()
        for place, (_, when) in list(self._written.items()):
            if now - when > WRITTEN_SECONDS:
                del self._written[place]
        return {place[1]: count for place, (count, _) in self._written.items() if place[0] == namespace}

    async def uses(self) -> Mapping[tuple[str, str], Use] | None:
        """See ``Surroundings``. Raises ApiError."""
        try:
            listed = await self._api.ask("GET", _MEASURED, query={"labelSelector": f"{names.MANAGED}=tiffin"})
        except NotFound:
            return None
        return {
            (item["metadata"]["namespace"], item["metadata"]["name"]): _use(item) for item in listed["items"] or ()
        }

    # -- what is done --------------------------------------------------------------------------------------

    async def scale(self, pool: Pool, replicas: int) -> bool:
        """See ``Surroundings``. Raises ApiError."""
        try:
            found = await self._api.ask("GET", DEPLOYMENT.path(pool.namespace, pool.name, "scale"))
            if int((found.get("spec") or {}).get("replicas") or 0) != pool.wanted:
                return False
            change = {
                "metadata": {"resourceVersion": found["metadata"]["resourceVersion"]},
                "spec": {"replicas": replicas},
            }
            await self._api.patch(DEPLOYMENT, pool.namespace, pool.name, change, part="scale")
        except (Conflict, NotFound):
            return False
        self._written[pool.namespace, pool.name] = (replicas, time.monotonic())
        return True

    async def mark(self, pool: Pool, is_held: bool) -> None:
        """See ``Surroundings``. Raises ApiError."""
        change = {"metadata": {"annotations": {names.HELD: "true" if is_held else None}}}
        try:
            self._cache.put(DEPLOYMENT, await self._api.patch(DEPLOYMENT, pool.namespace, pool.name, change))
        except NotFound:
            return  # It was deleted meanwhile, which we shall be told.

    def warn(self, pool: Pool, reason: str, message: str) -> None:
        """See ``Surroundings``: to the log, and as an event of the object."""
        log.warning("%s: %s", pool.key, message)
        for key, (look, slots) in self._slots.items():
            if key.namespace == pool.namespace and any(slot.name == pool.name for slot in slots):
                note = Note(reason=reason, message=f"{pool.name}: {message}", type="Warning")
                task = asyncio.get_running_loop().create_task(self._tell(look.observed.object, note))
                self._telling.add(task)
                task.add_done_callback(self._telling.discard)

    async def _tell(self, document: Manifest, note: Note) -> None:
        for event in self._notebook.events(document, (note,), time.time()):
            try:
                await self._api.apply(EVENT, event)
            except ApiError as error:
                log.debug("an event was not written: %s", error)

    def _sliced(self, change: Change) -> None:
        metadata = change.object["metadata"]
        service = (metadata.get("labels") or {}).get(SERVICE_NAME)
        if not service:
            return
        place = (metadata["namespace"], service)
        if change.after is not None:
            self._by_service.setdefault(place, {})[metadata["name"]] = change.after
            return
        slices = self._by_service.get(place, {})
        slices.pop(metadata["name"], None)
        if not slices:
            self._by_service.pop(place, None)


def is_marked(manifest: Manifest) -> bool:
    """Whether a Deployment's calls are to go to the activator although it has replicas."""
    return (manifest["metadata"].get("annotations") or {}).get(names.HELD) == "true"


def replicas_of(slices: Sequence[Manifest], port: int | None) -> tuple[Replica, ...]:
    """Pods that are ready, by name, with the port of their metrics: ``port``, or that of their calls over HTTP."""
    found: dict[str, Replica] = {}
    for manifest in slices:
        numbers = [one for one in manifest.get("ports") or () if one.get("port")]
        plain = [one for one in numbers if not any(word in str(one.get("name")) for word in ("grpc", "h2c"))]
        if _is_own(manifest) or not numbers:
            continue
        number = port or int((plain or numbers)[0]["port"])
        for endpoint in manifest.get("endpoints") or ():
            if (endpoint.get("conditions") or {}).get("ready") is False or not endpoint.get("addresses"):
                continue
            address = str(endpoint["addresses"][0])
            name = str((endpoint.get("targetRef") or {}).get("name") or address)
            found.setdefault(name, Replica(name, (address, number)))
    return tuple(found[name] for name in sorted(found))


def _slots(look: Look) -> list[_Slot]:
    return [
        _Slot(
            names.workload(look.deployment, slot),
            names.service(look.deployment, slot),
            slot.component,
            owner_of(slot.component.scaling) == "tiffin" and not slot.component.scaling.is_fixed,
        )
        for slot in look.outcome.placement.slots
    ]


def _is_own(manifest: Manifest) -> bool:
    return (manifest["metadata"].get("labels") or {}).get(names.SLICE_MANAGER) == "tiffin"


def _use(item: Manifest) -> Use:
    """Of all containers of a pod together."""
    used = [one.get("usage") or {} for one in item.get("containers") or ()]
    if not used:
        return Use()
    return Use(
        cpu=sum(_amount(one.get("cpu")) for one in used),
        memory_bytes=sum(_amount(one.get("memory")) for one in used),
    )


def _amount(text: object) -> float:
    """A quantity as metrics have it; 0 for what is none."""
    match = _AMOUNT.fullmatch(str(text))
    return 0.0 if match is None else float(match[1]) * _FACTORS[match[2] or ""]
