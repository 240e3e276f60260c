"""The status of an InferenceService that Knative runs, as KServe copies it from Knative's Services. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from tiffin.dialects.kserve_status import least
from tiffin.kube.manifests import Manifest
from tiffin.operator import knative
from tiffin.operator.knative import Told
from tiffin.spec import Deployment

State = tuple[str, str, str]
"""Status, reason and message of a condition."""

_LIVING = ("Ready", "PredictorReady", "IngressReady")
_FAILED = {"transitionStatus": "BlockedByFailedLoad"}


def laid_over(
    native: Mapping[str, Any],
    deployment: Deployment,
    services: Mapping[str, Manifest],
    before: Mapping[str, Any],
    given: Mapping[str, str],
) -> dict[str, Any]:
    """A status with what Services of Knative say in the place of what was concluded from pods.

    Args:
        native: The status in KServe's words.
        deployment: What it is of; it is not stopped.
        services: Knative's, by component; one that is missing is on its way.
        before: The status that stands in the object.
        given: The revision of Tiffin's that each component is given now: what a Service says while it has another
            one is not about what the object says.
    """
    said = {part.name: knative.told(services.get(part.name, _NOTHING)) for part in deployment.components}
    said = {
        name: msgspec.structs.replace(one, is_current=one.is_current and one.tiffin == given.get(name, one.tiffin))
        for name, one in said.items()
    }
    states = _states(deployment, said)
    found = dict(native)
    known = {one["type"]: one for one in native.get("conditions") or ()}
    written = {kind: _condition(kind, state) for kind, state in states.items()}
    found["conditions"] = [{**known, **written}[kind] for kind in sorted({**known, **written})]
    entry = said[deployment.entry]
    found.pop("url", None)
    found.pop("address", None)
    if states["Ready"][0] == "True":
        found |= {"url": entry.url} if entry.url else {}
        found |= {"address": {"url": entry.address}} if entry.address else {}
    found["components"] = {name: _component(one, services.get(name), name, before) for name, one in said.items()}
    found["modelStatus"] = _model(native.get("modelStatus") or {}, states["PredictorReady"], said["predictor"])
    return found


_NOTHING: Manifest = {"metadata": {"generation": 1}}


def _states(deployment: Deployment, said: Mapping[str, Told]) -> dict[str, State]:
    found: dict[str, State] = {}
    ready, routed, configured = (
        {name: one.state(kind) for name, one in said.items()}
        for kind in ("Ready", "RoutesReady", "ConfigurationsReady")
    )
    for name in said:
        title = name.capitalize()
        found[f"{title}Ready"] = ready[name]
        found[f"{title}{'RoutesReady' if name == 'explainer' else 'RouteReady'}"] = routed[name]
        found[f"{title}ConfigurationReady"] = configured[name]
    found["RoutesReady"] = least(routed.values())
    found["LatestDeploymentReady"] = least(configured.values())
    found["IngressReady"] = routed[deployment.entry]
    for name, state in ready.items():
        if state[0] != "True":
            found["IngressReady"] = (state[0], f"{name.capitalize()} ingress not created", "")
            break
    found["Ready"] = least((found["PredictorReady"], found["IngressReady"]))
    return found


def _condition(kind: str, state: State) -> dict[str, str]:
    status, reason, message = state
    told = {"type": kind, "status": status, "reason": reason, "message": message}
    severity = {} if kind in _LIVING else {"severity": "Info"}
    return {key: value for key, value in told.items() if value} | severity


def _component(said: Told, service: Manifest | None, name: str, before: Mapping[str, Any]) -> dict[str, Any]:
    if service is None:
        return {}
    rolled = knative.rolled(service, name, before)
    found: dict[str, Any] = {
        "latestCreatedRevision": said.created,
        "latestReadyRevision": said.ready,
        "latestRolledoutRevision": rolled.latest,
        "previousRolledoutRevision": rolled.previous,
        "traffic": list(said.traffic),
        "url": said.url,
        "address": {"url": said.address} if said.address else {},
    }
    return {key: value for key, value in found.items() if value}


def _model(found: Mapping[str, Any], ready: State, said: Told) -> dict[str, Any]:
    """The model's state; without a pod, which is how Knative keeps what nobody calls, its revision tells it."""
    if ready[0] == "True":
        states = {"activeModelState": "Loaded", "targetModelState": "Loaded"}
        return {**found, "transitionStatus": "UpToDate", "states": states}
    active = "Loaded" if said.ready else ""
    told = dict(found.get("states") or {}) | {"activeModelState": active}
    if said.state("ConfigurationsReady")[0] == "False":
        return {**found, **_FAILED, "states": told | {"targetModelState": "FailedToLoad"}}
    return {**found, "states": told}
