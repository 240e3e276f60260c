"""What the judge of a rollout is told: calls and durations that the replicas of both slots counted, and queries.

Counters are the replicas' own, so that nothing needs to stand between callers and them. A pod's counters begin
with it and end with it: what each one added is summed, so that the sum only grows. ``rollouts`` decides.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tiffin.kits import prometheus
from tiffin.kube import names
from tiffin.kube.manifests import Manifest
from tiffin.kube.placement import Slot
from tiffin.operator import problems
from tiffin.operator.placing import Contest
from tiffin.operator.rollouts import LOOK_SECONDS
from tiffin.operator.scraping import Address, Scraper
from tiffin.rollout.gates import Reading
from tiffin.rollout.machine import Evidence
from tiffin.rollout.streams import Stream
from tiffin.spec import Deployment

log = logging.getLogger(__name__)

QUERY_SECONDS = 5.0
"""Between two questions of the same query."""
_SERIES = re.compile(rb"^([a-z_:]+)\{([^\n]*)\} ([0-9.eE+]+|\+Inf)", re.MULTILINE)
_LABEL = re.compile(rb'([a-z_]+)="((?:[^"\\]|\\.)*)"')
_PROBE = re.compile(rb"/metrics$|healthz$|livez$|readyz$|/health/\w+$|/ready$|/ping$")
_CALLS = b"tiffin_requests_total"
_BUCKETS = (b"tiffin_request_seconds_bucket", b"request_predict_seconds_bucket")
"""Tiffin's, and that of KServe's own Python servers, which say nothing of failures."""
_PORTS = ("prometheus.kserve.io/port", "prometheus.io/port")
_PATHS = ("prometheus.kserve.io/path", "prometheus.io/path")


def stream_of(page: bytes) -> Stream:
    """Calls, failures (5xx) and durations of a page of metrics; probes are not counted."""
    calls = failed = 0
    buckets: dict[float, int] = {}
    for name, text, value in _SERIES.findall(page):
        if name != _CALLS and name not in _BUCKETS:
            continue
        labels = dict(_LABEL.findall(text))
        if _PROBE.search(labels.get(b"endpoint", b"")):
            continue
        count = int(float(value))
        if name == _CALLS:
            calls += count
            failed += count if labels.get(b"code", b"").startswith(b"5") else 0
        else:
            bound = float(labels.get(b"le", b"inf")) * 1000.0
            buckets[bound] = buckets.get(bound, 0) + count
    return Stream.of(calls, failed, sorted(buckets.items()))


@dataclass
class Tally:
    """A slot's calls while its pods come and go; what a pod counted before it was first seen is left out."""

    total: Stream = field(default_factory=Stream)
    _last: dict[str, Stream] = field(default_factory=dict)

    def add(self, seen: Mapping[str, Stream]) -> Stream:
        """The total once pods (by uid) have said what they counted; those that said nothing are remembered."""
        for pod, after in seen.items():
            before = self._last.get(pod)
            if before is not None:
                more = after if after.has_restarted_since(before) else after.minus(before)
                self.total = self.total.plus(more)
            self._last[pod] = after
        return self.total

    def keep(self, pods: Iterable[str]) -> None:
        """Forget all pods but these."""
        self._last = {pod: self._last[pod] for pod in pods if pod in self._last}


@dataclass
class _Case:
    """One rollout: what was counted of both of its slots, and what was asked."""

    revisions: tuple[str, str]
    tallies: dict[str, Tally] = field(default_factory=lambda: {"stable": Tally(), "candidate": Tally()})
    readings: dict[int, Reading] = field(default_factory=dict)
    asking: dict[int, asyncio.Task[None]] = field(default_factory=dict)


