"""An AdmissionReview to its answer: the object is read as the operator reads it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from tiffin.dialects import live
from tiffin.dialects.runtimes import KINDS as RUNTIMES
from tiffin.errors import SpecError, TiffinError
from tiffin.kube.manifests import Manifest
from tiffin.spec import Deployment

log = logging.getLogger(__name__)

MOST_WARNINGS = 20
LONGEST_WARNING = 250
"""In characters; the API server shortens longer ones, and drops all beyond 4096 together."""

Read = Callable[[Manifest], Awaitable[Deployment | None]]
"""An object as it is served; ``None`` for one that is not looked after, or cannot be judged now."""


async def answer(body: bytes, read: Read) -> dict[str, Any]:
    """The review with its response.

    Raises:
        SpecError: this is no AdmissionReview.
    """
    try:
        review = msgspec.json.decode(body)
        request = review["request"]
        uid = request["uid"]
    except (msgspec.DecodeError, KeyError, TypeError):
        raise SpecError("expected an AdmissionReview with a request") from None
    response = {"uid": uid, **await _verdict(request, read)}
    version = review.get("apiVersion", "admission.k8s.io/v1")
    return {"apiVersion": version, "kind": "AdmissionReview", "response": response}


async def _verdict(request: dict[str, Any], read: Read) -> dict[str, Any]:
    document = request.get("object")
    if not isinstance(document, dict) or is_same(document, request.get("oldObject")):
        return {"allowed": True}
    document = _named(document)
    try:
        if document.get("kind") in RUNTIMES:
            live.read_resource(document)
            return {"allowed": True}
        deployment = await read(document)
    except SpecError as error:
        return {"allowed": False, "status": {"code": 422, "reason": "Invalid", "message": said(error)}}
    except TiffinError as error:
        # What it refers to cannot be looked up now; the operator will look again.
        log.warning("an object was taken without a look: %s", error)
        return {"allowed": True}
    if deployment is None:
        return {"allowed": True}
    warnings = [f"{one.path}: {one.message}"[:LONGEST_WARNING] for one in deployment.warnings]
    return {"allowed": True, "warnings": warnings[:MOST_WARNINGS]} if warnings else {"allowed": True}


def _named(document: dict[str, Any]) -> dict[str, Any]:
    """With a name where the server is still to give it one."""
    metadata = document.get("metadata") or {}
    if metadata.get("name") or not metadata.get("generateName"):
        return document
    return {**document, "metadata": {**metadata, "name": f"{metadata['generateName']}x"}}


def is_same(document: dict[str, Any], before: Any) -> bool:
    """Whether nothing changed that is judged, or the object goes: what was taken once may always be touched."""
    metadata = document.get("metadata") or {}
    if metadata.get("deletionTimestamp"):
        return True
    if not isinstance(before, dict):
        return False
    annotations = [(one.get("metadata") or {}).get("annotations") for one in (document, before)]
    return document.get("spec") == before.get("spec") and annotations[0] == annotations[1]


def said(error: SpecError) -> str:
    """What is wrong, where, and what to do."""
    return f"{error} ({error.hint})" if error.hint else str(error)
