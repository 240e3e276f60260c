"""The judge of this machine: measures what a rollout's gates need, and keeps what was recorded and compared.

Decisions are ``rollout.machine``'s; here is what they are made from: the gateway's counters as the controller
hands them in, answers compared from the replicas' spools, and Prometheus. Everything slow is done in threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from tiffin.errors import CallError, TiffinError
from tiffin.gateway.router import PoolSample
from tiffin.kits import files
from tiffin.local import prometheus, recordings, replaying
from tiffin.local.comparing import Pairs, Tally, is_comparable
from tiffin.local.recordings import Archive, Kept, Spools
from tiffin.local.seams import Contest, Ruling
from tiffin.plan.revision import Revision
from tiffin.rollout import machine
from tiffin.rollout.gates import Agreement, Reading
from tiffin.rollout.machine import Evidence, RolloutState, Verdict
from tiffin.rollout.streams import Stream
from tiffin.spec import Component, Deployment, Recording, Rollout, Sampling, Spool

log = logging.getLogger(__name__)

QUERY_SECONDS = 5.0
PAIR_SECONDS = 120.0
READ_SECONDS = 0.5
SAVE_SECONDS = 10.0
TOLERANCE = 1e-6
MOST_A_LOOK = 2000
"""Calls that are read at one look before the sample for comparing is halved."""
_CONTEST_SECONDS = 15.0
"""A rollout that was not looked at for so long is over: nothing is recorded for it any more."""


class Compared:
    """A shadow revision and the one it is compared with: pairs in the making, and what they have come to.

    ``session`` counts since this controller started, for the gate: the machine adds up what earlier ones counted.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.pairs = Pairs()
        self.session = Agreement()
        self._is_saved = True
        self._lock = threading.Lock()  # Compared in a thread, told of on the loop.
        try:
            self.tally = msgspec.json.decode(file.read_bytes(), type=Tally)
        except (OSError, msgspec.MsgspecError):
            self.tally = Tally()

    def add(self, kept: Kept, *, is_shadow: bool, tolerance: float) -> None:
        """Compare, if the other answer is here already."""
        pair = self.pairs.add(kept.record, is_shadow=is_shadow)
        if pair is None:
            return
        with self._lock:
            is_equal = self.tally.add(*pair, tolerance)
            self.session = Agreement(self.session.compared + 1, self.session.equal + is_equal)
            self._is_saved = False

    def summary(self) -> dict[str, Any]:
        """For a report."""
        with self._lock:
            return self.tally.summary()

    def save(self) -> None:
        """Write down what was found."""
        if not self._is_saved:
            with contextlib.suppress(OSError):
                files.write_atomic(self._file, msgspec.json.encode(self.tally))
                self._is_saved = True


