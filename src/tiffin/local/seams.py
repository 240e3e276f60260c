"""Where others plug into the controller: what starts a replica, holds calls, decides numbers, judges rollouts.

The controller calls these and implements none of them beyond the simplest (processes, fixed numbers). All are
called from its event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from tiffin.autoscale.samples import Use
from tiffin.gateway.router import PoolSample
from tiffin.kits.processes import Identity
from tiffin.plan.revision import Revision
from tiffin.spec import Component, Deployment, ReplicaSpec, Spool


@dataclass(frozen=True)
class Order:
    """One start of one replica.

    Attributes:
        name: What people call it, as in ``iris-00001-predictor-r3``.
        spec: What it should be; ``spec.listen.unix`` is a socket that nobody has used.
        file: Where ``spec`` was written as JSON. Its path is in the controller's run directory and must be on
            the command line of what is started (or of its parent that ends with it): that is how a controller
            finds what one before it left behind.
        log: The file its output is appended to.
        directory: What to start it in; ``None``: anywhere.
        environment: On top of the controller's own.
    """

    name: str
    spec: ReplicaSpec
    file: Path
    log: Path
    directory: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


class Running(Protocol):
    """A replica that was started, or adopted from an earlier controller."""

    @property
    def identity(self) -> Identity:
        """Its process (of a container: the one that its engine names as its first), to know it again."""

    @property
    def endpoint(self) -> str:
        """Where it listens: a Unix socket's path, or ``host:port``."""

    @property
    def exit_code(self) -> int | None:
        """``None`` while it runs; negative is the signal that ended it."""

    @property
    def has_answered(self) -> bool:
        """Whether ``is_ready`` has had any answer yet: its imports are done by then."""

    @property
    def start_seconds(self) -> Mapping[str, float]:
        """How long parts of its start took, as far as it knows better than who looks from outside.

        By phase: ``fork``, ``import``, ``load``, ``warm-up``.
        """

    async def exited(self) -> int:
        """Wait for its end; the exit code (``processes.UNKNOWN`` when nobody can know it)."""

    async def is_ready(self) -> bool:
        """Whether it says that it can be called."""

    async def stop(self, *, grace_seconds: float) -> None:
        """Ask it to finish, and end it after ``grace_seconds``; returns when it is gone."""

    def kill(self) -> None:
        """End it and what it started, at once; returns before it is gone."""

    def describe_end(self) -> str:
        """How it ended, with its last log lines."""


class Launcher(Protocol):
    """A way to run replicas: processes, forks of a warm process, containers."""

    def takes(self, component: Component) -> bool:
        """Whether replicas of this component are its business; the first launcher that says so gets them."""

    async def launch(self, order: Order) -> Running:
        """Start it, without waiting until it is ready; raises TiffinError."""

    async def adopt(self, order: Order, identity: Identity, endpoint: str) -> Running | None:
        """Take over what an earlier controller started; ``None`` when it has gone."""

    async def close(self) -> None:
        """Let go of what helps it (a warm process); its replicas have been stopped by then."""


class Activator(Protocol):
    """Holds calls to pools that have no replica. A pool it was told nothing of is held."""

    async def start(self, socket: Path, wake: Callable[[str], None]) -> None:
        """Listen there, and call ``wake(pool)`` for the first call that is held for a pool."""

    def hold(self, pool: str, *, most: int | None = None, seconds: float | None = None) -> None:
        """Hold calls from now on: the first step of scaling to zero, before the gateway is told.

        ``most`` calls at once (1000) and for ``seconds`` each (300): beyond, callers get 503.
        """

    def release(self, pool: str, endpoints: Sequence[str]) -> None:
        """Let go what is held, and what still comes: the gateway knows these replicas now.

        Call it again when the endpoints change while there are calls that pass the activator.
        """

    def refuse(self, pool: str, reason: str) -> None:
        """Answer what is held with 503 and the reason: its replica could not start. What comes next is held."""

    def held(self, pool: str) -> int:
        """How many calls wait for this pool."""

    def forget(self, pool: str) -> None:
        """The pool is gone: what is held for it is answered with 503."""

    async def stop(self) -> None:
        """Answer all that is held, and stop to listen."""


@dataclass(frozen=True)
class Observed:
    """What is known of a pool at one moment; ``time`` is monotonic seconds, ``counters`` of ``None``: unknown."""

    time: float
    counters: PoolSample | None
    held: int
    wanted: int
    ready: int
    uses: tuple[Use, ...] = ()
    is_reachable: bool = True
    """Whether any call can get there (its revision has a weight, or a tag)."""


class Decider(Protocol):
    """How many replicas a pool should have; asked about once a second for pools that are not fixed."""

    def decide(self, pool: str, component: Component, observed: Observed) -> int:
        """The number now, within ``component.scaling`` (the machine's limits come after that)."""

    def reason(self, pool: str) -> str:
        """Why the last number was what it was; empty when there was none."""

    def forget(self, pool: str) -> None:
        """The pool is gone."""


@dataclass(frozen=True)
class Contest:
    """A rollout at one moment. ``time`` is in seconds since 1970: a rollout outlives a controller.

    ``counters`` are those of the entry component's pools, by revision name. ``state`` is what the judge gave last
    (empty at first); ``paused`` is what people asked for (``steer`` puts it into ``state`` as well).
    """

    deployment: Deployment
    stable: Revision
    candidate: Revision
    counters: Mapping[str, PoolSample]
    state: bytes
    paused: bool
    time: float


@dataclass(frozen=True)
class Ruling:
    """What the candidate gets from now on: ``weight`` percent of the calls, ``mirror_percent`` of copies.

    ``promote`` gives it everything for good; ``roll-back`` takes everything from it. ``message`` says why, for the
    event when the weight or the outcome changed. ``state`` is kept and handed back at the next tick.
    """

    weight: float
    mirror_percent: float = 0.0
    outcome: Literal["go-on", "promote", "roll-back"] = "go-on"
    message: str = ""
    state: bytes = b""


class Judge(Protocol):
    """Steers a rollout; asked about once a second while a candidate that is ready waits to take over."""

    async def tick(self, contest: Contest) -> Ruling:
        """What to do now."""

    def spool(self, deployment: Deployment, revision: Revision, component: Component) -> Spool | None:
        """What ``ReplicaSpec.recording`` of its replicas is: where they write calls once the judge wants them.

        It is given to every replica of the entry component (it costs nothing while nothing is wanted), since the
        judge turns recording on and off while replicas live; ``None`` for the other components.
        """

    async def attend(self, deployments: Sequence[Deployment]) -> None:
        """Called about once a second with all that is desired: reads what was recorded, compares, keeps."""

    def steer(
        self,
        deployment: Deployment,
        state: bytes,
        action: Literal["promote", "undo", "pause", "resume"],
        time: float,
    ) -> bytes:
        """The state once somebody has said so; the next tick rules by it. Raises CallError when it is over."""

    def report(self, key: str) -> dict[str, object]:
        """The evidence so far of a deployment's rollout and shadow, as JSON values."""

    async def replay(
        self,
        deployment: Deployment,
        against: Revision,
        endpoints: Sequence[str],
        limit: int | None,
        *,
        recorded_speed: bool = False,
    ) -> dict[str, object]:
        """Send what was recorded to these replicas of a revision; what differs, as JSON values."""

    def forget(self, key: str) -> None:
        """The deployment is gone, with its recordings."""

    async def close(self) -> None:
        """Write down what is in hand; the controller stops."""
