"""What the API needs of the controller; the controller is the only one that has it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal, Protocol

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


class Platform(Protocol):
    """The controller, as the API sees it. Every method raises TiffinError with a hint when it cannot."""

    async def apply(
        self,
        sources: Sequence[Source],
        *,
        dry_run: bool = False,
        managed_by: str = "",
        trust: bool = False,
        domain: str = "",
        resource_version: int | None = None,
    ) -> list[Applied]:
        """Make these desired; nothing at all is changed when one of them cannot be read."""

    async def delete(self, key: str, *, resource_version: int | None = None) -> None:
        """No longer desire it; returns when that is written, before its replicas are gone."""

    def objects(self, namespace: str | None = None) -> tuple[list[Object], int]:
        """All objects, and the resource version they are of."""

    def get(self, key: str) -> Object:
        """One object; raises NoSuchDeployment."""

    def watch(self, resource_version: int | None, namespace: str | None = None) -> AsyncIterator[Watched]:
        """Changes since then (``None``: all objects first, then changes); ends when the platform stops."""

    def events(self, key: str | None = None) -> list[Event]:
        """The newest last."""

    def logs(
        self, key: str, *, replica: str | None = None, follow: bool = False, lines: int = 100
    ) -> AsyncIterator[tuple[str, str]]:
        """Pairs of a replica's name and a line."""

    async def rollout(
        self, key: str, action: Literal["promote", "undo", "pause", "resume"], to: int | None
    ) -> str:
        """Steer a rollout; what was done, as a sentence. ``to``: the revision number to go back to."""

    async def scale(self, key: str, component: str, minimum: int | None, maximum: int | None) -> None:
        """Change the bounds of a component until the deployment is applied again."""

    async def top(self) -> list[ReplicaUse]:
        """What runs and what it uses."""

    def native(self, key: str) -> dict[str, Any]:
        """The object with its status, in the words of the system its file was written for."""

    def report(self, key: str) -> dict[str, Any]:
        """What the judge of its rollout and shadow says, with the evidence."""

    async def replay(self, key: str, against: str, limit: int | None) -> dict[str, Any]:
        """Send recorded requests to a revision; the differences in answers and latency."""

    async def shutdown(self) -> None:
        """Stop everything, as Ctrl-C does."""
