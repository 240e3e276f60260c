"""What a judge knows of one deployment: what is recorded of it, how answers compare, how its rollout stands."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from pathlib import Path
from typing import Any

import msgspec

from tiffin.errors import TiffinError
from tiffin.kits import files
from tiffin.local.comparing import Pairs, Tally, is_comparable
from tiffin.local.recordings import Archive, Kept, Spools
from tiffin.rollout.gates import Agreement, Reading
from tiffin.rollout.machine import RolloutState, Verdict
from tiffin.spec import Deployment, Recording, Rollout, Sampling

log = logging.getLogger(__name__)

PAIR_SECONDS = 120.0
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
        self.state: RolloutState | None = None
        self.told: dict[str, Any] = _read_told(root / "rollout.json")
        """The rollout for people, as last seen; kept, since one that is over is not looked at again."""
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

    def ruled(self, state: RolloutState, verdict: Verdict, rollout: Rollout) -> None:
        """Remember what was decided, and write it down when it is another step or the end."""
        before, self.state = self.state, state
        self.told = told_of(state, verdict, rollout, self.stable)
        if before is None or (before.phase, before.step) != (state.phase, state.step):
            with contextlib.suppress(OSError):
                self.root.mkdir(parents=True, exist_ok=True)
                files.write_atomic(self.root / "rollout.json", msgspec.json.encode(self.told))

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
        if self.told and (self.deployment is None or self.deployment.rollout is not None):
            told["rollout"] = self.told
            is_open = self.told.get("phase") in ("progressing", "paused")
            if is_open and self.deployment is not None and time.time() - self.contested > _CONTEST_SECONDS:
                ended = {
                    "phase": "ended",
                    "reason": "it was ended by hand, or its candidate is not ready: see events",
                }
                told["rollout"] = self.told | ended
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


def _read_told(file: Path) -> dict[str, Any]:
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.MsgspecError):
        return {}


def told_of(state: RolloutState, verdict: Verdict, rollout: Rollout, stable: str) -> dict[str, Any]:
    """A rollout for people and programs, as JSON values."""
    return {
        "candidate": state.revision,
        "stable": stable,
        "phase": state.phase,
        "decision": verdict.decision,
        "weight": verdict.weight,
        "mirrorPercent": verdict.mirror_percent,
        "step": state.step + 1,
        "steps": [msgspec.to_builtins(step) for step in rollout.steps],
        "secondsOfStep": state.elapsed,
        "started": state.started,
        "ended": state.ended or None,
        "pausedBy": state.paused_by or None,
        "reason": state.reason,
        "falseAlarm": rollout.false_alarm,
        "gates": [msgspec.to_builtins(finding) for finding in verdict.findings],
    }
