"""What a target needs of a gateway, whichever proxy it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tiffin.kits.processes import Identity
from tiffin.spec import Deployment

Backends = Mapping[tuple[str, str], Sequence[str]]
"""Unix socket paths of ready replicas, by ``(deployment.key, component.name)``."""


@dataclass(frozen=True)
class Snapshot:
    """All that should be routed at one moment. A component without backends answers 503."""

    deployments: Sequence[Deployment] = ()
    backends: Backends = field(default_factory=dict)


class Router(Protocol):
    """A proxy that can be started, told a new snapshot, and stopped."""

    @property
    def address(self) -> tuple[str, int]:
        """Host and port it listens on; the real port after ``start``."""

    @property
    def identity(self) -> Identity | None:
        """Its process, so that it can be found should its owner be killed."""

    async def start(self, snapshot: Snapshot) -> None:
        """Listen and route; raises PortInUse, ProcessError, MissingExtra or SpecError."""

    async def restart(self) -> None:
        """Start again after it died, with what was published last; raises like ``start``."""

    async def publish(self, snapshot: Snapshot) -> None:
        """Route this from now on, without losing a request; raises SpecError before anything changed."""

    async def exited(self) -> int:
        """Wait until the proxy ends, for whatever reason; its exit code."""

    def describe_end(self) -> str:
        """How it ended, with its last log lines."""

    async def stop(self) -> None:
        """End it; returns when it is gone."""
