"""What a target needs of a gateway, whichever proxy it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tiffin.kits.processes import Identity
from tiffin.spec import Component, Deployment, Match

POOL_HEADER = "x-tiffin-pool"
"""Tells the activator which pool a call is for. Of both headers, what callers send is removed."""
HOLD_HEADER = "x-tiffin-hold"
"""``check``: may the call go on? 200 says yes; 429 says no, and its headers and JSON reach the caller as 503.
(A 5xx, or no answer, lets the call go on: Envoy takes both for a failure to ask.) The body is not sent.
``stream``: the call itself, whose caller accepts server-sent events; the activator passes it on when there is a
replica, and keeps the caller entertained until then. Without this header: the call itself, at an endpoint of
second rank; answered 503 with ``x-tiffin-again: 1`` when there is a replica, so that the gateway asks again."""
AGAIN_HEADER = "x-tiffin-again"


@dataclass(frozen=True)
class Pool:
    """The replicas of one component of one revision.

    Attributes:
        name: Unique, as ``Revision.pool`` gives it.
        component: Time-outs, retries and limits come from it.
        endpoints: Unix socket paths (they start with ``/``) or ``host:port`` of ready replicas.
        grpc: Where these answer gRPC, if the component does.
        held: Requests wait until the activator lets them go, since no replica may be ready.
    """

    name: str
    component: Component
    endpoints: Sequence[str] = ()
    held: bool = False
    grpc: Sequence[str] = ()


@dataclass(frozen=True)
class Share:
    """A pool and the percentage of the calls it gets; the shares of one split need not sum to 100."""

    pool: str
    weight: float = 100.0


@dataclass(frozen=True)
class Choice:
    """Calls that fulfil all of ``matches`` are split by ``shares``; no matches: all the others."""

    shares: Sequence[Share]
    matches: Sequence[Match] = ()


@dataclass(frozen=True)
class Routed:
    """One deployment and where its calls go now.

    Attributes:
        deployment: Its routes, stickiness, JWT and limits are honoured.
        pools: Every pool named below.
        choices: By component name, in the order they are tried; the last has no matches.
        variants: By (variant name or tag, component name): what routes of only that variant lead to.
        mirrors: By component name: pools that get copies, and the percentage.
        tags: Host names of a tag, by tag: ``{"canary": ("canary-iris.default.example.com",)}``.
        correlate: Add an ``x-request-id`` where a caller sent none, so that recorded answers can be matched.
    """

    deployment: Deployment
    pools: Sequence[Pool] = ()
    choices: Mapping[str, Sequence[Choice]] = field(default_factory=dict)
    variants: Mapping[tuple[str, str], Sequence[Share]] = field(default_factory=dict)
    mirrors: Mapping[str, Sequence[Share]] = field(default_factory=dict)
    tags: Mapping[str, Sequence[str]] = field(default_factory=dict)
    correlate: bool = False


@dataclass(frozen=True)
class Snapshot:
    """All that should be routed at one moment. A pool without endpoints that is not held answers 503.

    ``activator`` is the Unix socket of what lets held requests go.
    """

    routed: Sequence[Routed] = ()
    activator: str = ""


@dataclass(frozen=True)
class PoolSample:
    """Counters of one pool. All but ``active`` and ``waiting`` only grow, and start again with the proxy.

    Attributes:
        active: Calls in hand.
        waiting: Calls that wait for a connection.
        calls: Calls that were answered or failed.
        failed: Of these, answered with 5xx or not at all.
        latency: Calls by upper bound of their duration in milliseconds, cumulative, ascending.
    """

    active: int = 0
    waiting: int = 0
    calls: int = 0
    failed: int = 0
    latency: Sequence[tuple[float, int]] = ()


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

    async def adopt(self, identity: Identity, snapshot: Snapshot) -> bool:
        """Take over a proxy that an earlier owner started with the same settings, without losing a request.

        ``False`` when that cannot be done; then it is untouched. Raises SpecError like ``publish``.
        """

    async def restart(self) -> None:
        """Start again after it died, with what was published last; raises like ``start``."""

    async def publish(self, snapshot: Snapshot) -> None:
        """Route this from now on, without losing a request; raises SpecError before anything changed."""

    async def check(self, snapshot: Snapshot) -> None:
        """Whether it would take this, without any of it taking effect; raises SpecError when it would not."""

    async def sample(self) -> Mapping[str, PoolSample]:
        """The counters of every pool of the last snapshot; empty while the proxy does not answer."""

    async def answers(self) -> bool:
        """Whether it answers questions about itself."""

    def kill(self) -> None:
        """End it at once; returns before it is gone."""

    async def exited(self) -> int:
        """Wait until the proxy ends, for whatever reason; its exit code."""

    def describe_end(self) -> str:
        """How it ended, with its last log lines."""

    async def stop(self) -> None:
        """End it; returns when it is gone."""
