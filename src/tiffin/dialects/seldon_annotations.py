"""Annotations that make Seldon behave otherwise: which of them are honoured, and what is said of the others.

They may stand in ``metadata``, in ``spec`` and in a predictor; the innermost counts.
"""

from __future__ import annotations

import re

import msgspec

from tiffin.dialects.documents import child
from tiffin.dialects.fields import ELSEWHERE, NO_EFFECT, Fields, describe

PREFIX = "seldon.io/"
TIMEOUT = "seldon.io/rest-timeout"
SERVICE = "seldon.io/svc-name"

_NO_ENGINE = "changes nothing: there is no engine beside the model here"
_RETRIES = "is not taken as a number: the gateway asks up to 5 times, within a budget of a quarter of the calls"
_LOGGED = "has no effect: Tiffin's log of payloads has bounds of its own"
_LATER_GRPC = "has no effect: Seldon's own gRPC is not served"
_HEADER = "has no effect: write spec.traffic.rules of a tiffin.dev/v1 Deployment for calls by header"
_AMBASSADOR = "has no effect: there is no Ambassador here"

NOTES: dict[str, str] = {
    "engine-separate-pod": _NO_ENGINE,
    "headless-svc": "has no effect: callers reach replicas by the gateway",
    "no-storage-initializer": "has no effect: Tiffin fetches the model itself",
    "executor-logger-queue-size": _LOGGED,
    "executor-logger-write-timeout-ms": _LOGGED,
    "grpc-timeout": _LATER_GRPC,
    "grpc-max-message-size": _LATER_GRPC,
    "istio-host": "has no effect: the deployment answers on every host",
    "istio-gateway": NO_EFFECT,
    "istio-retries": _RETRIES,
    "istio-retries-timeout": "has no effect: a call that is asked again has what is left of its own time",
    "ambassador-config": _AMBASSADOR,
    "ambassador-service-name": _AMBASSADOR,
    "ambassador-header": _HEADER,
    "ambassador-regex-header": _HEADER,
    "ambassador-id": _AMBASSADOR,
    "ambassador-retries": _RETRIES,
    "controller-id": NO_EFFECT,
}
_CIRCUIT = re.compile(r"seldon\.io/ambassador-circuit-breakers-.*")


class Annotated(msgspec.Struct, frozen=True):
    """Annotations of one place; ``path`` is the path of their mapping."""

    fields: Fields
    path: str
    values: dict[str, str]


def read(fields: Fields) -> Annotated:
    """``annotations`` of a mapping; what has no effect is warned of."""
    return note(Annotated(fields, fields.at("annotations"), fields.text_map("annotations")))


def note(found: Annotated) -> Annotated:
    """Warn of what has no effect."""
    for name in sorted(found.values):
        message = NOTES.get(name.removeprefix(PREFIX)) if name.startswith(PREFIX) else None
        if message is None and _CIRCUIT.fullmatch(name):
            message = "has no effect: the gateway breaks circuits by its own bounds"
        if message is not None:
            on_cluster = ELSEWHERE if message == NO_EFFECT else message
            found.fields.reader.warn_each(child(found.path, name), message, on_cluster)
    return found


def timeout(places: list[Annotated]) -> float | None:
    """Seconds a call may take; ``places`` from the innermost outwards.

    Raises:
        SpecError: it is no number of milliseconds.
    """
    for place in places:
        value = place.values.get(TIMEOUT)
        if value is None:
            continue
        if not re.fullmatch(r"[1-9][0-9]{0,11}", value):
            at = child(place.path, TIMEOUT)
            raise place.fields.reader.error(at, f"expected milliseconds above zero, found {describe(value)}")
        return int(value) / 1000
    return None
