"""The status of an object that cannot be read, or not be made so, in the words of its own system. Pure."""

from __future__ import annotations

from typing import Any

from tiffin.errors import TiffinError
from tiffin.kube.manifests import Manifest
from tiffin.operator.observing import moment

REASON = "InvalidSpec"
REFUSED = "RefusedByCluster"
"""The API server does not take what the object comes to."""

UNREADABLE = "RevisionUnreadable"
"""A revision that serves was written by a version that is not understood."""


def status(document: Manifest, error: TiffinError, now: float, reason: str = REASON) -> dict[str, Any]:
    """The status with what is wrong; whatever else it said of what serves stays. ``now`` in seconds since 1970."""
    before = document.get("status") or {}
    message = f"{error} ({error.hint})" if error.hint else str(error)
    types = {"InferenceService": ("PredictorReady", "Ready")}.get(document.get("kind", ""), ("Ready",))
    known = {one.get("type"): one for one in before.get("conditions") or () if isinstance(one, dict)}
    conditions = [one for type, one in known.items() if type not in types]
    for type in types:
        wanted = {"type": type, "status": "False", "reason": reason, "message": message}
        old = known.get(type, {})
        since = old.get("lastTransitionTime") if old.get("status") == "False" else None
        conditions.append(wanted | {"lastTransitionTime": since or moment(now)})
    found = {
        **before,
        "observedGeneration": document["metadata"].get("generation", 0),
        "conditions": sorted(conditions, key=lambda one: str(one["type"])),
    }
    if document.get("kind") == "InferenceService":
        failure = {"reason": "InvalidPredictorSpec", "message": message}
        found["modelStatus"] = {**before.get("modelStatus", {}), "transitionStatus": REASON} | {
            "lastFailureInfo": failure
        }
    if document.get("kind") == "SeldonDeployment":
        found |= {"state": "Failed", "description": message}
    return found
