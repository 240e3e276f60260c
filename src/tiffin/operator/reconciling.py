"""Looks at one deployment: reads it, decides where it stands, and makes the cluster so.

    object ── dialects ──> Deployment ──┐
    what belongs to it ── Observed ─────┴── standing.stand ──> Placement ── render ──> apply, prune
                                                         └──> status, events

It does the same each time, whatever change led to it, and writes nothing where all is as it should be.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from tiffin.dialects import live
from tiffin.errors import SpecError, TiffinError
from tiffin.kube import render
from tiffin.kube.client import Api, Conflict, Kind, NotFound, Refused
from tiffin.kube.manifests import Manifest
from tiffin.kube.settings import Settings
from tiffin.operator import claims, histories, refusing, standing
from tiffin.operator.applying import Applier, difference, is_owned
from tiffin.operator.cache import Cache
from tiffin.operator.discovery import FOREIGN, UNSERVED, WRITTEN, Discovery, GroupKind
from tiffin.operator.explaining import Explainer
from tiffin.operator.noting import Note, Notebook
from tiffin.operator.observing import Observed
from tiffin.operator.ports import Ports
from tiffin.operator.references import References
from tiffin.operator.revisions import Kept
from tiffin.rollout.machine import Evidence
from tiffin.spec import Deployment

log = logging.getLogger(__name__)

EVENT = Kind("", "v1", "Event", "events")
TAKEOVER = "tiffin.dev/takeover"
"""An annotation, ``"true"``: this object is Tiffin's although another system would look after it."""
FINALIZER = "inferenceservice.finalizers"
"""By which KServe's controller, wherever it runs, marks what it looks after."""

TAKEN_SECONDS = 15.0
"""How soon to look again whether a name is free."""

_SCALERS = ("HorizontalPodAutoscaler", "ScaledObject")
_ROUTES = ("HTTPRoute", "GRPCRoute", "Ingress")


class Key(NamedTuple):
    """One object that somebody wrote."""

    kind: GroupKind
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind[1]} {self.namespace}/{self.name}"


class Look(NamedTuple):
    """What a reconciliation came to, for whoever scales and measures: the last one of each object is kept."""

    deployment: Deployment
    observed: Observed
    outcome: standing.Outcome


