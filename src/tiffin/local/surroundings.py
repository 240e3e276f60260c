"""What all deployments of a controller share, and a revision of one while it runs."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tiffin.local.preparing import Prepared
from tiffin.local.replica import Setting
from tiffin.local.routing import Routing
from tiffin.local.seams import Activator, Decider, Launcher
from tiffin.local.store import Store
from tiffin.plan.revision import Revision
from tiffin.plan.state import Problem
from tiffin.spec import Component

if TYPE_CHECKING:
    from tiffin.local.deploying import Deploying

Place = tuple[int, str]
"""A revision's number and a component's name."""


class Surroundings(Protocol):
    """What all deployments of a controller share."""

    store: Store
    routing: Routing
    activator: Activator | None
    decider: Decider
    slots: asyncio.Semaphore
    dependency_key: bytes

    def launcher_of(self, component: Component) -> Launcher:
        """Who starts its replicas."""

    def setting(self, revision: Revision, component: Component, artefact: Path, fetch_seconds: float) -> Setting:
        """What starts of its replicas share."""

    async def prepare(self, revision: Revision) -> Prepared:
        """Where its artefacts are on this disk; raises TiffinError or OSError."""

    def room_for(self, revision: Revision, component: Component) -> Problem | None:
        """Why one more replica does not fit on this machine."""

    def changed(self, deploying: Deploying) -> None:
        """Its status may be another one."""

    def forget(self, deploying: Deploying) -> None:
        """It is gone."""

    def say(self, text: str) -> None:
        """Tell people."""


@dataclass
class Live:
    """A revision that runs, or is about to."""

    revision: Revision
    prepared: Prepared | None = None
    problem: Problem | None = None
    failure: Exception | None = None
    task: asyncio.Task[None] | None = None
    fetch_seconds: float = 0.0
    wanted: dict[str, int] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)
