"""What is on a cluster, as commands show it: the decision that the operator makes, from the same objects."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import NamedTuple

from tiffin.dialects import live
from tiffin.errors import SpecError
from tiffin.kube import capabilities, render
from tiffin.kube.capabilities import Capabilities
from tiffin.kube.client import Api, Kind, Listing, NotFound, Refused
from tiffin.kube.manifests import Manifest
from tiffin.kube.settings import NAMESPACE, Settings
from tiffin.operator import running, standing
from tiffin.operator.cache import Cache
from tiffin.operator.discovery import POD, RENDERED, SELECTORS, WRITTEN, GroupKind
from tiffin.operator.observing import seconds
from tiffin.operator.reconciling import seen
from tiffin.operator.references import References
from tiffin.plan.objects import Metadata, Object
from tiffin.plan.state import Condition, DeploymentStatus
from tiffin.spec import Component, ContainerSource, Deployment


class World(NamedTuple):
    """A cluster at one moment. ``settings`` are the usual ones when the operator's may not be read."""

    kinds: Mapping[GroupKind, Kind]
    cache: Cache
    settings: Settings
    capabilities: Capabilities
    version: int


async def world(api: Api, namespace: str) -> World:
    """Everything of one namespace, or of all, that a status is made of. Raises ApiError."""
    kinds = await api.kinds()
    wanted = [(pair, kinds[pair]) for pair in (*WRITTEN, *RENDERED, POD) if pair in kinds]
    listed = await asyncio.gather(*(_listed(api, pair, kind, namespace) for pair, kind in wanted))
    cache = Cache()
    version = 0
    for (pair, kind), listing in zip(wanted, listed, strict=True):
        cache.replace(kind, listing.items)
        if pair in WRITTEN and listing.version.isdigit():
            version = max(version, int(listing.version))
    minor, settings = await asyncio.gather(api.minor(), _settings(api))
    return World(kinds, cache, settings, capabilities.found(kinds.keys(), minor=minor), version)


async def _listed(api: Api, pair: GroupKind, kind: Kind, namespace: str) -> Listing:
    try:
        return await api.list(kind, namespace, labels=SELECTORS.get(pair, ""))
    except (NotFound, Refused):
        if pair in WRITTEN:
            raise
        # Who may not see routes or autoscalers still sees what else there is.
        return Listing([], "")


async def _settings(api: Api) -> Settings:
    try:
        return await running.read_settings(api, NAMESPACE, ())
    except (Refused, running.SettingsError):
        return Settings()


async def objects(api: Api, found: World) -> list[Object]:
    """All deployments of a world, by name."""
    references = References(api, found.cache, lambda: found.kinds)
    documents = [
        manifest
        for pair in WRITTEN
        if (kind := found.kinds.get(pair)) is not None
        for manifest in found.cache.all(kind)
    ]
    shown = await asyncio.gather(*(_object(document, found, references) for document in documents))
    return sorted(shown, key=lambda one: (one.metadata.namespace, one.metadata.name))


async def _object(document: Manifest, found: World, references: References) -> Object:
    settings = found.settings
    try:
        resources = await references.of(document)
        deployment = live.read_object(
            document, resources=resources, domain=settings.domain, default_mode=settings.default_mode
        )
        observed = seen(found.cache, document)
        outcome = standing.stand(deployment, observed, settings, found.capabilities, time.time())
        status = outcome.status
        render.render(deployment, outcome.placement, settings, found.capabilities)  # raises what the operator says
    except SpecError as error:
        deployment, status = _unread(document, error)
    return Object(
        metadata=_metadata(document),
        document=written(document),
        spec=deployment,
        status=_observed_by_operator(document, status),
    )


def _observed_by_operator(document: Manifest, status: DeploymentStatus) -> DeploymentStatus:
    """The status as far as somebody acts on it: a generation that no operator has seen yet is not observed."""
    import msgspec

    said = (document.get("status") or {}).get("observedGeneration")
    generation = said if isinstance(said, int) else 0
    if generation >= status.observed_generation:
        return status
    return msgspec.structs.replace(status, observed_generation=generation)


def written(document: Manifest) -> Manifest:
    """An object as its author wrote it, as far as that is known."""
    kept = ("name", "namespace", "labels", "annotations")
    metadata = {key: value for key, value in document["metadata"].items() if key in kept}
    annotations = {
        key: value
        for key, value in (metadata.get("annotations") or {}).items()
        if not key.startswith("kubectl.kubernetes.io/")
    }
    metadata.pop("annotations", None)
    if annotations:
        metadata["annotations"] = annotations
    return {key: value for key, value in document.items() if key not in ("metadata", "status")} | {
        "metadata": metadata
    }


def _metadata(document: Manifest) -> Metadata:
    metadata = document["metadata"]
    version = str(metadata.get("resourceVersion", "0"))
    return Metadata(
        name=metadata["name"],
        namespace=metadata["namespace"],
        resource_version=int(version) if version.isdigit() else 0,
        generation=int(metadata.get("generation") or 0),
        created_at=seconds(metadata.get("creationTimestamp")),
        labels=dict(metadata.get("labels") or {}),
        annotations=dict(metadata.get("annotations") or {}),
    )


_DIALECTS = {"InferenceService": "kserve", "SeldonDeployment": "seldon"}


def _unread(document: Manifest, error: SpecError) -> tuple[Deployment, DeploymentStatus]:
    """What is shown of an object that says what cannot be served."""
    metadata = document["metadata"]
    dialect = _DIALECTS.get(document["kind"], "tiffin")
    deployment = Deployment(
        name=metadata["name"],
        namespace=metadata["namespace"],
        components=(Component(source=ContainerSource(image="")),),
        dialect=dialect,  # type: ignore[arg-type]
    )
    condition = Condition(
        type="Ready", status="False", reason="InvalidSpec", message=str(error), hint=error.hint or ""
    )
    generation = int(metadata.get("generation") or 0)
    return deployment, DeploymentStatus(observed_generation=generation, conditions=(condition,))