class Reconciler:
    """All objects of one cluster. ``activators`` gives the addresses of the activator's pods that are ready."""

    def __init__(
        self,
        api: Api,
        cache: Cache,
        discovery: Discovery,
        *,
        settings: Callable[[], Settings],
        activators: Callable[[], tuple[str, ...]] = tuple,
        scales: Callable[[str], Mapping[str, int]] = lambda namespace: {},
        evidence: Callable[[str], Mapping[str, Evidence]] = lambda key: {},
    ) -> None:
        self._api = api
        self._cache = cache
        self._discovery = discovery
        self._settings = settings
        self._activators = activators
        self._scales = scales
        self._evidence = evidence
        self._applier = Applier(api, cache)
        self._references = References(api, cache, lambda: discovery.kinds)
        self._notebook = Notebook()
        self._explainer = Explainer(api)
        self._remembered: dict[Key, Mapping[str, Kept]] = {}
        self._passed_over: set[Key] = set()
        self.ports = Ports()
        self.looks: dict[Key, Look] = {}

    def is_ours(self, key: Key, document: Manifest) -> bool:
        """Whether an object is looked after here, and not by another system of this cluster."""
        metadata = document["metadata"]
        is_claimed = FINALIZER in (metadata.get("finalizers") or ())
        if not (is_claimed or key.kind in self._discovery.foreign) or self._settings().takeover:
            return True
        return (metadata.get("annotations") or {}).get(TAKEOVER) == "true"

    async def look(self, key: Key) -> float | None:
        """One reconciliation; in how many seconds to look again at the latest.

        Raises:
            ApiError: something could not be read or written; what was written stays, the next look goes on.
        """
        kind = self._discovery.kinds.get(key.kind)
        document = self._cache.get(kind, (key.namespace, key.name)) if kind is not None else None
        if kind is None or document is None or document["metadata"].get("deletionTimestamp"):
            self._forget(key)
            return None
        if not self.is_ours(key, document):
            if key not in self._passed_over:
                self._passed_over.add(key)
                namespace, name = FOREIGN[key.kind]
                log.info(
                    '%s is left to %s/%s; annotation %s: "true" takes it over', key, namespace, name, TAKEOVER
                )
            return None
        self._passed_over.discard(key)
        settings = self._settings()
        try:
            self.see_name(key, document)
            deployment = await self.read(document)
            return await self._reconcile(key, kind, document, deployment, settings)
        except claims.NameTaken as error:
            await self._refuse(kind, document, error, claims.REASON)
            return TAKEN_SECONDS  # What has the name may be of a kind that nobody watches.
        except histories.Unreadable as error:
            await self._refuse(kind, document, error, refusing.UNREADABLE)
            return None
        except SpecError as error:
            await self._refuse(kind, document, error)
            return None
        except Refused as error:
            # It may be the object's fault, a quota's, or a missing right: whoever wrote it should see which.
            await self._refuse(kind, document, error, refusing.REFUSED)
            raise

    def see_name(self, key: Key, document: Manifest) -> None:
        """That no other object that is looked after here has that name. Raises NameTaken."""
        found = []
        for pair in WRITTEN:
            kind = self._discovery.kinds.get(pair) if pair != key.kind else None
            other = self._cache.get(kind, (key.namespace, key.name)) if kind is not None else None
            if other is not None and self.is_ours(key._replace(kind=pair), other):
                found.append(other)
        first = claims.holder(document, found)
        if first is not None:
            raise claims.taken_by(first)

    async def read(self, document: Manifest) -> Deployment:
        """An object with what it refers to. Raises SpecError, and ApiError where that cannot be learnt now."""
        settings = self._settings()
        resources = await self._references.of(document)
        return live.read_object(
            document, resources=resources, domain=settings.domain, default_mode=settings.default_mode
        )

    def _forget(self, key: Key) -> None:
        self._remembered.pop(key, None)
        self.looks.pop(key, None)
        self._passed_over.discard(key)

    async def _reconcile(
        self, key: Key, kind: Kind, document: Manifest, deployment: Deployment, settings: Settings
    ) -> float | None:
        capabilities = self._discovery.capabilities
        observed = self._observed(key, document)
        histories.see_readable(deployment, observed)
        events = await self._explainer.events(document["metadata"]["uid"], observed.pods)
        observed = msgspec.structs.replace(observed, events=events)
        outcome = standing.stand(deployment, observed, settings, capabilities, time.time())
        # Rendered before anything is written: what cannot be rendered changes nothing.
        rendered = render.render(deployment, outcome.placement, settings, capabilities)
        self._remembered[key] = outcome.remembered
        self.looks[key] = Look(deployment, observed, outcome)
        for manifest in (*outcome.revisions_to_write, *rendered):
            await self._applier.apply(self._kind_of(manifest), manifest)
        await self._write_status(kind, document, outcome.native_status)
        await self._note(document, outcome.notes)
        uid = document["metadata"]["uid"]
        keep = (*rendered, *self._kept(key, outcome))
        await self._applier.prune(self._owned(key), keep, uid)
        return outcome.requeue_after

    def _kind_of(self, manifest: Manifest) -> Kind:
        group = manifest["apiVersion"].rpartition("/")[0]
        found = self._discovery.kinds.get((group, manifest["kind"]))
        if found is None:
            raise NotFound(f"the cluster serves no {manifest['kind']} of {manifest['apiVersion']} any more")
        return found

    def _owned(self, key: Key) -> list[tuple[Kind, Manifest]]:
        return [
            (kind, manifest)
            for kind, manifest in self._cache.of(key.namespace, key.name)
            if manifest["kind"] != "Pod"
        ]

    def _kept(self, key: Key, outcome: standing.Outcome) -> list[Manifest]:
        """What is not rendered and stays all the same: revisions, and Deployments that serve until others can."""
        gone = frozenset(outcome.revisions_to_delete)
        return [
            manifest
            for _, manifest in self._owned(key)
            if (manifest["kind"] == "ControllerRevision" and manifest["metadata"]["name"] not in gone)
            or (manifest["kind"] == "Deployment" and manifest["metadata"]["name"] in outcome.keep)
        ]

    def _observed(self, key: Key, document: Manifest) -> Observed:
        activators = self._activators()
        return msgspec.structs.replace(
            seen(self._cache, document),
            activators=activators,
            port_of=lambda service: self.ports.of(f"{key.namespace}/{service}") if activators else None,
            scales=self._scales(key.namespace),
            evidence=self._evidence(f"{key.namespace}/{key.name}"),
            remembered=self._remembered.get(key, {}),
        )

    async def _refuse(
        self, kind: Kind, document: Manifest, error: TiffinError, reason: str = refusing.REASON
    ) -> None:
        """Say what is wrong with an object; what serves for it goes on as it is."""
        status = refusing.status(document, error, time.time(), reason)
        await self._write_status(kind, document, None if status == document.get("status") else status)
        hint = f" ({error.hint})" if error.hint else ""
        await self._note(document, (Note(reason=reason, message=f"{error}{hint}", type="Warning"),))

    async def _write_status(self, kind: Kind, document: Manifest, status: dict[str, Any] | None) -> None:
        if status is None:
            return
        metadata = document["metadata"]
        patch = difference(document.get("status") or {}, status)
        try:
            made = await self._api.patch(
                kind, metadata["namespace"], metadata["name"], {"status": patch}, part="status"
            )
        except NotFound:
            return  # It was deleted meanwhile, which we shall be told.
        self._cache.put(kind, made)

    async def _note(self, document: Manifest, notes: tuple[Note, ...]) -> None:
        events = self._notebook.events(document, notes, time.time())
        for event in events:
            try:
                await self._api.apply(EVENT, event)
            except (Refused, NotFound, Conflict) as error:
                # Its namespace may be going; an event is no reason to fail.
                log.debug("an event was not written: %s", error)


