"""The client of a cluster: what commands ask of a controller, asked of an API server."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any, Literal, TypeVar

from tiffin.cli.clusters import comparing, documents, reading
from tiffin.client import Client, Place
from tiffin.dialects import live
from tiffin.dialects.documents import Document
from tiffin.errors import NoSuchDeployment, SpecError
from tiffin.kube import client as kube
from tiffin.kube.client import Api, ApiError, Kind, NotFound
from tiffin.kube.manifests import Manifest
from tiffin.operator import histories, rollouts
from tiffin.operator.discovery import WRITTEN
from tiffin.operator.observing import moment, seconds
from tiffin.operator.reconciling import seen
from tiffin.plan import difference, objects
from tiffin.plan.objects import (
    Applied,
    Compared,
    LogLine,
    Object,
    ResourceListing,
    RevisionSummary,
    Source,
    Watched,
)
from tiffin.plan.state import Event
from tiffin.spec import Deployment

EVENTS = Kind("", "v1", "Event", "events")
POLL_SECONDS = 1.0

Answer = TypeVar("Answer")


def connect(context: str = "", kubeconfig: str = "") -> ClusterClient:
    """The cluster of a context; nothing is sent yet. Raises MissingExtra, PlatformError."""
    return ClusterClient(context, kubeconfig)


class ClusterClient(Client):
    """Every method connects anew, so that any thread may call it. They raise ApiError, NoSuchDeployment."""

    def __init__(self, context: str = "", kubeconfig: str = "") -> None:
        super().__init__(Place(host="kubernetes", port=443))
        self._context = context
        self._kubeconfig = kubeconfig
        self.namespace = self._run(_namespace)  # also: what is not configured is said at once

    def _api(self) -> Api:
        return kube.connect(kubeconfig=self._kubeconfig, context=self._context)

    def _run(self, use: Callable[[Api], Awaitable[Answer]]) -> Answer:
        async def whole() -> Answer:
            async with self._api() as api:
                return await use(api)

        return asyncio.run(whole())

    def is_running(self) -> bool:
        """Whether the API server answers."""
        try:
            self._run(lambda api: api.ask("GET", "/version"))
        except ApiError:
            return False
        return True

    def check(self) -> None:
        """Raises ApiError when the API server does not answer, SpecError when it does not know deployments."""

        async def use(api: Api) -> None:
            kinds = await api.kinds()
            if not any(pair in kinds for pair in WRITTEN):
                raise SpecError(
                    "the cluster has none of the kinds that Tiffin reads",
                    hint="`tiffin install | kubectl apply --server-side -f -` brings them",
                )

        self._run(use)

    # ---- looking

    def list(self, namespace: str | None = None) -> objects.Listing:
        """All deployments, of one namespace or of all."""

        async def use(api: Api) -> objects.Listing:
            world = await reading.world(api, namespace or "")
            return objects.Listing(resource_version=world.version, items=tuple(await reading.objects(api, world)))

        return self._run(use)

    def get(self, key: str) -> Object:
        """One deployment; raises NoSuchDeployment."""
        namespace, _, name = key.partition("/")
        found = next((one for one in self.list(namespace).items if one.metadata.name == name), None)
        if found is None:
            raise NoSuchDeployment(f"there is no deployment {name} in namespace {namespace}")
        return found

    def native(self, key: str) -> dict[str, Any]:
        """The object as the API server has it."""

        async def use(api: Api) -> Manifest:
            _, manifest = await self._find(api, key)
            metadata = {name: value for name, value in manifest["metadata"].items() if name != "managedFields"}
            return {**manifest, "metadata": metadata}

        return self._run(use)

    async def _find(self, api: Api, key: str) -> tuple[Kind, Manifest]:
        """What somebody wrote under that name, of whatever kind."""
        namespace, _, name = key.partition("/")
        kinds = await api.kinds()
        for pair in WRITTEN:
            if pair in kinds:
                try:
                    return kinds[pair], await api.get(kinds[pair], namespace, name)
                except NotFound:
                    continue
        raise NoSuchDeployment(f"there is no deployment {name} in namespace {namespace}")

    def watch(self, resource_version: int | None = None, *, namespace: str | None = None) -> Iterator[Watched]:
        """What changes, all objects first; a look a second, since a status is made of many objects."""
        before: dict[str, Object] = {}
        while True:
            now = {one.spec.key: one for one in self.list(namespace).items}
            yield from _between(before, now)
            before = now
            threading.Event().wait(POLL_SECONDS)

    def events(self, key: str | None = None, *, namespace: str | None = None) -> tuple[Event, ...]:
        """What happened to deployments, and to their pods, the newest last."""
        where = key.partition("/")[0] if key else (namespace or "")

        async def use(api: Api) -> tuple[Event, ...]:
            listed = await api.list(EVENTS, where)
            world = await reading.world(api, where)
            owners = _owners(world)
            found = []
            for manifest in listed.items:
                owner = owners.get(str((manifest.get("involvedObject") or {}).get("uid", "")))
                if owner is not None and key in (None, owner):
                    found.append(_event(manifest, owner))
            return tuple(sorted(found, key=lambda one: one.time))

        return self._run(use)

    def watch_events(self, key: str | None = None, *, namespace: str | None = None) -> Iterator[Event]:
        """What happened, then what happens."""
        told: set[tuple[str, str, str, int]] = set()
        while True:
            for event in self.events(key, namespace=namespace):
                identity = (event.deployment, event.reason, event.message, event.count)
                if identity not in told:
                    told.add(identity)
                    yield event
            threading.Event().wait(POLL_SECONDS)

    def revisions(self, key: str) -> tuple[RevisionSummary, ...]:
        """Those that are still known, the oldest first."""

        async def use(api: Api) -> tuple[RevisionSummary, ...]:
            _, document = await self._find(api, key)
            world = await reading.world(api, key.partition("/")[0])
            deployment = live.read_object(document)
            history = histories.read(deployment, seen(world.cache, document))
            return tuple(objects.summary(one) for _, one in sorted(history.revisions.items()))

        return self._run(use)

    def logs(
        self, key: str, *, replica: str = "", follow: bool = False, tail: int | None = None
    ) -> Iterator[LogLine]:
        """What the main containers of its pods wrote, and with ``follow`` what they write."""
        found = self.get(key)
        names = [one.name for one in found.status.replicas if replica in ("", one.name)]
        if replica and not names:
            known = ", ".join(one.name for one in found.status.replicas) or "none"
            raise SpecError(f"expected --replica to be one of {known}, found {replica!r}")
        namespace = found.metadata.namespace
        said: queue.Queue[LogLine | BaseException | None] = queue.Queue()

        async def one(api: Api, name: str) -> None:
            path = f"/api/v1/namespaces/{namespace}/pods/{name}/log"
            container = await _container(api, namespace, name)
            query = {"follow": follow or None, "tailLines": tail, "container": container}
            async for line in api.lines(path, query):
                said.put(LogLine(replica=name, line=line))

        async def use(api: Api) -> None:
            await asyncio.gather(*(one(api, name) for name in names))

        def work() -> None:
            try:
                self._run(use)
                said.put(None)
            except BaseException as error:  # it is raised where somebody waits
                said.put(error)

        threading.Thread(target=work, daemon=True).start()
        while (line := said.get()) is not None:
            if isinstance(line, BaseException):
                raise line
            yield line

    def resources(self) -> ResourceListing:
        """Serving runtimes that were written for the cluster."""
        return ResourceListing()

    # ---- changing

    def apply(
        self,
        sources: Sequence[Source],
        *,
        dry_run: bool = False,
        force: bool = False,
        managed_by: str = "",
        trust: bool = False,
        domain: str = "",
        resource_version: int | None = None,
    ) -> tuple[Applied, ...]:
        """Apply every document, server-side, once all of them could be read; raises SpecError, ApiError."""
        found = documents.read(sources)

        async def use(api: Api) -> tuple[Applied, ...]:
            deployments = documents.checked(found, api.namespace)
            done = []
            for number, (before, after) in enumerate([one async for one in _applied(api, found, dry_run=dry_run)]):
                if number not in deployments:
                    continue
                spec = deployments[number]
                old, new = _read(before), _read(after)
                changes, effects = difference.diff(old, new) if new is not None else ((), ())
                done.append(
                    Applied(
                        key=spec.key,
                        action=comparing.action(before, after),
                        changes=changes,
                        effects=effects,
                        warnings=spec.warnings,
                        resource_version=int(after["metadata"].get("resourceVersion") or 0),
                    )
                )
            return tuple(done)

        return self._run(use)

    def compare(self, sources: Sequence[Source], *, domain: str = "") -> tuple[Compared, ...]:
        """All objects of some files as they are and as they would be; raises SpecError, ApiError."""
        found = documents.read(sources)

        async def use(api: Api) -> tuple[Compared, ...]:
            documents.checked(found, api.namespace)
            done = []
            for number, (before, after) in enumerate([one async for one in _applied(api, found, dry_run=True)]):
                metadata = after["metadata"]
                name = f"{metadata.get('namespace', '')}/{metadata['name']}".removeprefix("/")
                done.append(
                    Compared(
                        key=f"{after['kind']}/{name}",
                        before=None if before is None else comparing.shown(before, before),
                        after=comparing.shown(after, before),
                        file=found[number].file,
                    )
                )
            return tuple(done)

        return self._run(use)

    def keys(self, sources: Sequence[Source]) -> tuple[str, ...]:
        """``namespace/name`` of the deployments in some files, as ``apply`` places them; raises SpecError."""
        return tuple(spec.key for spec in documents.checked(documents.read(sources), self.namespace).values())

    def delete(self, key: str, *, resource_version: int | None = None) -> None:
        """Desire it no longer; raises NoSuchDeployment."""

        async def use(api: Api) -> None:
            kind, manifest = await self._find(api, key)
            metadata = manifest["metadata"]
            await api.delete(kind, metadata["namespace"], metadata["name"], uid=metadata["uid"])

        self._run(use)

    def rollout(
        self, key: str, action: Literal["promote", "undo", "pause", "resume"], *, to: int | None = None
    ) -> str:
        """Ask the operator to steer its rollout; what was asked, as a sentence."""

        async def use(api: Api) -> str:
            kind, manifest = await self._find(api, key)
            wanted = f"{action}{'' if to is None else f':{to}'}@{moment(time.time())}"
            change = {"metadata": {"annotations": {rollouts.REQUEST: wanted}}}
            metadata = manifest["metadata"]
            await api.patch(kind, metadata["namespace"], metadata["name"], change)
            return f"{key}: the operator is asked to {action}; `tiffin rollout status` tells what it does"

        return self._run(use)

    def scale(
        self,
        key: str,
        *,
        component: str = "",
        replicas: int | None = None,
        minimum: int | None = None,
        maximum: int | None = None,
    ) -> str:
        """Refused: on a cluster the numbers stand in the object."""
        raise SpecError(
            "expected the number of replicas in the object: on a cluster it is not changed beside it",
            hint="change minReplicas and maxReplicas (replicas of a SeldonDeployment) in its file and apply that",
        )

    def report(self, key: str) -> dict[str, Any]:
        """What a judge says; on a cluster that stands in its events."""
        raise NoSuchDeployment(f"{key} has no report here; `tiffin events` tells what the judge says")


async def _namespace(api: Api) -> str:
    """The context's own; connecting reads the configuration, and sends nothing."""
    return api.namespace