class Case:
    """What the judge knows of one deployment."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.spools = Spools(root)
        self.spools.resume(Archive.offsets(root))
        self.archive: Archive | None = None
        self.problem = ""
        self.deployment: Deployment | None = None
        self.stable = self.candidate = ""
        self.contested = float("-inf")
        self.verdict: Verdict | None = None
        self.state: RolloutState | None = None
        self.compared: dict[str, Compared] = {}
        self.readings: dict[int, Reading] = {}
        self.saved = time.monotonic()
        self.was_paused = False
        self._percent = 100.0

    # -- what is recorded ----------------------------------------------------------------------------------

    def attend(self, deployment: Deployment, now: float) -> None:
        """Say what to record, read what was, compare and keep it. Blocks; called in a thread."""
        self.deployment = deployment
        self._keep(deployment.recording)
        if not self._is_contested(now):
            self.candidate = ""  # It serves by now, or it is gone: no shadow of anything.
        is_compared = self._is_compared(deployment)
        recording = deployment.recording if self.archive is not None else None
        sampling = _sampling(recording, self._percent if is_compared else 0.0)
        for revision in self.spools.revisions():
            self.spools.want(revision, sampling)
        count = 0
        for kept in self.spools.collect():
            count += 1
            if is_compared:
                self._compare(deployment, kept)
            if self.archive is not None:
                self.archive.add(kept)
        if count > MOST_A_LOOK:  # More than can be compared while they come: a smaller sample says as much.
            self._percent = max(1.0, self._percent / 2)
        elif count < MOST_A_LOOK // 8:
            self._percent = min(100.0, self._percent * 2)
        if self.archive is None:
            self.spools.let_go()
        elif self.archive.is_due:
            self._flush()
        if time.monotonic() - self.saved >= SAVE_SECONDS:
            self._save()

    def _keep(self, recording: Recording | None) -> None:
        if recording is None:
            if self.archive is not None:
                self._flush()
                self.archive = None
            return
        if self.archive is not None:
            self.archive.recording = recording
            return
        try:
            self.archive, self.problem = Archive(self.root, recording), ""
        except (TiffinError, OSError) as error:
            hint = f" ({error.hint})" if isinstance(error, TiffinError) and error.hint else ""
            if not self.problem:
                log.warning("calls are not kept: %s%s", error, hint)
            self.problem = f"calls are not kept: {error}{hint}"

    def _flush(self) -> None:
        if self.archive is not None and self.archive.flush(self.spools.offsets):
            self.spools.let_go()

    def _is_contested(self, now: float) -> bool:
        if self.deployment is None or self.deployment.rollout is None:
            return False
        return now - self.contested < _CONTEST_SECONDS and (self.state is None or not self.state.is_over)

    def _is_compared(self, deployment: Deployment) -> bool:
        if any(variant.mirror_percent is not None for variant in deployment.variants):
            return True
        rollout = deployment.rollout
        return rollout is not None and bool(self.candidate) and _needs_copies(rollout)

    def _compare(self, deployment: Deployment, kept: Kept) -> None:
        if not is_comparable(kept.record):
            return
        shadows = {variant.name for variant in deployment.variants if variant.mirror_percent is not None}
        variant = self.spools.variant(kept.revision)
        tolerance = tolerance_of(deployment)
        if kept.revision == self.candidate or variant in shadows:
            self.of(kept.revision).add(kept, is_shadow=True, tolerance=tolerance)
            return
        for revision in self._shadows(shadows):
            if revision != self.candidate or kept.revision == self.stable:
                self.of(revision).add(kept, is_shadow=False, tolerance=tolerance)

    def _shadows(self, variants: set[str]) -> list[str]:
        """The newest revision of every shadow, and the candidate."""
        newest: dict[str, str] = {}
        for revision in self.spools.revisions():  # Sorted: their numbers have leading noughts.
            variant = self.spools.variant(revision)
            if variant in variants:
                newest[variant] = revision
        return [*newest.values(), *([self.candidate] if self.candidate else [])]

    def of(self, shadow: str) -> Compared:
        """What is known of a shadow."""
        if shadow not in self.compared:
            self.compared[shadow] = Compared(self.root / f"comparison-{shadow}.json")
        return self.compared[shadow]

    def _save(self) -> None:
        self.saved = time.monotonic()
        for compared in self.compared.values():
            compared.pairs.expire(time.time() - PAIR_SECONDS)
            compared.save()

    def close(self) -> None:
        """Write down what is in hand."""
        self._flush()
        self._save()

    def calls(self, limit: int | None, but: str) -> list[Kept]:
        """What was recorded up to now, and not answered by the revision ``but``."""
        self._flush()
        return [] if self.archive is None else self.archive.read(most=limit, but=but)

    # -- the report ----------------------------------------------------------------------------------------

    def report(self, key: str) -> dict[str, object]:
        """Everything, as JSON values."""
        told: dict[str, object] = {"deployment": key, "time": time.time()}
        has_rollout = self.deployment is not None and self.deployment.rollout is not None
        if has_rollout and self.verdict is not None and self.state is not None:
            told["rollout"] = told_of(self.state, self.verdict, self.deployment, self.stable)
        known = {path.stem.removeprefix("comparison-") for path in self.root.glob("comparison-*.json")}
        told["shadows"] = [
            {"revision": shadow, "variant": self.spools.variant(shadow), **self.of(shadow).summary()}
            for shadow in sorted(known | self.compared.keys())
            if shadow == self.candidate or self.of(shadow).tally.compared
        ]
        if self.archive is not None:
            told["recording"] = {
                "files": [str(path) for path in self.archive.files()],
                "bytes": self.archive.size,
                "dropped": self.archive.dropped,
            }
        problem = self.problem or (self.archive.problem if self.archive is not None else "")
        if problem:
            told["problem"] = problem
        return told


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
        case.state, case.verdict = state, verdict
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
        return msgspec.json.encode(machine.steer(deployment.rollout, known, action, time))

    def report(self, key: str) -> dict[str, object]:
        """What was decided and compared, and why."""
        return _as_json(self._case(key).report(key))

    async def replay(
        self, deployment: Deployment, against: Revision, endpoints: Sequence[str], limit: int | None
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
        done = await replaying.replay(calls, against.name, endpoints, tolerance=tolerance_of(deployment))
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


def _needs_copies(rollout: Rollout) -> bool:
    return rollout.mirror_percent > 0 or any(gate.kind == "agreement" for gate in rollout.gates)


def _sampling(recording: Recording | None, compared_percent: float) -> Sampling | None:
    percent = max(compared_percent, recording.percent if recording is not None else 0.0)
    if percent <= 0.0:
        return None
    most = Sampling().max_body_bytes if recording is None else recording.max_body_bytes
    return Sampling(percent=percent, max_body_bytes=most)


def tolerance_of(deployment: Deployment) -> float:
    """How far numbers may differ: what the gate on agreement says, else one millionth."""
    gates = deployment.rollout.gates if deployment.rollout is not None else ()
    return next((gate.tolerance for gate in gates if gate.kind == "agreement"), TOLERANCE)


def told_of(state: RolloutState, verdict: Verdict, deployment: Deployment | None, stable: str) -> dict[str, Any]:
    """A rollout for people and programs, as JSON values."""
    rollout = deployment.rollout if deployment is not None else None
    steps = rollout.steps if rollout is not None else ()
    return {
        "candidate": state.revision,
        "stable": stable,
        "phase": state.phase,
        "decision": verdict.decision,
        "weight": verdict.weight,
        "mirrorPercent": verdict.mirror_percent,
        "step": state.step + 1,
        "steps": [msgspec.to_builtins(step) for step in steps],
        "secondsOfStep": state.elapsed,
        "started": state.started,
        "ended": state.ended or None,
        "pausedBy": state.paused_by or None,
        "reason": state.reason,
        "falseAlarm": rollout.false_alarm if rollout is not None else None,
        "gates": [msgspec.to_builtins(finding) for finding in verdict.findings],
    }