def seen(cache: Cache, document: Manifest) -> Observed:
    """An object with what a cache holds of all that belongs to it."""
    metadata = document["metadata"]
    found: dict[str, list[Manifest]] = {}
    for kind, manifest in cache.of(metadata["namespace"], metadata["name"]):
        if manifest["kind"] == "Pod" or is_owned(manifest, metadata["uid"]):
            name = "Knative" if kind.group == "serving.knative.dev" else manifest["kind"]
            found.setdefault(name, []).append(manifest)

    def several(*kinds: str) -> tuple[Manifest, ...]:
        return tuple(manifest for kind in kinds for manifest in found.get(kind, ()))

    return Observed(
        object=document,
        deployments=several("Deployment"),
        pods=several("Pod"),
        services=several("Service"),
        routes=several(*_ROUTES),
        revisions=several("ControllerRevision"),
        scalers=several(*_SCALERS),
        knative=several("Knative"),
    )


def keys_of(cache: Cache, discovery: Discovery) -> list[Key]:
    """All objects that somebody wrote."""
    return [
        Key(pair, manifest["metadata"]["namespace"], manifest["metadata"]["name"])
        for pair in (*WRITTEN, *UNSERVED)
        if (kind := discovery.kinds.get(pair)) is not None
        for manifest in cache.all(kind)
    ]


def keys_for(manifest: Manifest, kind: Kind) -> list[Key]:
    """The objects that a change of this one may matter to."""
    metadata = manifest["metadata"]
    if (kind.group, kind.kind) in (*WRITTEN, *UNSERVED):
        return [Key((kind.group, kind.kind), metadata["namespace"], metadata["name"])]
    for reference in metadata.get("ownerReferences") or ():
        pair = (reference["apiVersion"].rpartition("/")[0], reference["kind"])
        if pair in WRITTEN:
            return [Key(pair, metadata["namespace"], reference["name"])]
    return []