class Judge:
    """Measures rollouts; ``run`` it where the operator leads.

    Args:
        looks: Deployments with the pods and the rollouts each has now, by ``namespace/name``.
        scraper: Asks replicas.
        ask: A PromQL query: server and expression to a value and why there is none; blocks.
        clock: Seconds since 1970.
    """

    def __init__(
        self,
        looks: Callable[[], Mapping[str, tuple[Deployment, tuple[Manifest, ...], tuple[Contest, ...]]]],
        scraper: Scraper | None = None,
        *,
        ask: Callable[[str, str], tuple[float | None, str]] = prometheus.query,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._looks = looks
        self._scraper = scraper or Scraper()
        self._ask = ask
        self._clock = clock
        self._cases: dict[tuple[str, str], _Case] = {}

    async def run(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """For ever."""
        while True:
            try:
                await self.tick()
            except Exception:
                log.exception("rollouts could not be measured")
            await sleep(LOOK_SECONDS)

    async def tick(self) -> None:
        """Measure each rollout once; one that is over is forgotten."""
        there: set[tuple[str, str]] = set()
        for key, (deployment, pods, contests) in self._looks().items():
            for contest in contests:
                there.add((key, contest.variant))
                await self._measure(key, deployment, pods, contest)
        for gone in self._cases.keys() - there:
            for task in self._cases.pop(gone).asking.values():
                task.cancel()

    def evidence(self, key: str) -> dict[str, Evidence]:
        """What was measured of the rollouts of ``namespace/name``, by variant."""
        return {
            variant: Evidence(
                canary=case.tallies["candidate"].total,
                stable=case.tallies["stable"].total,
                readings=dict(case.readings),
            )
            for (owner, variant), case in self._cases.items()
            if owner == key
        }

    async def _measure(
        self, key: str, deployment: Deployment, pods: tuple[Manifest, ...], contest: Contest
    ) -> None:
        revisions = (contest.stable.revision, contest.candidate.revision)
        case = self._cases.get((key, contest.variant))
        if case is None or case.revisions != revisions:
            case = self._cases[key, contest.variant] = _Case(revisions)
        for slot in (contest.stable, contest.candidate):
            own = {str(pod["metadata"]["uid"]): pod for pod in pods if is_of(pod, deployment, slot)}
            tally = case.tallies[slot.role]
            asked = {
                uid: address
                for uid, pod in own.items()
                if problems.is_ready(pod) and (address := address_of(pod, slot)) is not None
            }
            pages = await self._scraper.pages(dict(asked.values()))
            tally.keep(own)
            tally.add(
                {
                    uid: stream_of(page)
                    for uid, (address, _) in asked.items()
                    if (page := pages.get(address)) is not None
                }
            )
        self._query(case, deployment, contest)

    def _query(self, case: _Case, deployment: Deployment, contest: Contest) -> None:
        """Ask again what was asked some seconds ago; answers are seen at a later look."""
        gates = deployment.rollout.gates if deployment.rollout is not None else ()
        for index, gate in enumerate(gates):
            task, last = case.asking.get(index), case.readings.get(index)
            if gate.kind != "query" or (task is not None and not task.done()):
                continue
            if last is not None and 0.0 <= self._clock() - last.time < QUERY_SECONDS:
                continue
            expression = filled(gate.query, deployment, contest)
            case.asking[index] = asyncio.create_task(self._ask_once(case, index, gate.server, expression))

    async def _ask_once(self, case: _Case, index: int, server: str, expression: str) -> None:
        value, error = await asyncio.to_thread(self._ask, server, expression)
        case.readings[index] = Reading(value=value, time=self._clock(), error=error)


def is_of(pod: Manifest, deployment: Deployment, slot: Slot) -> bool:
    """Whether a pod runs a slot's revision; one of an older revision that is on its way out does not."""
    labels = pod["metadata"].get("labels") or {}
    own = names.slot_labels(deployment, slot) | {names.REVISION: names.label(slot.revision)}
    return own.items() <= labels.items()


def address_of(pod: Manifest, slot: Slot) -> tuple[Address, str] | None:
    """Where a pod's page of metrics is; ``None`` while it has no address."""
    ip = (pod.get("status") or {}).get("podIP")
    annotations = pod["metadata"].get("annotations") or {}
    said = next((str(annotations[name]) for name in _PORTS if name in annotations), "")
    path = next((str(annotations[name]) for name in _PATHS if name in annotations), "/metrics")
    if not ip:
        return None
    if said.isascii() and said.isdigit():
        return (str(ip), int(said)), path
    return (str(ip), _port(pod, slot)), path


def _port(pod: Manifest, slot: Slot) -> int:
    """The first port for HTTP of the component's own container."""
    containers: list[dict[str, Any]] = (pod.get("spec") or {}).get("containers") or []
    main = [one for one in containers if one.get("name") == slot.component.pod.main] or containers[:1]
    ports = [port for one in main for port in one.get("ports") or ()]
    plain = [port for port in ports if not any(word in str(port.get("name")) for word in ("grpc", "h2c"))]
    return int((plain or ports or [{"containerPort": 8080}])[0]["containerPort"])


def filled(query: str, deployment: Deployment, contest: Contest) -> str:
    """``$candidate``, ``$stable``, ``$deployment`` and ``$namespace`` in a query; other text stays."""
    named = {
        "candidate": contest.candidate.revision,
        "stable": contest.stable.revision,
        "deployment": deployment.name,
        "namespace": deployment.namespace,
    }
    for name, value in named.items():
        query = query.replace(f"${name}", value)
    return query


def looks_of(
    looks: Mapping[Any, Any],
) -> dict[str, tuple[Deployment, tuple[Manifest, ...], tuple[Contest, ...]]]:
    """Of all looks of a reconciler, those with a rollout that goes on."""
    return {
        f"{key.namespace}/{key.name}": (look.deployment, look.observed.pods, look.outcome.contests)
        for key, look in looks.items()
        if look.outcome.contests
    }
