"""Revisions as a cluster keeps them: ControllerRevisions of apps/v1, owned by the object they are versions of.

``data`` is the JSON of a ``plan.Revision`` whose components have no scaling and no value of a secret; it never
changes. What a variant's revisions are to each other (who serves, what the judge knows) is an annotation of the
newest one, so that it is written and lost together with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from tiffin.dialects.secret_uses import VARIABLE
from tiffin.kube import names
from tiffin.kube.manifests import Manifest
from tiffin.kube.placement import Role
from tiffin.plan.revision import Revision, digest
from tiffin.plan.share import Standing
from tiffin.spec import Component, Deployment, Scaling, Variant
from tiffin.spec.deployment import Protocol

KEPT = 10
"""Revisions of a deployment that are kept to go back to."""
STANDING = "tiffin.dev/standing"
"""An annotation of the newest ControllerRevision of a variant: ``Kept`` as JSON."""
API_VERSION = "apps/v1"
KIND = "ControllerRevision"


class Kept(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is remembered of a variant.

    ``weights`` are the percentages of the variant's calls by role, as they were set last; ``residents`` the
    revisions that were last able to serve in each role. ``share`` is what the variant got of all calls: one that
    is removed keeps it until those that take its place can serve. ``quiet`` is since when the candidate gets no
    calls (seconds since 1970; 0: it gets some). ``request`` is the last ``tiffin.dev/rollout`` that was obeyed.
    """

    standing: Standing = Standing()
    weights: dict[Role, float] = {}
    residents: dict[Role, int] = {}
    share: float = 0.0
    quiet: float = 0.0
    request: str = ""


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """A ControllerRevision that is there: ``revision`` is ``None`` when this version cannot read it."""

    name: str
    number: int
    variant: str
    revision: Revision | None
    kept: Kept | None = None


def is_of(revision: Revision, variant: Variant, protocol: Protocol) -> bool:
    """Whether a revision is what a variant says now, its pods included.

    Both are read alike, whatever made the digest: another version of the operator restarts nobody's pods.
    """
    if revision.variant != variant.name:
        return False
    own = Variant(name=revision.variant, components=revision.components)
    wanted = digest_of(variant, protocol)
    return wanted == revision.digest or wanted == digest_of(own, revision.protocol)


def digest_of(variant: Variant, protocol: Protocol) -> str:
    """As ``plan.revision.digest``, where what pods say counts and values of secrets do not."""
    bare = msgspec.structs.replace(variant, components=tuple(map(without_secrets, variant.components)))
    return digest(bare, protocol, with_pods=True)


def without_secrets(component: Component) -> Component:
    """The component with the names of its secrets alone; where they are is known to the pod that needs them."""
    source = component.source
    credentials = getattr(source, "credentials", None)
    if credentials:
        told = {name: value for name, value in credentials.items() if name == VARIABLE}
        source = msgspec.structs.replace(source, credentials=told)
    secret = frozenset(component.secret_variables)
    environment = {name: value for name, value in component.environment.items() if name not in secret}
    return msgspec.structs.replace(component, source=source, environment=environment)


def make(deployment: Deployment, variant: Variant, number: int) -> Revision:
    """The revision that a variant is now. It has no time of its own: the object it is kept in has one."""
    return Revision(
        namespace=deployment.namespace,
        deployment=deployment.name,
        number=number,
        variant=variant.name,
        protocol=deployment.protocol,
        components=tuple(
            msgspec.structs.replace(without_secrets(part), scaling=Scaling()) for part in variant.components
        ),
        digest=digest_of(variant, deployment.protocol),
    )


def encode(deployment: Deployment, revision: Revision, kept: Kept | None, owner: Mapping[str, Any]) -> Manifest:
    """The ControllerRevision of a revision. ``owner`` is an owner reference."""
    metadata: dict[str, Any] = {
        "name": names.fitting(revision.name),
        "namespace": revision.namespace,
        "labels": names.labels(deployment) | {names.VARIANT: revision.variant},
        "ownerReferences": [dict(owner)] if owner else [],
    }
    if kept is not None:
        metadata["annotations"] = {STANDING: msgspec.json.encode(kept).decode()}
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": metadata,
        "revision": revision.number,
        "data": msgspec.json.decode(msgspec.json.encode(msgspec.structs.replace(revision, created=0.0))),
    }


def again(known: Manifest, deployment: Deployment, kept: Kept | None, owner: Mapping[str, Any]) -> Manifest:
    """A ControllerRevision that is there, with what is remembered now; its data stays as it was written."""
    metadata: dict[str, Any] = {
        "name": known["metadata"]["name"],
        "namespace": known["metadata"]["namespace"],
        "labels": names.labels(deployment)
        | {names.VARIANT: (known["metadata"].get("labels") or {}).get(names.VARIANT, "")},
        "ownerReferences": [dict(owner)] if owner else [],
    }
    if kept is not None:
        metadata["annotations"] = {STANDING: msgspec.json.encode(kept).decode()}
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": metadata,
        "revision": known.get("revision", 0),
        "data": known.get("data") or {},
    }


def decode(manifest: Manifest, *, created: float = 0.0) -> Known:
    """What a ControllerRevision says; never raises."""
    metadata = manifest["metadata"]
    try:
        revision: Revision | None = msgspec.convert(manifest.get("data"), Revision)
    except (msgspec.ValidationError, TypeError):
        revision = None
    number = manifest.get("revision")
    labels = metadata.get("labels") or {}
    return Known(
        name=metadata["name"],
        number=number if isinstance(number, int) else 0,
        variant=revision.variant if revision is not None else str(labels.get(names.VARIANT, "")),
        revision=None if revision is None else msgspec.structs.replace(revision, created=created),
        kept=_kept((metadata.get("annotations") or {}).get(STANDING, "")),
    )


def _kept(text: str) -> Kept | None:
    if not text:
        return None
    try:
        return msgspec.json.decode(text, type=Kept)
    except msgspec.MsgspecError:
        return None  # What somebody wrote there by hand is nothing to stop for: what is observed says the rest.


def superfluous(known: Sequence[Known], needed: Iterable[int]) -> tuple[str, ...]:
    """Names of the revisions to forget: the oldest beyond ``KEPT``, but none that is needed."""
    keep = frozenset(needed)
    old = [one for one in sorted(known, key=lambda one: one.number) if one.number not in keep]
    return tuple(one.name for one in old[: max(0, len(known) - KEPT)])
