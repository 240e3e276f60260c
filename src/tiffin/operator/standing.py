"""Where a deployment stands, from what the cache holds: the one decision of a reconciliation. Pure.

    object, ControllerRevisions ──> revisions of each variant ──> a step of each (``assigning``)
                                                                      │
    pods, Deployments ──> slots as they are (``observing``) ──────────┤
                                                                      └──> Placement, status, what to write, notes

The same observation gives the same outcome, so that nothing is lost when the operator ends in the middle: what it
wrote is observed the next time, what it did not write is decided again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from tiffin.kube import render
from tiffin.kube.capabilities import Capabilities
from tiffin.kube.manifests import Manifest
from tiffin.kube.placement import Placement
from tiffin.kube.render import scalers
from tiffin.kube.settings import Settings
from tiffin.operator import histories, noting, placing, statuses
from tiffin.operator.explaining import AGAIN_SECONDS, PATIENCE_SECONDS, unexplained
from tiffin.operator.noting import Note
from tiffin.operator.observing import Observed
from tiffin.operator.placing import Contest
from tiffin.operator.revisions import Kept
from tiffin.plan.state import DeploymentStatus
from tiffin.spec import Deployment


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What to do about one deployment.

    Write ``revisions_to_write`` first (ControllerRevisions, server-side applied), then apply what ``render`` makes
    of ``placement``, then write ``native_status`` to the ``status`` subresource unless it is ``None`` (then it is
    that already), then ``notes`` (through a ``noting.Notebook``), then delete ``revisions_to_delete`` (names).
    ``contests`` are what a judge has to measure.
    Deployments in ``keep`` (names) stay though nothing renders them: they serve until others can. Look again after
    ``requeue_after`` seconds at the latest (``None``: when something changes), with ``remembered`` in the next
    ``Observed``.
    """

    placement: Placement
    status: DeploymentStatus
    native_status: dict[str, Any] | None = None
    revisions_to_write: tuple[Manifest, ...] = ()
    revisions_to_delete: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()
    keep: frozenset[str] = frozenset()
    contests: tuple[Contest, ...] = ()
    requeue_after: float | None = None
    remembered: Mapping[str, Kept] = {}


def stand(
    deployment: Deployment, observed: Observed, settings: Settings, capabilities: Capabilities, now: float
) -> Outcome:
    """Decide. ``now`` is in seconds since 1970."""
    warnings = (*deployment.warnings, *render.unsupported(deployment, settings, capabilities))
    deployment = msgspec.structs.replace(scalers.settled(deployment, capabilities), warnings=warnings)
    history = histories.read(deployment, observed)
    found = placing.place(deployment, observed, history, capabilities, now)
    lasting = histories.lasting(found.history)
    status = statuses.status_of(deployment, observed, found, settings, capabilities, now)
    given = {
        slot.component.name: slot.revision
        for slot in found.placement.slots
        if slot.variant == deployment.variant and slot.role == "stable"
    }
    native = statuses.native(deployment, status, observed, settings, capabilities, now, given)
    return Outcome(
        placement=found.placement,
        status=status,
        native_status=None if native == observed.object.get("status") else native,
        revisions_to_write=histories.to_write(deployment, observed, lasting, now),
        revisions_to_delete=histories.to_delete(found.history),
        notes=noting.notes(deployment, observed, history, found, status, native),
        keep=placing.outgoing(found),
        contests=placing.contests(deployment, found),
        requeue_after=_again(observed, found.again, now),
        remembered=lasting.kept,
    )


def _again(observed: Observed, again: float | None, now: float) -> float | None:
    """When to look again: also for pods that do not say why they are not ready, for then their events do."""
    later = [] if again is None else [again]
    if unexplained(observed.pods, now + PATIENCE_SECONDS):
        later.append(AGAIN_SECONDS)
    return min(later, default=None)
