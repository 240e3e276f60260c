"""What the API needs of the controller; the controller is the only one that has it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal, Protocol

from tiffin.plan.objects import (
    Applied,
    Change,
    Metadata,
    Object,
    ReplicaUse,
    ResourceListing,
    Runtime,
    Source,
    Watched,
)
from tiffin.plan.revision import Revision
from tiffin.plan.state import Event

__all__ = [
    "Applied",
    "Change",
    "Metadata",
    "Object",
    "Platform",
    "ReplicaUse",
    "ResourceListing",
    "Runtime",
    "Source",
    "Watched",
]


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
        """Make these desired; nothing at all is changed when one of them cannot be read.

        Raises SpecError, and Conflict when ``resource_version`` is given and is not that of the object.
        """

    async def delete(self, key: str, *, resource_version: int | None = None) -> None:
        """No longer desire it; returns when that is written, before its replicas are gone.

        Raises NoSuchDeployment, and Conflict as ``apply`` does.
        """

    def objects(self, namespace: str | None = None) -> tuple[list[Object], int]:
        """All objects, and the resource version they are of."""

    def get(self, key: str) -> Object:
        """One object; raises NoSuchDeployment."""

    def watch(self, resource_version: int | None, namespace: str | None = None) -> AsyncIterator[Watched]:
        """Changes since then (``None``: all objects first, then changes); ends when the platform stops.

        Raises Expired, at the latest at the first step, when the changes since then are no longer known.
        """

    def events(self, key: str | None = None) -> list[Event]:
        """The newest last."""

    def revisions(self, key: str) -> list[Revision]:
        """Those that are still known, the oldest first; raises NoSuchDeployment."""

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

    async def replay(
        self, key: str, against: str, limit: int | None, *, recorded_speed: bool = False
    ) -> dict[str, Any]:
        """Send recorded requests to a revision; the differences in answers and latency.

        With ``recorded_speed`` they keep the time between them.
        """

    def resources(self) -> ResourceListing:
        """What deployments can refer to."""

    async def shutdown(self) -> None:
        """Stop everything, as Ctrl-C does."""