def _between(before: dict[str, Object], now: dict[str, Object]) -> Iterator[Watched]:
    for key in before.keys() - now.keys():
        yield Watched(type="DELETED", object=before[key])
    for key, found in now.items():
        if before.get(key) != found:
            yield Watched(type="MODIFIED" if key in before else "ADDED", object=found)


def _owners(world: reading.World) -> dict[str, str]:
    """The key of the deployment that each object is, or belongs to, by uid."""
    found: dict[str, str] = {}
    for pair in WRITTEN:
        kind = world.kinds.get(pair)
        for document in world.cache.all(kind) if kind is not None else ():
            metadata = document["metadata"]
            key = f"{metadata['namespace']}/{metadata['name']}"
            found[metadata["uid"]] = key
            for _, manifest in world.cache.of(metadata["namespace"], metadata["name"]):
                found[manifest["metadata"]["uid"]] = key
    return found


def _event(manifest: Manifest, owner: str) -> Event:
    about = manifest.get("involvedObject") or {}
    where = "" if about.get("kind") not in ("Pod", "Deployment") else f"{about['kind']} {about['name']}: "
    made = manifest["metadata"].get("creationTimestamp")
    kind: Literal["Normal", "Warning"] = "Warning" if manifest.get("type") == "Warning" else "Normal"
    return Event(
        deployment=owner,
        type=kind,
        reason=str(manifest.get("reason") or ""),
        message=where + str(manifest.get("message") or ""),
        time=seconds(manifest.get("lastTimestamp") or manifest.get("eventTime") or made),
        count=int(manifest.get("count") or 1),
    )


