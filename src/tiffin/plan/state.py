"""What is observed of a deployment, in the words every target, the API and the CLI share."""

from __future__ import annotations

from typing import Literal

import msgspec

ReplicaPhase = Literal["Pending", "Starting", "Ready", "Draining", "CrashLoopBackOff", "Failed"]
RevisionPhase = Literal["Pending", "Fetching", "Starting", "Ready", "Idle", "Failed"]
"""``Idle``: it can serve and has no replica now, since nobody calls."""


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Why something is not as it should be. ``reason`` is one CamelCase word, ``hint`` what to do next.

    ``exit_code`` is that of the container or process that ended, where one did.
    """

    reason: str
    message: str
    hint: str = ""
    log: tuple[str, ...] = ()
    exit_code: int | None = None


class ReplicaStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One replica. ``start_seconds``: how long fetch, import, load and warm-up took, by phase."""

    name: str
    revision: str
    component: str
    phase: ReplicaPhase
    pid: int | None = None
    endpoint: str = ""
    restarts: int = 0
    started: float = 0.0
    cpu: float | None = None
    memory_bytes: int | None = None
    start_seconds: dict[str, float] = {}
    problem: Problem | None = None
    log_file: str = ""


class RevisionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One revision. ``weight`` is its percentage of the calls now, ``tags`` its names (``prev``, ``canary``).

    ``wanted`` and ``ready`` count replicas by component.
    """

    name: str
    variant: str
    number: int
    phase: RevisionPhase
    weight: float = 0.0
    mirror_percent: float | None = None
    tags: tuple[str, ...] = ()
    created: float = 0.0
    wanted: dict[str, int] = {}
    ready: dict[str, int] = {}
    problem: Problem | None = None


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """As in Kubernetes: ``status`` is ``True``, ``False`` or ``Unknown``; ``since`` is when it became that."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str = ""
    message: str = ""
    hint: str = ""
    since: float = 0.0


class DeploymentStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What a deployment is like now. ``url`` and ``urls`` are addresses callers use.

    ``observed_generation`` is the generation of the spec that this status speaks of. ``rolled_out`` is the
    revision that last had all calls, by variant; ``latest`` the newest one made and ``latest_ready`` the newest
    that was ready, by variant.
    """

    observed_generation: int = 0
    conditions: tuple[Condition, ...] = ()
    url: str = ""
    urls: tuple[str, ...] = ()
    curl: str = ""
    revisions: tuple[RevisionStatus, ...] = ()
    replicas: tuple[ReplicaStatus, ...] = ()
    rolled_out: dict[str, str] = {}
    latest: dict[str, str] = {}
    latest_ready: dict[str, str] = {}
    warnings: tuple[str, ...] = ()

    def condition(self, type: str) -> Condition | None:
        """The condition of that type."""
        return next((condition for condition in self.conditions if condition.type == type), None)

    @property
    def is_ready(self) -> bool:
        """Whether callers are answered as the newest spec says."""
        ready = self.condition("Ready")
        return ready is not None and ready.status == "True"


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened to a deployment. ``count`` equal ones in a row are one event."""

    id: int = 0
    deployment: str
    type: Literal["Normal", "Warning"] = "Normal"
    reason: str
    message: str
    time: float
    count: int = 1
