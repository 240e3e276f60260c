"""What is said about deployments between who wants something and the controller; the API's JSON."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from tiffin.plan.state import DeploymentStatus, Event
from tiffin.spec import Deployment, SpecWarning


class Source(msgspec.Struct, frozen=True, kw_only=True):
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
