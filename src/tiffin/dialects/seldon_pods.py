"""``componentSpecs[]`` of a predictor: its containers, and what it says of their pods.

How many there are is read next door, in ``seldon_scaling``; the innermost number of replicas counts.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tiffin.dialects import kubernetes, seldon_scaling
from tiffin.dialects.fields import ELSEWHERE, NO_EFFECT, Fields
from tiffin.dialects.resources import Resources as Objects
from tiffin.spec import Resources, Scaling

PORT = 9000
"""Where Seldon lets the first container listen."""


class Pod(msgspec.Struct, frozen=True):
    """What a componentSpec says; ``replicas`` and ``scaling`` are ``None`` where it says nothing.

    ``spec`` is its PodSpec without containers; ``containers`` are all of them, as they were written.
    """

    replicas: int | None = None
    scaling: Scaling | None = None
    spec: dict[str, Any] = {}
    containers: tuple[dict[str, Any], ...] = ()
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    disruption: dict[str, Any] = {}


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
    raw: dict[str, Any] = {}
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
        read, own = _component(component, namespace, objects, are_programs=are_programs)
        pods.append(own)
        found += (msgspec.structs.replace(one, pod=own) for one in read)
    return found, pods[0] if pods else Pod()


def _component(
    component: Fields, namespace: str, objects: Objects, *, are_programs: bool
) -> tuple[list[Container], Pod]:
    replicas, scaling = component.integer("replicas", minimum=0), seldon_scaling.read(component)
    component.ignore(("pdbSpec",), "has no effect: nothing evicts replicas from this machine", "local")
    disruption = component.mapping("pdbSpec")
    labels, annotations = _metadata(component)
    pod = component.mapping("spec")
    component.finish()
    budget = {} if disruption is None else _budget(disruption)
    if pod is None:
        return [], Pod(replicas, scaling, labels=labels, annotations=annotations, disruption=budget)
    pod.accept(*kubernetes.POD_FIELDS)  # initContainers is no slip of the pen
    pod.miss("containers")
    read = [container(one, namespace, objects, is_program=are_programs) for one in pod.mappings("containers")]
    spec = pod.for_pods(kubernetes.POD_FIELDS)
    pod.ignore_unknown()
    raw = tuple(one.raw for one in read)
    return read, Pod(replicas, scaling, spec, raw, labels, annotations, budget)


def _budget(fields: Fields) -> dict[str, Any]:
    """``pdbSpec``, which is that of a PodDisruptionBudget as far as it goes."""
    names = ("minAvailable", "maxUnavailable")
    found = {name: fields.raw(name) for name in names if fields.has(name)}
    fields.finish()
    return found


def _metadata(component: Fields) -> tuple[dict[str, str], dict[str, str]]:
    """The labels and annotations of the pods."""
    meta = component.mapping("metadata")
    if meta is None:
        return {}, {}
    if any(value for key, value in meta.value.items() if key != "creationTimestamp"):
        component.warn("metadata", NO_EFFECT, "local")
    labels, annotations = meta.text_map("labels"), meta.text_map("annotations")
    meta.accept("creationTimestamp")
    meta.ignore([name for name in meta.value if name not in meta.known], ELSEWHERE, "kubernetes")
    return labels, annotations


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
            raw=found.raw,
        )
    else:
        one = Container(
            name=fields.text("name"),
            fields=fields,
            image=fields.text("image"),
            environment=kubernetes.environment(fields, namespace=namespace, objects=objects),
            resources=kubernetes.resources(fields),
            raw=kubernetes.raw(fields),
        )
        fields.ignore(kubernetes.CONTAINER_FIELDS, NO_EFFECT, "local")
    if not one.image:
        fields.miss("image")
    fields.ignore_unknown()
    return one


def scaling(pod: Pod, outer: list[int | None]) -> tuple[Scaling, bool]:
    """The scaling of a model, and whether it is told to have no replicas at all.

    ``outer`` are the wishes of predictor and spec, the innermost first.
    """
    if pod.scaling is not None:
        return pod.scaling, False
    wish = next((wish for wish in [pod.replicas, *outer] if wish is not None), 1)
    return Scaling(min_replicas=max(wish, 1)), wish == 0
