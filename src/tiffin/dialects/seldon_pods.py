"""``componentSpecs[]`` of a predictor: its containers, and how many replicas they have.

A HorizontalPodAutoscaler or a KEDA object becomes ``Scaling``; the innermost number of replicas counts.
"""

from __future__ import annotations

import msgspec

from tiffin.dialects import kubernetes
from tiffin.dialects.documents import child
from tiffin.dialects.fields import NO_EFFECT, Fields, describe
from tiffin.dialects.resources import Resources as Objects
from tiffin.spec import Measure, Resources, Scaling, Windows

PORT = 9000
"""Where Seldon lets the first container listen."""


class Pod(msgspec.Struct, frozen=True):
    """How many replicas a componentSpec wants; ``None`` where it says nothing."""

    replicas: int | None = None
    scaling: Scaling | None = None


class Container(msgspec.Struct, frozen=True, kw_only=True):
    """What is read of a container, before the graph says whether it is the model."""

    name: str
    fields: Fields
    image: str
    environment: dict[str, str]
    resources: Resources
    command: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    port: int = PORT
    ready_path: str = ""
    pod: Pod = Pod()


def containers(
    predictor: Fields, namespace: str, objects: Objects, *, are_programs: bool = False
) -> tuple[list[Container], Pod]:
    """All containers of a predictor, in their order, and its first pod; ``are_programs`` as in ``container``.

    Raises:
        SpecError: a field has another type, or bounds that contradict each other.
    """
    found: list[Container] = []
    pods: list[Pod] = []
    for component in predictor.mappings("componentSpecs"):
        pods.append(Pod(component.integer("replicas", minimum=0), _scaling(component)))
        component.ignore(("pdbSpec",), "has no effect: nothing evicts replicas from this machine")
        meta = component.raw("metadata")
        if isinstance(meta, dict) and any(value for key, value in meta.items() if key != "creationTimestamp"):
            component.warn("metadata", NO_EFFECT)
        elif meta is not None and not isinstance(meta, dict):
            raise component.error("metadata", f"expected a mapping, found {describe(meta)}")
        pod = component.mapping("spec")
        component.finish()
        if pod is None:
            continue
        pod.miss("containers")
        for fields in pod.mappings("containers"):
            one = container(fields, namespace, objects, is_program=are_programs)
            found.append(msgspec.structs.replace(one, pod=pods[-1]))
        pod.ignore_unknown(kubernetes.POD_FIELDS, NO_EFFECT)
    return found, pods[0] if pods else Pod()


def container(fields: Fields, namespace: str, objects: Objects, *, is_program: bool = False) -> Container:
    """A container; ``objects`` are what its variables may refer to.

    ``is_program``: its command is what runs. Otherwise it holds a class, which needs none.
    """
    if is_program:
        found = kubernetes.container(fields, namespace, objects)
        ports = [port for port in fields.value.get("ports") or () if port.get("name") == "http"]
        port = [port["containerPort"] for port in ports] or found.ports or (PORT,)
        one = Container(
            name=found.name,
            fields=fields,
            image=found.image,
            environment=found.environment,
            resources=found.resources,
            command=found.command,
            arguments=found.arguments,
            port=int(port[0]),
            ready_path=found.ready_path,
        )
    else:
        one = Container(
            name=fields.text("name"),
            fields=fields,
            image=fields.text("image"),
            environment=kubernetes.environment(fields, namespace=namespace, objects=objects),
            resources=kubernetes.resources(fields),
        )
    if not one.image:
        fields.miss("image")
    fields.ignore_unknown(() if is_program else kubernetes.CONTAINER_FIELDS, NO_EFFECT)
    return one


# ---- how many


def _scaling(component: Fields) -> Scaling | None:
    """KEDA counts before the HorizontalPodAutoscaler, as in Seldon."""
    autoscaler, keda = component.mapping("hpaSpec"), component.mapping("kedaSpec")
    scaling = None if autoscaler is None else _autoscaler(autoscaler)
    if keda is None:
        return scaling
    if autoscaler is not None:
        component.warn("hpaSpec", "has no effect beside kedaSpec, as in Seldon")
    return _keda(keda)


