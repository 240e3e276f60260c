"""What a running Envoy says of itself, asked over its admin socket."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote

import msgspec

from tiffin.gateway.clusters import grpc_name
from tiffin.gateway.router import PoolSample
from tiffin.kits import http

COUNTED = quote(r"^cluster\..+\.upstream_rq_(active|pending_active|completed|5xx|time)$")


class Admin:
    """The admin socket at a path."""

    def __init__(self, path: str) -> None:
        self.path = path

    async def answers(self) -> bool:
        """Whether anything is answered."""
        return await http.ask(self.path, "/ready") is not None

    async def bound_port(self) -> int | None:
        """The port it listens on with its routes known; ``None`` until it does."""
        ready = await http.ask(self.path, "/ready")
        if ready is None or ready.status != 200:
            return None
        listeners = await http.ask(self.path, "/listeners?format=json")
        if listeners is None:
            return None
        for status in msgspec.json.decode(listeners.body).get("listener_statuses", []):
            return int(status["local_address"]["socket_address"]["port_value"])
        return None

    async def versions(self) -> dict[str, str] | None:
        """The versions of resources that it has taken, by the names of its statistics; ``None``: no answer."""
        answer = await http.ask(self.path, "/stats?filter=version_text$")
        if answer is None or answer.status != 200:
            return None
        pairs = (line.partition(": ") for line in answer.body.decode().splitlines())
        return {name: value.strip('"') for name, _, value in pairs}

    async def healthy(self, clusters: Iterable[str]) -> dict[str, int]:
        """How many endpoints clusters have that are known to be well, of whatever rank; none while one warms."""
        names = "|".join(re.escape(name) for name in clusters)
        asked = quote(rf"^cluster\.({names})\.(membership_healthy|warming_state)$")
        answer = await http.ask(self.path, f"/stats?filter={asked}")
        found: dict[str, int] = {}
        warming = set()
        for line in answer.body.decode().splitlines() if answer and answer.status == 200 else ():
            name, _, value = line.partition(": ")
            cluster, _, counter = name.removeprefix("cluster.").rpartition(".")
            if counter == "membership_healthy":
                found[cluster] = int(value)
            elif value != "0":
                warming.add(cluster)
        return {cluster: count for cluster, count in found.items() if cluster not in warming}

    async def samples(self, pools: Iterable[str]) -> Mapping[str, PoolSample] | None:
        """The counters of these pools, in one question; ``None``: no answer."""
        answer = await http.ask(self.path, f"/stats?usedonly&histogram_buckets=cumulative&filter={COUNTED}")
        if answer is None or answer.status != 200:
            return None
        found = parse_samples(answer.body.decode())
        return {pool: _sum(found.get(pool), found.get(grpc_name(pool))) for pool in pools}


def _sum(http: PoolSample | None, grpc: PoolSample | None) -> PoolSample:
    """The counters of a pool, whatever it was asked by."""
    if grpc is None or http is None:
        return http or grpc or PoolSample()
    latency = dict(http.latency)
    for bound, count in grpc.latency:
        latency[bound] = latency.get(bound, 0) + count
    return PoolSample(
        active=http.active + grpc.active,
        waiting=http.waiting + grpc.waiting,
        calls=http.calls + grpc.calls,
        failed=http.failed + grpc.failed,
        latency=tuple(sorted(latency.items())),
    )


def parse_samples(text: str) -> dict[str, PoolSample]:
    """Counters by cluster, from lines such as ``cluster.default/a/predictor.upstream_rq_active: 3``."""
    values: dict[str, dict[str, str]] = {}
    for line in text.splitlines():
        name, _, value = line.partition(": ")
        cluster, _, counter = name.removeprefix("cluster.").rpartition(".upstream_rq_")
        if cluster:
            values.setdefault(cluster, {})[counter] = value
    return {cluster: _sample(counters) for cluster, counters in values.items()}


def _sample(counters: Mapping[str, str]) -> PoolSample:
    return PoolSample(
        active=int(counters.get("active", 0)),
        waiting=int(counters.get("pending_active", 0)),
        calls=int(counters.get("completed", 0)),
        failed=int(counters.get("5xx", 0)),
        latency=_buckets(counters.get("time", "")),
    )


def _buckets(text: str) -> tuple[tuple[float, int], ...]:
    """``B0.5(1,7) B1(2,9)``: bounds in milliseconds, each with the count of late and of all time."""
    found = []
    for part in text.split():
        bound, separator, counts = part.removeprefix("B").partition("(")
        if separator and "," in counts:
            found.append((float(bound), int(counts.rstrip(")").partition(",")[2])))
    return tuple(found)
