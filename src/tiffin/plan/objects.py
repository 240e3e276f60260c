"""What is said about deployments between who wants something and the controller; the API's JSON."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from tiffin.plan.revision import Revision
from tiffin.plan.state import DeploymentStatus, Event
from tiffin.spec import ClassSource, ContainerSource, Deployment, ModelSource, ServiceSource, SpecWarning


class Source(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something to apply: a path on this machine, or the text of a file with the directory it is relative to."""

    path: str = ""
    text: str = ""
    file: str = ""
    base: str = ""


class Metadata(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """As in Kubernetes. ``created_at`` is in seconds since 1970; ``managed_by`` is ``up`` or empty."""

    name: str
    namespace: str
    resource_version: int
    generation: int
    created_at: float
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    managed_by: str = ""


class Object(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A deployment as the API shows it. ``document`` is the object as its author wrote it."""

    api_version: str = "tiffin.dev/v1"
    kind: str = "Deployment"
    metadata: Metadata
    document: dict[str, Any] = {}
    spec: Deployment
    status: DeploymentStatus = DeploymentStatus()


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that differs: the field's path, and what it was and becomes (``None``: not there)."""

    path: str
    before: Any = None
    after: Any = None


class Applied(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What applying did, or would do, to one deployment. ``effects`` are sentences: what would be started..."""

    key: str
    action: Literal["created", "configured", "unchanged", "deleted"]
    changes: tuple[Change, ...] = ()
    effects: tuple[str, ...] = ()
    warnings: tuple[SpecWarning, ...] = ()
    resource_version: int = 0


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """A document as it is and as it would be once ``file`` is applied; ``None``: there is none."""

    key: str
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    file: str = ""


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a watch."""

    type: Literal["ADDED", "MODIFIED", "DELETED"]
    object: Object


class ReplicaUse(msgspec.Struct, frozen=True, kw_only=True):
    """What a replica uses now: cores, bytes, calls in hand of its pool, calls a second of its pool."""

    deployment: str
    replica: str
    revision: str
    component: str
    cpu: float
    memory_bytes: int
    active: int = 0
    rps: float = 0.0


class Listing(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """All objects at one moment; a watch from ``resource_version`` on misses nothing."""

    resource_version: int
    items: tuple[Object, ...]


class EventListing(msgspec.Struct, frozen=True, kw_only=True):
    """Events, the newest last."""

    items: tuple[Event, ...]


class UseListing(msgspec.Struct, frozen=True, kw_only=True):
    """What runs and what it uses."""

    items: tuple[ReplicaUse, ...]


class LogLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line that a replica wrote."""

    replica: str
    line: str


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """The body of every answer that is no success. ``at`` is a field's path, ``place`` is ``file:line``."""

    error: str
    code: str
    hint: str = ""
    at: str = ""
    place: str = ""


class RevisionSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A revision that can be gone back to. ``serves`` is what each of its components runs, by component."""

    name: str
    number: int
    variant: str
    created: float
    serves: dict[str, str]


class RevisionListing(msgspec.Struct, frozen=True, kw_only=True):
    """The revisions of a deployment that are still known, the oldest first."""

    items: tuple[RevisionSummary, ...]


class ApplyRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What to apply, all or nothing; with ``dry_run`` only say what would be done.

    ``resource_version`` is the one the caller saw; with ``force`` it does not matter.
    ``managed_by`` is ``up`` for what ends with its ``tiffin up``. ``domain`` is what host names end in.
    """

    sources: tuple[Source, ...]
    dry_run: bool = False
    force: bool = False
    managed_by: str = ""
    trust: bool = False
    domain: str = ""
    resource_version: int | None = None


class AppliedListing(msgspec.Struct, frozen=True, kw_only=True):
    """What applying did to each deployment."""

    items: tuple[Applied, ...]


class RolloutRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``to`` is the number of the revision that ``undo`` goes back to; absent: the one before."""

    action: Literal["promote", "undo", "pause", "resume"]
    to: int | None = None


class ScaleRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``replicas`` is both bounds at once; ``component`` may be empty when there is but one."""

    component: str = ""
    replicas: int | None = None
    min: int | None = None
    max: int | None = None


class ReplayRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Send the recorded requests, at most ``limit``, to the revision ``against``.

    With ``recorded_speed`` as far apart as they came, else as fast as they are answered.
    """

    against: str
    limit: int | None = None
    recorded_speed: bool = msgspec.field(name="recordedSpeed", default=False)


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What was done, as a sentence."""

    message: str


class Runtime(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What serves a kind of models. ``namespace`` is empty when it is there for all."""

    name: str
    namespace: str = ""
    formats: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ()
    image: str = ""
    built_in: bool = False
    disabled: bool = False


class ResourceListing(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What deployments can refer to; names only where the content is nobody's business."""

    runtimes: tuple[Runtime, ...] = ()
    secrets: tuple[str, ...] = ()
    service_accounts: tuple[str, ...] = ()


def summary(revision: Revision) -> RevisionSummary:
    """A revision as lists show it."""
    return RevisionSummary(
        name=revision.name,
        number=revision.number,
        variant=revision.variant,
        created=revision.created,
        serves={component.name: _served(component.source) for component in revision.components},
    )


def _served(source: ModelSource | ServiceSource | ClassSource | ContainerSource) -> str:
    match source:
        case ModelSource():
            return source.artefact.uri
        case ContainerSource():
            return source.image
        case _:
            return f"{source.target} in {source.artefact.uri}" if source.target else source.artefact.uri
