"""The judge of this machine: measures what a rollout's gates need, and keeps what was recorded and compared.

Decisions are ``rollout.machine``'s; here is what they are made from: the gateway's counters as the controller
hands them in, answers compared from the replicas' spools, and Prometheus. Everything slow is done in threads.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from tiffin.errors import CallError
from tiffin.gateway.router import PoolSample
from tiffin.local import prometheus, recordings, replaying
from tiffin.local.cases import Case, tolerance_of
from tiffin.local.seams import Contest, Ruling
from tiffin.plan.revision import Revision
from tiffin.rollout import machine
from tiffin.rollout.gates import Agreement, Reading
from tiffin.rollout.machine import Evidence, RolloutState, Verdict
from tiffin.rollout.streams import Stream
from tiffin.spec import Component, Deployment, Rollout, Spool

log = logging.getLogger(__name__)

QUERY_SECONDS = 5.0
READ_SECONDS = 0.5


class Judge:
    """Implements ``seams.Judge``.

    Args:
        root: Where recordings are kept, ``<root>/<namespace>/<name>/``.
        clock: Seconds since 1970.
        ask: A PromQL query: server and expression to a reading; blocks.
    """

    def __init__(
        self,
        root: Path,
        *,
        clock: Callable[[], float] = time.time,
        ask: Callable[[str, str], Reading] = prometheus.query,
    ) -> None:
        self._root = root
        self._clock = clock
        self._ask = ask
        self._cases: dict[str, Case] = {}
        self._asking: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._reading: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()

    def spool(self, deployment: Deployment, revision: Revision, component: Component) -> Spool | None:
        """Where replicas of the entry component record, once they are told to."""
        if component.name != deployment.entry:
            return None
        try:
            return self._case(deployment.key).spools.make(revision.name, revision.variant)
        except OSError as error:
            log.warning("%s cannot record: %s", deployment.key, error)
            return None

    async def attend(self, deployments: Sequence[Deployment]) -> None:
        """Read what was recorded; what fails for one deployment leaves the others alone.

        Returns after a moment even when there is more to read than that: the rest is read meanwhile.
        """
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read(deployments))
        await asyncio.wait((self._reading,), timeout=READ_SECONDS)

    async def _read(self, deployments: Sequence[Deployment]) -> None:
        async with self._lock:
            for deployment in deployments:
                case = self._case(deployment.key)
                try:
                    await asyncio.to_thread(case.attend, deployment, self._clock())
                except Exception:
                    log.exception("the recordings of %s cannot be read", deployment.key)

    async def tick(self, contest: Contest) -> Ruling:
        """What the candidate gets now."""
        deployment = contest.deployment
        rollout = deployment.rollout
        if rollout is None:
            raise CallError(f"{deployment.key} has no rollout")
        case = self._case(deployment.key)
        case.deployment = deployment
        case.stable, case.candidate, case.contested = contest.stable.name, contest.candidate.name, contest.time
        state = _read_state(contest.state)
        if state is None or state.revision != contest.candidate.name:
            case.readings = {}
            state = machine.begin(contest.candidate.name, self._evidence(case, contest, None), contest.time)
        if contest.paused and state.phase == "progressing":
            state = machine.steer(rollout, state, "pause", contest.time)
        elif case.was_paused and not contest.paused and state.paused_by == "user":
            state = machine.steer(rollout, state, "resume", contest.time)
        case.was_paused = contest.paused
        self._query(deployment.key, case, rollout, contest)
        state, verdict = machine.decide(rollout, state, self._evidence(case, contest, state), contest.time)
        case.ruled(state, verdict, rollout)
        outcomes: dict[str, Literal["go-on", "promote", "roll-back"]] = {
            "promote": "promote",
            "roll back": "roll-back",
        }
        return Ruling(
            weight=verdict.weight,
            mirror_percent=verdict.mirror_percent,
            outcome=outcomes.get(verdict.decision, "go-on"),
            message=_message(rollout, verdict),
            state=msgspec.json.encode(state),
        )

    def steer(
        self,
        deployment: Deployment,
        state: bytes,
        action: Literal["promote", "undo", "pause", "resume"],
        time: float,
    ) -> bytes:
        """The state once somebody has said so."""
        known = _read_state(state)
        if deployment.rollout is None or known is None:
            raise CallError(
                f"expected a rollout of {deployment.key}, found none that has begun",
                hint="a rollout begins when a new revision is applied to a deployment that has `rollout:`",
            )
        known = machine.steer(deployment.rollout, known, action, time)
        if known.is_over:  # The controller acts on it at once, and does not ask again.
            _, verdict = machine.decide(deployment.rollout, known, Evidence(), time)
            self._case(deployment.key).ruled(known, verdict, deployment.rollout)
        return msgspec.json.encode(known)

    def report(self, key: str) -> dict[str, object]:
        """What was decided and compared, and why."""
        return _as_json(self._case(key).report(key))

    async def replay(
        self,
        deployment: Deployment,
        against: Revision,
        endpoints: Sequence[str],
        limit: int | None,
        *,
        recorded_speed: bool = False,
    ) -> dict[str, object]:
        """Send the newest ``limit`` recorded calls to a revision; raises CallError when there are none."""
        case = self._case(deployment.key)
        async with self._lock:
            calls = await asyncio.to_thread(case.calls, limit, against.name)
        if not calls:
            raise CallError(
                f"expected recorded calls of {deployment.key}, found none",
                hint="add `record:` to the deployment and let some calls come"
                if deployment.recording is None
                else None,
            )
        done = await replaying.replay(
            calls,
            against.name,
            endpoints,
            tolerance=tolerance_of(deployment),
            at_recorded_speed=recorded_speed,
        )
        return _as_json({"deployment": deployment.key, "against": against.name, **done.summary()})

    def forget(self, key: str) -> None:
        """The deployment is gone, with its recordings."""
        self._cases.pop(key, None)
        recordings.forget(self._root / key)

    async def close(self) -> None:
        """Write down what is in hand."""
        for task in self._asking.values():
            task.cancel()
        tasks = [*self._asking.values(), *([] if self._reading is None else [self._reading])]
        await asyncio.gather(*(task for task in tasks if not task.done()), return_exceptions=True)
        async with self._lock:
            for key, case in self._cases.items():
                try:
                    await asyncio.to_thread(case.close)
                except OSError as error:
                    log.warning("the recordings of %s cannot be written: %s", key, error)

    def _case(self, key: str) -> Case:
        if key not in self._cases:
            self._cases[key] = Case(self._root / key)
        return self._cases[key]

    def _evidence(self, case: Case, contest: Contest, state: RolloutState | None) -> Evidence:
        compared = case.compared.get(contest.candidate.name)
        return Evidence(
            canary=_stream(contest.counters.get(contest.candidate.name), state.canary.last if state else Stream()),
            stable=_stream(contest.counters.get(contest.stable.name), state.stable.last if state else Stream()),
            agreement=compared.session if compared is not None else Agreement(),
            readings=dict(case.readings),
        )

    # -- queries -------------------------------------------------------------------------------------------

    def _query(self, key: str, case: Case, rollout: Rollout, contest: Contest) -> None:
        """Ask again what was asked some seconds ago; answers are seen at a later tick."""
        for index, gate in enumerate(rollout.gates):
            task = self._asking.get((key, index))
            if gate.kind != "query" or (task is not None and not task.done()):
                continue
            last = case.readings.get(index)
            if last is not None and 0.0 <= contest.time - last.time < QUERY_SECONDS:
                continue
            expression = _filled(gate.query, contest)
            self._asking[key, index] = asyncio.create_task(self._ask_once(case, index, gate.server, expression))

    async def _ask_once(self, case: Case, index: int, server: str, expression: str) -> None:
        reading = await asyncio.to_thread(self._ask, server, expression)
        case.readings[index] = msgspec.structs.replace(reading, time=self._clock())


def _message(rollout: Rollout, verdict: Verdict) -> str:
    if verdict.decision != "hold":
        return verdict.sentence
    return f"step {verdict.step + 1} of {len(rollout.steps)}: {verdict.weight:g} % of the calls"


def _as_json(told: dict[str, object]) -> dict[str, object]:
    """Lists for tuples, and nothing for what is no number in JSON."""
    return msgspec.json.decode(msgspec.json.encode(told), type=dict[str, object])


def _filled(query: str, contest: Contest) -> str:
    """``$candidate``, ``$stable``, ``$deployment`` and ``$namespace`` in a query; other text stays."""
    names = {
        "candidate": contest.candidate.name,
        "stable": contest.stable.name,
        "deployment": contest.deployment.name,
        "namespace": contest.deployment.namespace,
    }
    for name, value in names.items():
        query = query.replace(f"${name}", value)
    return query


def _read_state(state: bytes) -> RolloutState | None:
    if not state:
        return None
    try:
        return msgspec.json.decode(state, type=RolloutState)
    except msgspec.MsgspecError:
        log.warning("the state of a rollout cannot be read; it begins anew")
        return None


def _stream(sample: PoolSample | None, last: Stream) -> Stream:
    """A pool that could not be asked has said nothing new; that is not a count that began at nought."""
    return last if sample is None else Stream.of(sample.calls, sample.failed, sample.latency)
