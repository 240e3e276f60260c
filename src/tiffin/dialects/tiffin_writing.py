"""A deployment of any dialect as Tiffin's own file, as short as it can be."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from tiffin.dialects import comparing, remainders, tiffin
from tiffin.dialects.dependencies import ALL
from tiffin.dialects.documents import Document
from tiffin.dialects.tiffin_component import MAIN, STABILIZATION, WINDOWS
from tiffin.dialects.tiffin_fields import PROTOCOLS
from tiffin.errors import SpecError
from tiffin.spec import (
    Artefact,
    Batching,
    ClassSource,
    Component,
    ContainerSource,
    Deployment,
    Gate,
    Logger,
    Match,
    Measure,
    ModelSource,
    Recording,
    Resources,
    Rollout,
    Scaling,
    ServiceSource,
    Step,
    Traffic,
)

_DEFAULT_PROTOCOLS = {ModelSource: "v2", ServiceSource: "json", ClassSource: "seldon", ContainerSource: "v2"}
_TARGETS = {"concurrency": 100.0, "rps": 200.0, "cpu": 80.0, "memory": 80.0}
_TARGET = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_.]*")


def write(deployment: Deployment) -> tuple[dict[str, Any], list[str]]:
    """The document, and what it cannot say.

    Raises:
        SpecError: what is served has no words at all in this file.
    """
    metadata: dict[str, Any] = {"name": deployment.name}
    if deployment.namespace != "default":
        metadata["namespace"] = deployment.namespace
    metadata |= {
        key: dict(value)
        for key, value in (("labels", deployment.labels), ("annotations", deployment.annotations))
        if value
    }
    document = {
        "apiVersion": tiffin.API_VERSIONS[0],
        "kind": tiffin.KIND,
        "metadata": metadata,
        "spec": _spec(deployment),
    }
    after = tiffin.deployment(Document(value=document), base=base_of(deployment), target="")
    return document, comparing.differences(deployment, after)


def base_of(deployment: Deployment) -> str:
    """Where relative paths of a deployment start."""
    for component in deployment.components:
        source = component.source
        found = list(source.mounts.values()) if isinstance(source, ContainerSource) else [source.artefact]
        if found:
            return found[0].base
    return ""


def _spec(deployment: Deployment) -> dict[str, Any]:
    found = _components(deployment.components)
    default = _DEFAULT_PROTOCOLS[type(deployment.components[0].source)]
    protocol = next(name for name, value in PROTOCOLS.items() if value == deployment.protocol)
    if protocol != default:
        found["protocol"] = protocol
    if deployment.stopped:
        found["stopped"] = True
    main = _label(deployment.variant)
    if main != "main":
        found["variant"] = main
    if deployment.variants:
        found["variants"] = _variants(deployment, main)
    if deployment.canary_percent is not None and deployment.rollout is None:
        found["canary"] = _number(deployment.canary_percent)
    if deployment.rollout is not None and deployment.rollout.steps:
        found["rollout"] = _rollout(deployment.rollout)
    if traffic := _traffic(deployment, {main, *found.get("variants", ())}):
        found["traffic"] = traffic
    if deployment.recording is not None:
        found["record"] = _recording(deployment.recording)
    if deployment.policy.require_signature:
        keys = list(deployment.policy.keys)
        found["policy"] = {"requireSignature": {"keys": keys} if keys else True}
    return found


def _variants(deployment: Deployment, main: str) -> dict[str, Any]:
    variants: dict[str, Any] = {}
    taken = 0.0
    for variant in deployment.variants:
        one: dict[str, Any] = {}
        if variant.mirror_percent is not None:
            one["mirror"] = _number(variant.mirror_percent)
        else:
            one["weight"] = _number(min(variant.weight, 100 - taken))
            taken += variant.weight
        if variant.labels:
            one["labels"] = dict(variant.labels)
        name = _label(variant.name)
        if name in (main, "main", "stable", "canary"):
            name = f"{name}-variant"[:63]
        variants[name] = one | _components(variant.components)
    return variants


def _label(name: str) -> str:
    return re.sub(r"[^-a-z0-9]+", "-", name.lower()).strip("-")[:63].strip("-") or "main"


# ---- components


def _components(components: Sequence[Component]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for index, component in enumerate(components):
        if index == 0:
            found = _component(component)
            if component.dependencies:
                found["service"] = _with_dependencies(found["service"], component, list(components))
        elif component.name in ("transformer", "explainer"):
            found[component.name] = _component(component)
    return found


def _with_dependencies(service: Any, component: Component, components: Sequence[Component]) -> dict[str, Any]:
    """The service with what of the services it depends on runs apart; nested ones are named beside the others."""
    where = dict(service) if isinstance(service, dict) else {"target": service}
    if ALL in component.dependencies:
        return where | {"dependencies": "separate"}
    names = {name: service for part in components for service, name in part.dependencies.items()}
    apart: dict[str, Any] = {}
    for part in components:
        if part.is_dependency and part.name in names:
            settings = _component(part)
            settings.pop("service")
            inherited = component.environment.items()
            env = {k: v for k, v in settings.pop("env", {}).items() if (k, v) not in inherited}
            apart[names[part.name]] = settings | ({"env": env} if env else {})
    return where | {"dependencies": apart}


def _component(component: Component) -> dict[str, Any]:
    found = _source(component.source)
    if re.fullmatch("[A-Za-z0-9][-._A-Za-z0-9]*", component.model_name):
        found["modelName"] = component.model_name
    found |= _scaling(component.scaling)
    if component.workers != 1:
        found["workers"] = component.workers
    if component.threads is not None:
        found["threads"] = component.threads
    if component.timeout_seconds is not None:
        found["timeout"] = _duration(component.timeout_seconds)
    if component.max_concurrency is not None:
        found["maxConcurrency"] = component.max_concurrency
    if component.retry_reset is not None:
        found["retries"] = component.retry_reset
    if component.grpc:
        found["grpc"] = True
    if resources := _resources(component.resources):
        found["resources"] = resources
    if component.environment:
        found["env"] = dict(component.environment)
    if component.batching != Batching():
        found["batching"] = _batching(component.batching)
    if component.logger is not None:
        found["logger"] = _logger(component.logger)
    if pod := _pod(component):
        found["pod"] = pod
    return found


def _pod(component: Component) -> dict[str, Any]:
    """What its pods say beyond the fields above."""
    pod = remainders.of(component)
    found: dict[str, Any] = {name: dict(value) for name, value in (
        ("labels", pod.labels), ("annotations", pod.annotations), ("spec", pod.spec),
        ("strategy", pod.strategy), ("disruption", pod.disruption),
    ) if value}  # fmt: skip
    if pod.main != MAIN and pod.spec.get("containers"):
        found["container"] = pod.main
    if pod.progress_deadline_seconds is not None:
        found["progressDeadline"] = _duration(pod.progress_deadline_seconds)
    if not pod.is_read_only:
        found["readOnly"] = False
    return found


def _source(source: ModelSource | ServiceSource | ClassSource | ContainerSource) -> dict[str, Any]:
    match source:
        case ModelSource():
            more = {"format": source.format} if source.format else {}
            more |= {"method": source.method} if source.method != "predict" else {}
            return {"model": {"uri": source.artefact.uri} | more if more else source.artefact.uri}
        case ServiceSource():
            return {"service": _where(source.artefact, source.target)}
        case ClassSource():
            where = _where(source.artefact, source.target, is_bundle=bool(source.image))
            if source.parameters:
                where = {"target": where} if isinstance(where, str) else where
                where["parameters"] = {parameter.name: parameter.value for parameter in source.parameters}
            return {"class": where}
        case ContainerSource():
            return {"container": _container(source)}


def _where(artefact: Artefact, target: str, *, is_bundle: bool = False) -> str | dict[str, Any]:
    """A directory, or a bundle: what has no target, or came as an image."""
    if target and not _TARGET.fullmatch(target):
        hint = "name the class in the file it comes from, as module:Name"
        raise SpecError(f"{target!r} does not say which class of its module is served", hint=hint)
    if not target or is_bundle:
        return {"bundle": artefact.uri} | ({"target": target} if target else {})
    return target if artefact.uri == "." else {"target": target, "directory": artefact.uri}


def _container(source: ContainerSource) -> str | dict[str, Any]:
    plain = ContainerSource(image=source.image)
    found: dict[str, Any] = {"image": source.image}
    if source.command:
        found["command"] = list(source.command)
    if source.arguments:
        found["args"] = list(source.arguments)
    if source.port != plain.port:
        found["port"] = source.port
    if source.ready_path:
        found["readyPath"] = source.ready_path
    if source.mounts:
        found["mounts"] = {path: artefact.uri for path, artefact in source.mounts.items()}
    return found if len(found) > 1 else source.image


def _scaling(scaling: Scaling) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if scaling.max_replicas is None and scaling.min_replicas > 0:
        if scaling.min_replicas != 1:
            found["replicas"] = scaling.min_replicas
    elif scaling.is_fixed and scaling.max_replicas == scaling.min_replicas:
        found["replicas"] = scaling.min_replicas
    else:
        most = {} if scaling.max_replicas is None else {"max": scaling.max_replicas}
        found["replicas"] = {"min": scaling.min_replicas} | most
    scale: dict[str, Any] = {}
    for python, names in ((scaling.windows, WINDOWS), (scaling.stabilization, STABILIZATION)):
        plain = type(python)()
        for field, attribute in names.items():
            value = getattr(python, attribute)
            if value != getattr(plain, attribute):
                scale[field] = _window(field, value)
    if scaling.autoscaler:
        scale["autoscaler"] = scaling.autoscaler
    if scaling.autoscaler_spec:
        scale["autoscalerSpec"] = dict(scaling.autoscaler_spec)
    if scaling.measures == (Measure(),):
        measures: dict[str, Any] | str = {}
    elif not scale and len(scaling.measures) == 1 and scaling.measures[0].target is None:
        measures = scaling.measures[0].metric
    else:
        measures = {measure.metric: _measure(measure) for measure in scaling.measures}
    if isinstance(measures, str):
        found["scale"] = measures
    elif measures or scale:
        found["scale"] = measures | scale
    return found


def _window(field: str, value: Any) -> Any:
    if field == "burst" and value < 0:
        return "unlimited"
    if field == "tolerance":
        return _share(value)
    if field in ("utilization", "panicWindow"):
        return _percent(value)
    if field in ("window", "downDelay", "zeroGrace", "zeroAfter", "upWindow", "downWindow"):
        return _duration(value)
    return _number(value)


def _measure(measure: Measure) -> Any:
    target = _TARGETS[measure.metric] if measure.target is None else measure.target
    if measure.metric in ("concurrency", "rps"):
        return _number(target)
    return _amount(target) if measure.is_value else f"{_number(target)}%"


def _resources(resources: Resources) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if resources.cpu is not None:
        found["cpu"] = _number(resources.cpu)
    if resources.memory_bytes is not None:
        found["memory"] = _size(resources.memory_bytes)
    if resources.memory_limit_bytes is not None:
        found["memoryLimit"] = _size(resources.memory_limit_bytes)
    if resources.gpu is not None:
        found["gpu"] = _number(resources.gpu)
    return found


def _batching(batching: Batching) -> bool | dict[str, Any]:
    plain = Batching()
    if batching.enabled is False:
        return False
    found: dict[str, Any] = {}
    if batching.max_rows != plain.max_rows:
        found["maxRows"] = batching.max_rows
    if batching.max_bytes != plain.max_bytes:
        found["maxBytes"] = _size(batching.max_bytes)
    return found or True


def _logger(logger: Logger) -> str | dict[str, Any]:
    found: dict[str, Any] = {"url": logger.url}
    if logger.mode != "all":
        found["mode"] = logger.mode
    if logger.metadata_headers:
        found["headers"] = list(logger.metadata_headers)
    if logger.style != "kserve":
        found["style"] = logger.style
    return found if len(found) > 1 else logger.url


# ---- traffic, rollout, recording


def _traffic(deployment: Deployment, variants: set[str]) -> dict[str, Any]:
    traffic, plain = deployment.traffic, Traffic()
    found: dict[str, Any] = {}
    if sticky := traffic.sticky:
        found["sticky"] = {sticky.by: sticky.name}
        if sticky.by == "cookie" and sticky.ttl_seconds:
            found["sticky"]["ttl"] = _duration(sticky.ttl_seconds)
    known = {*variants, "stable", "canary"}
    rules = [
        _matches(rule.matches) | {"to": rule.variant}
        for rule in traffic.rules
        if rule.matches and rule.variant in known
    ]
    if rules:
        found["rules"] = rules
    if jwt := traffic.jwt:
        found["jwt"] = {"issuer": jwt.issuer}
        if jwt.audiences:
            found["jwt"]["audiences"] = list(jwt.audiences)
        found["jwt"] |= {"jwks": jwt.jwks} if jwt.jwks else {"jwksFile": jwt.jwks_file}
        if not jwt.required:
            found["jwt"]["required"] = False
    if traffic.tags != plain.tags:
        found["tags"] = traffic.tags
    if traffic.max_body_bytes is not None:
        found["maxBody"] = _size(traffic.max_body_bytes)
    return found


def _matches(matches: Iterable[Match]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for match in matches:
        field, name = ("header", match.header) if match.header else ("claim", match.claim)
        value: Any = {match.how: match.value}
        if match.how in ("exact", "present"):
            value = match.value if match.how == "exact" else True
        found.setdefault(field, {})[name] = value
    return found


def _rollout(rollout: Rollout) -> dict[str, Any]:
    plain = Rollout(steps=())
    found: dict[str, Any] = {"steps": [_step(step) for step in rollout.steps]}
    if rollout.gates != plain.gates:
        found["gates"] = _gates(rollout.gates, is_mirrored=rollout.mirror_percent > 0)
    if rollout.mirror_percent:
        found["mirror"] = _number(rollout.mirror_percent)
    if rollout.false_alarm != plain.false_alarm:
        found["falseAlarm"] = _share(rollout.false_alarm)
    if rollout.min_calls != plain.min_calls:
        found["minCalls"] = rollout.min_calls
    if not rollout.automatic_rollback:
        found["rollback"] = False
    return found


def _step(step: Step) -> Any:
    if step.pause:
        return {"weight": _number(step.weight), "pause": True}
    if step.seconds:
        return {"weight": _number(step.weight), "for": _duration(step.seconds)}
    return _number(step.weight)


def _gates(gates: Iterable[Gate], *, is_mirrored: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for gate in gates:
        plain = Gate(kind=gate.kind)
        if gate.kind == "error-rate":
            found["errorRate"] = _share(gate.margin)
        elif gate.kind == "latency":
            name = f"p{_number(round(gate.quantile * 100, 7))}"
            found.setdefault("latency", {})[name] = _number(gate.ratio)
        elif gate.kind == "agreement" and is_mirrored:
            least = _share(1.0 if gate.least is None else gate.least)
            exact = gate.tolerance == plain.tolerance
            found["agreement"] = least if exact else {"least": least, "tolerance": gate.tolerance}
        elif gate.kind == "query" and gate.query and gate.server:
            bounds = {"min": gate.least, "max": gate.most}
            written = {key: _number(value) for key, value in bounds.items() if value is not None}
            if written:
                found.setdefault("query", []).append({"expr": gate.query, "server": gate.server} | written)
    return found


def _recording(recording: Recording) -> bool | dict[str, Any]:
    plain = Recording()
    found: dict[str, Any] = {}
    if recording.percent != plain.percent:
        found["percent"] = _number(recording.percent)
    if recording.max_bytes != plain.max_bytes:
        found["maxSize"] = _size(recording.max_bytes)
    if recording.max_body_bytes != plain.max_body_bytes:
        found["maxBody"] = _size(recording.max_body_bytes)
    return found or True


# ---- notations


def _number(value: float) -> int | float:
    return int(value) if float(value).is_integer() else value


def _duration(seconds: float) -> str | int | float:
    if 0 < seconds < 1e9 and float(seconds).is_integer():
        for unit, size in (("h", 3600), ("m", 60)):
            if seconds % size == 0:
                return f"{int(seconds) // size}{unit}"
        return f"{int(seconds)}s"
    return _number(seconds)


def _percent(value: float) -> str | int | float:
    return f"{int(value)}%" if float(value).is_integer() else value


def _share(value: float) -> str:
    return f"{_number(round(value * 100, 9))}%"


def _size(count: int) -> str | int:
    for suffix, size in (("Gi", 2**30), ("Mi", 2**20), ("Ki", 2**10)):
        if count and count % size == 0:
            return f"{count // size}{suffix}"
    return count


def _amount(value: float) -> str:
    if float(value).is_integer():
        return str(_size(int(value)))
    return f"{value:f}".rstrip("0") if value >= 1e-6 else repr(value)
