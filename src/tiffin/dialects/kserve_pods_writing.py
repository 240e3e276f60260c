"""What an InferenceService says of pods and of who scales, from a component; ``kserve_writing`` says the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tiffin.dialects import kserve_triggers, kubernetes, pods, remainders
from tiffin.dialects.kserve_context import MODE, SCALER, SCALERS
from tiffin.dialects.kserve_pods import READ_ONLY
from tiffin.spec import Component, Deployment, Scaling


def notes(deployment: Deployment) -> dict[str, str]:
    """Annotations of the whole: what KServe has one of for all components."""
    components = [part for variant in deployment.all_variants for part in variant.components]
    found = {}
    autoscaler = deployment.components[0].scaling.autoscaler
    if autoscaler == "knative":
        found[MODE] = "Knative"
    elif autoscaler in SCALERS:
        found |= {MODE: "Standard", SCALER: autoscaler}
    if any(not part.pod.is_read_only for part in components):
        found[READ_ONLY] = "false"
    return found


def port(component: Component) -> int:
    """Where a program listens whose image becomes the container: at the port its pods call http."""
    written = pods.named(component.pod.spec, component.pod.main).get("ports")
    ports = [one for one in written if isinstance(one, dict)] if isinstance(written, list) else []
    found = next((one.get("containerPort") for one in ports if one.get("name") == "http"), None)
    return found if isinstance(found, int) and 0 < found < 65536 else 8080


def level(component: Component, deployment: Deployment) -> dict[str, Any]:
    """The fields of a component that are those of a PodSpec, and labels, annotations and the strategy."""
    pod = remainders.of(component)
    found = {name: value for name, value in pod.spec.items() if name != "containers"}
    if beside := remainders.beside(pod):
        found["containers"] = beside
    for name, written, whole in (
        ("labels", pod.labels, deployment.labels),
        ("annotations", pod.annotations, deployment.annotations),
    ):
        if own := {key: value for key, value in written.items() if whole.get(key) != value}:
            found[name] = own
    if pod.strategy:
        found["deploymentStrategy"] = dict(pod.strategy)
    return found


def container(written: Mapping[str, Any], component: Component, *, has_usual: bool) -> dict[str, Any]:
    """The component's own container with what else its pods say of it.

    ``has_usual``: KServe gives it the usual resources, which therefore need not be written.
    """
    rest = remainders.own(remainders.of(component))
    resources = pods.named(component.pod.spec, component.pod.main).get("resources")
    if left := remainders.defaulted(resources, component.resources):
        asked = written["resources"]
        requests = {name: one for name, one in asked["requests"].items() if name not in left}
        written = {**written, "resources": {**asked, "requests": requests}}
    if has_usual and _is_usual(written, pods.merged(written, rest)):
        rest.pop("resources", None)
    return pods.merged(written, rest)


def _is_usual(bare: Mapping[str, Any], whole: Mapping[str, Any]) -> bool:
    """Whether KServe makes these resources of the container without them."""
    made = pods.with_usual_resources(bare, lambda value: kubernetes.number(value) or 0.0)["resources"]
    return _amounts(made) == _amounts(whole.get("resources"))


def _amounts(resources: Any) -> dict[tuple[str, str], float | None]:
    written = resources if isinstance(resources, dict) else {}
    kinds = {kind: amounts for kind, amounts in written.items() if isinstance(amounts, dict)}
    return {
        (kind, name): kubernetes.number(one) for kind, amounts in kinds.items() for name, one in amounts.items()
    }


def automatic(scaling: Scaling) -> dict[str, Any]:
    """``autoScaling`` as far as it is there for an HPA or KEDA, and not for measures."""
    spec = scaling.autoscaler_spec
    if scaling.autoscaler != "keda":
        return {"behavior": spec["behavior"]} if "behavior" in spec else {}
    found: dict[str, Any] = {}
    written = spec.get("triggers")
    triggers = [one for one in written if isinstance(one, dict)] if isinstance(written, list) else []
    metrics = [kserve_triggers.metric(one) for one in triggers]
    if metrics and all(metrics):
        found["metrics"] = metrics
    behavior: Any = spec
    for name in ("advanced", "horizontalPodAutoscalerConfig", "behavior"):
        behavior = behavior.get(name) if isinstance(behavior, dict) else None
    return found | ({"behavior": behavior} if behavior else {})
