"""What a component's pods say beyond the rest of the component: what a writer still has to write.

A container that came from a file says its image, arguments, variables and amounts a second time. Without these
two deployments can be compared, and one written, whatever file they came from.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tiffin.dialects import kubernetes, pods
from tiffin.dialects.seldon_pods import PORT
from tiffin.spec import ClassSource, Component, ContainerSource, Pod, Resources

_ADDED = frozenset((
    "PREDICTIVE_UNIT_SERVICE_PORT", "PREDICTIVE_UNIT_HTTP_SERVICE_PORT", "PREDICTIVE_UNIT_GRPC_SERVICE_PORT",
    "PREDICTIVE_UNIT_METRICS_SERVICE_PORT", "PREDICTIVE_UNIT_METRICS_ENDPOINT", "PREDICTIVE_UNIT_PARAMETERS",
    "PREDICTIVE_UNIT_ID", "PREDICTIVE_UNIT_IMAGE", "PREDICTOR_ID", "PREDICTOR_LABELS", "SELDON_DEPLOYMENT_ID",
    "SELDON_EXECUTOR_ENABLED", "MLSERVER_MODEL_NAME", "MLSERVER_HTTP_PORT", "MLSERVER_GRPC_PORT",
    "MLSERVER_METRICS_PORT", "MLSERVER_METRICS_ENDPOINT", "PORT", "INFERENCE_SERVICE_NAME",
))  # fmt: skip
"""Variables that a system adds by itself, when its file is read again."""


def of(component: Component) -> Pod:
    """The pods without what the component says, too."""
    pod = component.pod
    if not all(isinstance(one, dict) for one in _listed(pod.spec.get("containers"))):
        return pod  # whoever reads it refuses it
    rest, others = _own(pods.named(pod.spec, pod.main), component), beside(pod)
    spec = {name: value for name, value in pod.spec.items() if name != "containers"}
    if containers := [*([{"name": pod.main, **rest}] if rest else []), *map(_beside, others)]:
        spec["containers"] = containers
    return msgspec.structs.replace(pod, spec=spec)


def own(pod: Pod) -> dict[str, Any]:
    """What is left of the component's own container, without its name."""
    found = pods.named(pod.spec, pod.main)
    return {name: value for name, value in found.items() if name != "name"}


def beside(pod: Pod) -> list[dict[str, Any]]:
    """The other containers."""
    found = (one for one in _listed(pod.spec.get("containers")) if isinstance(one, dict))
    return [one for one in found if one.get("name") != pod.main]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _beside(container: dict[str, Any]) -> dict[str, Any]:
    env = [
        one for one in _listed(container.get("env")) if not (isinstance(one, dict) and one.get("name") in _ADDED)
    ]
    rest = {name: value for name, value in container.items() if name != "env"}
    return rest | ({"env": env} if env else {})


def _own(written: dict[str, Any], component: Component) -> dict[str, Any]:
    source = component.source
    said = {"name"}
    if isinstance(source, ContainerSource | ClassSource):
        said |= {"image", "command", "args"}
    rest = {name: value for name, value in written.items() if name not in said}
    port = source.port if isinstance(source, ContainerSource) else PORT
    for name, left in (
        ("env", [one for one in _listed(rest.get("env")) if not _is_said(one, component)]),
        ("ports", [one for one in _listed(rest.get("ports")) if not _is_usual(one, port)]),
        ("resources", _amounts(rest.get("resources"), component.resources)),
    ):
        rest.pop(name, None)
        if left:
            rest[name] = left
    probe = {"httpGet": {"path": source.ready_path, "port": port}} if isinstance(source, ContainerSource) else None
    if rest.get("readinessProbe") == probe:
        rest.pop("readinessProbe", None)
    return rest


def _is_said(variable: Any, component: Component) -> bool:
    if not isinstance(variable, dict):
        return False
    name = variable.get("name")
    return name in _ADDED or ("valueFrom" not in variable and name in component.environment)


def _is_usual(port: Any, number: int) -> bool:
    """Whether a port is the one that callers reach, and nothing else is said of it."""
    if not isinstance(port, dict) or port.get("containerPort") != number:
        return False
    return port.keys() <= {"containerPort", "protocol", "name"} and port.get("name") in (None, "http")


def _amounts(written: Any, resources: Resources) -> dict[str, Any]:
    """``resources`` of a container without the amounts that the component asks for."""
    if not isinstance(written, dict):
        return {}
    asked = {"cpu": resources.cpu, "memory": resources.memory_bytes, "nvidia.com/gpu": resources.gpu}
    limits = {"memory": resources.memory_limit_bytes, "nvidia.com/gpu": resources.gpu}
    found = {name: value for name, value in written.items() if name not in ("requests", "limits")}
    for kind, said in (("requests", asked), ("limits", limits)):
        amounts = written.get(kind)
        if not isinstance(amounts, dict):
            continue
        left = {name: one for name, one in amounts.items() if not _is_equal(one, said.get(name))}
        if kind == "requests":
            left = {name: one for name, one in left.items() if name not in defaulted(written, resources)}
        if left:
            found[kind] = left
    return found


def defaulted(written: Any, resources: Resources) -> set[str]:
    """What a container requests by KServe's default, though its limit is what the component asks for."""
    requests, limits = _mapping(written, "requests"), _mapping(written, "limits")
    said = {"cpu": resources.cpu, "memory": resources.memory_bytes}
    usual = {name: kubernetes.number(amount) for name, amount in pods.USUAL.items()}
    return {
        name
        for name, amount in said.items()
        if _is_equal(limits.get(name), amount)
        and not _is_equal(requests.get(name), amount)
        and _is_equal(requests.get(name), usual[name])
    }


def _mapping(written: Any, name: str) -> dict[str, Any]:
    found = written.get(name) if isinstance(written, dict) else None
    return found if isinstance(found, dict) else {}


def _is_equal(written: Any, said: float | None) -> bool:
    found = kubernetes.number(written)
    return found is not None and said is not None and abs(found - said) < 1e-9