def _autoscaler(fields: Fields) -> Scaling:
    least = fields.integer("minReplicas", minimum=1) or 1
    fields.require("maxReplicas")
    most = fields.integer("maxReplicas", minimum=1) or 1
    if most < least:
        raise fields.error("maxReplicas", f"expected at least minReplicas ({least}), found {most}")
    measures: list[Measure] = []
    written = fields.mappings("metrics") + fields.mappings("metricsv2")
    for metric in written:
        measures += _metric(metric)
    if not written:
        measures = [Measure(metric="cpu", target=80.0)]  # Kubernetes' own default
    elif not measures:
        fields.reader.warn(fields.path, f"no metric of it can be measured here; {least} replicas run")
        return Scaling(min_replicas=least)
    return Scaling(min_replicas=least, max_replicas=most, measures=tuple(measures))


def _metric(metric: Fields) -> list[Measure]:
    """One metric, in the shape of autoscaling/v2beta1 or v2; one that cannot be measured is warned of."""
    kind = metric.text("type", required=True)
    names = {"Resource": "resource", "ContainerResource": "containerResource"}
    metric.accept("pods", "object", "external", *names.values())
    if kind not in names:
        metric.reader.warn(metric.path, f"a metric of type {kind} cannot be measured on this machine")
        return []
    resource = metric.section(names[kind])
    resource.accept("container")
    name = resource.text("name", required=True)
    target = resource.mapping("target")
    if target is not None:
        target.text("type", choices=("Utilization", "AverageValue", "Value"))
        share, amount = target.integer("averageUtilization", minimum=1), target.raw("averageValue")
        amount_path = target.at("averageValue")
        target.ignore(("value",), "has no effect: write averageValue")
    else:
        share, amount = resource.integer("targetAverageUtilization", minimum=1), resource.raw("targetAverageValue")
        amount_path = resource.at("targetAverageValue")
    if name not in ("cpu", "memory"):
        metric.reader.warn(metric.path, f"{describe(name)} of a replica cannot be measured on this machine")
        return []
    known = "cpu" if name == "cpu" else "memory"
    if share is not None:
        return [Measure(metric=known, target=float(share))]  # type: ignore[arg-type]  # one of Metric's words
    if amount is None:
        for section in (resource, target):
            if section is not None:
                section.finish()  # a misspelt target is better news than a missing one
        raise metric.reader.error(resource.path, "expected a target, found none")
    value = kubernetes.quantity(metric.reader, amount, amount_path)
    return [Measure(metric=known, target=value, is_value=True)]  # type: ignore[arg-type]


def _keda(fields: Fields) -> Scaling:
    """Bounds are honoured; cpu and memory triggers as measures, for any other one calls at once decide."""
    least = fields.integer("minReplicaCount", minimum=0) or 0
    most = fields.integer("maxReplicaCount", minimum=1) or 100
    if most < least:
        raise fields.error("maxReplicaCount", f"expected at least minReplicaCount ({least}), found {most}")
    cooldown = fields.integer("cooldownPeriod", minimum=0)
    fields.ignore(("pollingInterval", "advanced", "idleReplicaCount", "fallback"), NO_EFFECT)
    measures: list[Measure] = []
    for trigger in fields.mappings("triggers", required=True):
        measures += _trigger(trigger)
    windows = Windows(zero_retention_seconds=float(300 if cooldown is None else cooldown))
    return Scaling(
        min_replicas=least, max_replicas=most, measures=tuple(measures) or (Measure(),), windows=windows
    )


def _trigger(trigger: Fields) -> list[Measure]:
    kind = trigger.text("type", required=True)
    metadata = trigger.mapping("metadata")
    trigger.accept("name", "authenticationRef", "useCachedMetrics")
    how = trigger.text("metricType")
    if kind not in ("cpu", "memory"):
        message = f"the trigger {describe(kind)} is not asked here; calls at once decide between the bounds"
        trigger.reader.warn(trigger.path, message)
        if metadata is not None:
            metadata.known.update(metadata.value)
        return []
    if metadata is None:
        raise trigger.error("metadata", "required, found nothing")
    how = how or metadata.text("type")
    metadata.accept("type", "containerName")
    amount = kubernetes.quantity(
        trigger.reader, metadata.text("value", required=True), child(metadata.path, "value")
    )
    known = "cpu" if kind == "cpu" else "memory"
    return [Measure(metric=known, target=amount, is_value=how == "AverageValue")]  # type: ignore[arg-type]


def scaling(pod: Pod, outer: list[int | None]) -> tuple[Scaling, bool]:
    """The scaling of a model, and whether it is told to have no replicas at all.

    ``outer`` are the wishes of predictor and spec, the innermost first.
    """
    if pod.scaling is not None:
        return pod.scaling, False
    wish = next((wish for wish in [pod.replicas, *outer] if wish is not None), 1)
    return Scaling(min_replicas=max(wish, 1)), wish == 0