async def _container(api: Api, namespace: str, name: str) -> str | None:
    """The container whose lines count, where a pod has several."""
    pod = await api.get(Kind("", "v1", "Pod", "pods"), namespace, name)
    names = [one["name"] for one in pod["spec"]["containers"]]
    return None if len(names) == 1 else next((one for one in names if one == "kserve-container"), names[0])


def _kind(kinds: Any, value: dict[str, Any], item: Document) -> Kind:
    version, kind = str(value.get("apiVersion", "")), str(value.get("kind", ""))
    found: Kind | None = kinds.get((version.rpartition("/")[0], kind))
    if found is None:
        raise SpecError(
            f"the cluster serves no {kind} of {version}",
            hint="`tiffin install | kubectl apply --server-side -f -` brings the kinds Tiffin reads",
            place=item.place("kind"),
        )
    return found._replace(version=version.rpartition("/")[2])


async def _there(api: Api, kind: Kind, value: dict[str, Any]) -> Manifest | None:
    metadata = value["metadata"]
    try:
        return await api.get(kind, metadata.get("namespace", ""), metadata["name"])
    except NotFound:
        return None


async def _applied(
    api: Api, found: Sequence[Document], *, dry_run: bool
) -> AsyncIterator[tuple[Manifest | None, Manifest]]:
    """Each document's object before and after it is applied, in their order."""
    kinds = await api.kinds()
    for item in found:
        value = documents.placed(item.value, api.namespace)
        kind = _kind(kinds, value, item)
        if not kind.is_namespaced:
            value["metadata"].pop("namespace", None)
        before = await _there(api, kind, value)
        yield before, await api.apply(kind, value, dry_run=dry_run)


def _read(manifest: Manifest | None) -> Deployment | None:
    """What an object says by itself; ``None`` for what is not there, or says nothing without what it refers to."""
    if manifest is None:
        return None
    try:
        return live.read_object(manifest)
    except SpecError:
        return None
