"""What happened to a deployment, as Events of Kubernetes; equal ones are counted, and none comes in floods."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from tiffin.kube.manifests import Manifest
from tiffin.operator.observing import Observed, moment
from tiffin.plan.state import Condition, DeploymentStatus
from tiffin.spec import Deployment

if TYPE_CHECKING:
    from tiffin.operator.histories import History
    from tiffin.operator.placing import Placed

BURST = 25
"""Events about one object that may come at once; after them one in ``REFILL_SECONDS``."""
REFILL_SECONDS = 300.0
AGAIN_SECONDS = 600.0
"""An event that is offered each time is told again after so long."""
REMEMBERED = 4096
"""Objects, and events, that are remembered at most."""
_LONGEST = 1024


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """Something to tell. ``reason`` is one CamelCase word, ``message`` a sentence."""

    reason: str
    message: str
    type: Literal["Normal", "Warning"] = "Normal"


def notes(
    deployment: Deployment,
    observed: Observed,
    before: History,
    placed: Placed,
    status: DeploymentStatus,
    native: Mapping[str, Any],
) -> tuple[Note, ...]:
    """What differs from what was written down: revisions, shares, readiness. ``native`` is the status to write."""
    found: list[Note] = []
    for number in sorted(placed.history.revisions.keys() - before.revisions.keys()):
        revision = placed.history.revisions[number]
        found.append(Note(reason="RevisionCreated", message=f"{revision.name} of {revision.variant}"))
    found += placed.notes
    found += _shares(before, placed)
    if (observed.object.get("status") or {}).get("observedGeneration") != observed.generation:
        found += [Note(reason="NotHonoured", message=warning, type="Warning") for warning in status.warnings]
    found += _readiness(deployment, observed, status, native)
    return tuple(found)


def _shares(before: History, placed: Placed) -> Iterable[Note]:
    changed = [
        name for name, step in placed.steps.items() if _known_weights(before, name) != dict(step.kept.weights)
    ]
    if not changed or not placed.spread.weights:
        return
    revisions = placed.history.revisions
    parts = [
        f"{revisions[number].name} {weight:.4g} %"
        for number, weight in sorted(placed.spread.weights.items())
        if number in revisions
    ]
    yield Note(reason="TrafficChanged", message=", ".join(parts))


def _known_weights(history: History, variant: str) -> dict[Any, float]:
    kept = history.kept.get(variant)
    return dict(kept.weights) if kept is not None else {}


READY = {
    "kserve": ("InferenceServiceReady", "InferenceServiceNotReady"),
    "seldon": ("SeldonDeploymentReady", "SeldonDeploymentNotReady"),
}
"""By dialect: what its users look for."""


def _readiness(
    deployment: Deployment, observed: Observed, status: DeploymentStatus, native: Mapping[str, Any]
) -> Iterable[Note]:
    ready = status.condition("Ready")
    if ready is None:
        return
    # In the object's own words before and after: what they call ready need not come with what we call so.
    was, now = _ready(observed.object.get("status")), _ready(native)
    good, bad = READY.get(deployment.dialect, ("Ready", "NotReady"))
    if now == "True" and was != "True":
        yield Note(reason=good, message=f"{deployment.name} can be called")
    elif now == "False" and was != "False" and ready.reason != "Stopped":
        yield Note(reason=bad, message=_why(deployment, ready), type="Warning")
    problem = next((one for one in status.conditions if one.status == "False" and one.reason), None)
    if ready.status == "False" and problem is not None and problem.reason not in ("Stopped", "RolledBack"):
        yield Note(reason=problem.reason, message=_why(deployment, problem), type="Warning")


def _why(deployment: Deployment, condition: Condition) -> str:
    told = condition.message or f"{deployment.name} cannot be called now"
    return f"{told} ({condition.hint})" if condition.hint else told


def _ready(status: Mapping[str, Any] | None) -> str:
    for condition in (status or {}).get("conditions") or ():
        if isinstance(condition, dict) and condition.get("type") == "Ready":
            return str(condition.get("status", ""))
    return ""


@dataclass
class Told:
    """An event that was told: how often, when first and last, in seconds since 1970."""

    name: str
    count: int
    first: float
    last: float


class Notebook:
    """Makes Events of notes: the same one again counts up, and too many about one object are left out.

    One for each operator; it remembers a bounded number of objects and events.
    """

    def __init__(self) -> None:
        self._told: OrderedDict[tuple[str, str, str], Told] = OrderedDict()
        self._tokens: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._offered: dict[str, frozenset[tuple[str, str, str]]] = {}

    def events(self, about: Manifest, notes: Iterable[Note], now: float) -> list[Manifest]:
        """The Events to apply (each whole, so that applying one that is there updates it)."""
        found = []
        uid = str(about["metadata"].get("uid") or about["metadata"]["name"])
        notes = tuple(notes)
        before = self._offered.get(uid, frozenset())
        self._offered[uid] = frozenset((uid, note.reason, note.message) for note in notes)
        if not notes:
            del self._offered[uid]
            return []
        for note in notes:
            key = (uid, note.reason, note.message)
            told = self._told.get(key)
            if told is not None and key in before and now - told.last < AGAIN_SECONDS:
                continue  # It was so the last time, and still is.
            if not self._may(uid, now):
                continue
            if told is None:
                told = Told(_name(about, key), 0, now, now)
            told.count, told.last = told.count + 1, now
            self._told[key] = told
            self._told.move_to_end(key)
            found.append(event(about, note, told))
        self._forget()
        return found

    def _may(self, uid: str, now: float) -> bool:
        tokens, last = self._tokens.get(uid, (float(BURST), now))
        tokens = min(float(BURST), tokens + max(0.0, now - last) / REFILL_SECONDS)
        is_allowed = tokens >= 1.0
        self._tokens[uid] = (tokens - 1.0 if is_allowed else tokens, now)
        self._tokens.move_to_end(uid)
        return is_allowed

    def _forget(self) -> None:
        while len(self._told) > REMEMBERED:
            self._told.popitem(last=False)
        while len(self._tokens) > REMEMBERED:
            uid, _ = self._tokens.popitem(last=False)
            self._offered.pop(uid, None)


def _name(about: Manifest, key: tuple[str, str, str]) -> str:
    digest = hashlib.sha256("\0".join(key).encode()).hexdigest()[:16]
    return f"{about['metadata']['name'][:200]}.{digest}"


def event(about: Manifest, note: Note, told: Told) -> Manifest:
    """The Event to apply, whole; ``about`` is what ``kubectl describe`` shows it with."""
    metadata = about["metadata"]
    namespace = metadata.get("namespace", "default")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": told.name, "namespace": namespace},
        "involvedObject": {
            "apiVersion": about["apiVersion"],
            "kind": about["kind"],
            "name": metadata["name"],
            "namespace": namespace,
            "uid": metadata.get("uid", ""),
        },
        "type": note.type,
        "reason": note.reason,
        "message": note.message[:_LONGEST],
        "count": told.count,
        "firstTimestamp": moment(told.first),
        "lastTimestamp": moment(told.last),
        "source": {"component": "tiffin-operator"},
        "reportingComponent": "tiffin-operator",
    }
