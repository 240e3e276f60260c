"""One predictor as the components of a variant: the model, and an explainer beside it."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from tiffin.dialects import (
    seldon_annotations,
    seldon_composing,
    seldon_credentials,
    seldon_graph,
    seldon_pods,
)
from tiffin.dialects.fields import ELSEWHERE, LATER, NO_EFFECT, Fields, describe
from tiffin.dialects.resources import Resources as Objects
from tiffin.dialects.seldon_annotations import Annotated
from tiffin.dialects.seldon_credentials import Secrets
from tiffin.spec import Artefact, ClassSource, Component, ContainerSource, ModelSource, Resources, Scaling

MODELS = "/mnt/models"


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """What a predictor needs to know of the rest of the file."""

    name: str
    protocol: str
    base: str
    namespace: str
    resources: Objects
    replicas: int | None
    annotations: list[Annotated]
    """Of ``spec`` and ``metadata``, the innermost first."""

    @property
    def secrets(self) -> Secrets:
        """The values of the secrets it may name."""
        if self.resources.on_cluster:
            return None
        return {
            secret.name: secret.data for secret in self.resources.secrets if secret.namespace == self.namespace
        }


class Around(msgspec.Struct, frozen=True, kw_only=True):
    """What a predictor says of the pods of all its parts; ``annotations`` are those of ``spec``, too."""

    name: str
    labels: dict[str, str]
    annotations: dict[str, str]
    progress_seconds: int | None = None


class Predictor(msgspec.Struct, frozen=True, kw_only=True):
    """One predictor, read. ``unit`` is the name of its graph's node; ``service`` of its Kubernetes Service."""

    name: str
    fields: Fields
    components: tuple[Component, ...]
    unit: str
    service: str
    labels: dict[str, str]
    annotations: dict[str, str]
    is_shadow: bool
    traffic: int | None
    is_stopped: bool


def read(predictor: Fields, context: Context) -> Predictor:
    """A predictor of the file.

    Raises:
        SpecError: Seldon would refuse it, or it asks for what is not served.
    """
    name = predictor.text("name", required=True)
    annotated = seldon_annotations.read(predictor)
    labels = {"version": name} | predictor.text_map("labels")
    traffic, is_shadow = predictor.integer("traffic"), bool(predictor.flag("shadow"))
    explainer = predictor.mapping("explainer")
    _orchestrator(predictor)
    predictor.ignore(("engineResources",), "has no effect: Tiffin needs no orchestrator")
    predictor.ignore_each(("ssl",), ELSEWHERE)
    predictor.ignore(("progressDeadlineSeconds",), NO_EFFECT, "local")
    progress = predictor.integer("progressDeadlineSeconds", minimum=1)
    replicas = predictor.integer("replicas", minimum=0)
    containers, pod = seldon_pods.containers(
        predictor, context.namespace, context.resources, are_programs=context.protocol == "tensorflow"
    )
    graph = predictor.section("graph")
    predictor.finish()  # a misspelt field is better news than a container that cannot be found
    unit = graph.text("name", required=True)
    around = Around(
        name=name,
        labels=labels,
        annotations=context.annotations[0].values | annotated.values,
        progress_seconds=progress,
    )
    component, pod = _component(graph, containers, pod, context, around)
    scaling, is_stopped = seldon_pods.scaling(pod, [replicas, context.replicas])
    component = msgspec.structs.replace(component, scaling=scaling)
    if seconds := seldon_annotations.timeout([annotated, *context.annotations]):
        component = msgspec.structs.replace(component, timeout_seconds=seconds)
    components: tuple[Component, ...] = (component,)
    if explainer is not None and (found := _explainer(explainer, unit, context, around)) is not None:
        components += (found,)
    return Predictor(
        name=name,
        fields=predictor,
        components=components,
        unit=unit,
        service=annotated.values.get(seldon_annotations.SERVICE, "") or f"{context.name}-{name}",
        labels=labels,
        annotations=annotated.values,
        is_shadow=is_shadow,
        traffic=traffic,
        is_stopped=is_stopped,
    )


def _orchestrator(predictor: Fields) -> None:
    fields = predictor.mapping("svcOrchSpec")
    if fields is None:
        return
    fields.ignore(("resources", "replicas"), "has no effect: Tiffin needs no orchestrator")
    for variable in fields.mappings("env"):
        name = variable.text("name", required=True)
        variable.accept("value", "valueFrom")
        if name == "SELDON_ENABLE_ROUTING_INJECTION":
            message = "has no effect: a graph of one node has no routing to write into answers"
        else:
            message = "has no effect: Tiffin needs no orchestrator"
        variable.reader.warn(variable.path, f"{describe(name)} {message}")


def _component(
    graph: Fields,
    containers: list[seldon_pods.Container],
    pod: seldon_pods.Pod,
    context: Context,
    around: Around,
) -> tuple[Component, seldon_pods.Pod]:
    """The model, and the pod it is in: the first one, for a prepackaged server without a container."""
    unit = graph.text("name")
    seldon_graph.check(graph, context.protocol)
    server = seldon_graph.server(graph)
    parameters = seldon_graph.parameters(graph)
    logger = seldon_graph.logger(graph)
    source: ModelSource | ClassSource | ContainerSource
    if server:
        container = next((found for found in containers if found.name == unit), None)
        source = seldon_graph.model(graph, server, parameters, context.protocol, context.base, context.secrets)
        own = seldon_composing.laid_over(container, unit)
        if container is not None and container.image:
            container.fields.warn("image", "has no effect: Tiffin loads the model itself")
    else:
        graph.ignore(
            ("modelUri", "envSecretRefName", "storageInitializerImage", "serviceAccountName"),
            "is read by prepackaged servers only; name one in `implementation`",
        )
        graph.finish()
        container = seldon_graph.container_of(graph, unit, containers)
        source = seldon_graph.program(graph, container, parameters, context.protocol, context.base)
        own = seldon_composing.program(
            container,
            unit,
            parameters,
            deployment=context.name,
            predictor=around.name,
            protocol=context.protocol,
            labels=around.labels,
        )
    pod = container.pod if container else pod
    beside = _beside([other for other in containers if other is not container], pod)
    if isinstance(source, ClassSource) and container and graph.reader.target == "kubernetes":
        source = _as_program(source, container)  # nobody but a container engine can look into its image there
    component = Component(
        source=source,
        resources=container.resources if container else Resources(),
        environment=container.environment if container else {},
        logger=logger,
        pod=seldon_composing.composed(
            own,
            pod,
            labels=around.labels,
            annotations=around.annotations,
            beside=beside,
            progress_seconds=around.progress_seconds,
            account=graph.text("serviceAccountName") if server else "",
        ),
    )
    return component, pod


def _as_program(source: ClassSource, container: seldon_pods.Container) -> ContainerSource:
    """The class as the program of its image, which Seldon's own wrapper serves."""
    ports = [port for port in container.raw.get("ports") or [] if isinstance(port, dict)]
    named = [port.get("containerPort") for port in ports if port.get("name") == "http"]
    port = named[0] if named and isinstance(named[0], int) else container.port
    return ContainerSource(image=source.image, port=port)


def _beside(others: list[seldon_pods.Container], pod: seldon_pods.Pod) -> list[dict[str, Any]]:
    """The containers that run in the model's pods on a cluster; those of other pods are nobody's."""
    found = []
    for other in others:
        said = f'the container "{other.name}" beside the model '
        other.fields.reader.warn(other.fields.path, said + NO_EFFECT, "local")
        if other.pod is pod:
            found.append(other.raw)
        else:
            message = f"{said}is in a pod of its own, which {LATER}"
            other.fields.reader.warn(other.fields.path, message, "kubernetes")
    return found


def _explainer(fields: Fields, unit: str, context: Context, around: Around) -> Component | None:
    """The explainer, when it is a container; ``None`` when the field says nothing."""
    kind, uri = fields.text("type"), fields.text("modelUri")
    replicas = fields.integer("replicas", minimum=0)
    initial = fields.text("initParameters")
    options = fields.text_map("config", scalars=True)
    written = fields.mapping("containerSpec")
    endpoint = fields.mapping("endpoint")
    if endpoint is not None:
        if endpoint.text("type", choices=("", "REST", "GRPC")) == "GRPC":
            raise endpoint.error("type", f"gRPC {LATER}", "write type: REST, or leave it out")
        endpoint.accept("service_host", "service_port", "httpPort", "grpcPort")
    container = (
        None
        if written is None
        else seldon_pods.container(written, context.namespace, context.resources, is_program=True)
    )
    if initial:
        try:
            json.loads(initial)
        except ValueError:
            raise fields.error("initParameters", f"expected JSON in a string, found {describe(initial)}") from None
    if container is None or not container.image:
        fields.accept("serviceAccountName", "envSecretRefName", "storageInitializerImage")
        if not kind:
            for name in ("modelUri", "config", "initParameters"):
                fields.refuse(name, "expected a type or a containerSpec.image beside it, found none")
            return None
        fields.finish()
        hint = "give containerSpec.image of an explainer of your own, or leave the explainer out"
        raise fields.error("type", f"{kind}: explainers by type come with a later version of Tiffin", hint)
    if initial:
        fields.warn("initParameters", "has no effect on a container of one's own")
    uri, credentials = seldon_credentials.of(fields, uri, context.secrets)
    fields.ignore(("serviceAccountName",), NO_EFFECT, "local")
    fields.ignore_each(("storageInitializerImage",), ELSEWHERE)
    arguments = container.arguments + explainer_flags(kind, uri, options, context.name, container.port)
    source = ContainerSource(
        image=container.image,
        command=container.command,
        arguments=arguments,
        port=container.port,
        ready_path=container.ready_path,
        mounts={MODELS: Artefact(uri=uri, base=context.base)} if uri else {},
        credentials=credentials,
    )
    if credentials:
        fields.warn(
            "envSecretRefName",
            "is not used to fetch what a container mounts; the shell's credentials are",
            "local",
        )
    account = fields.text("serviceAccountName")
    raw = {**container.raw, "name": container.name or "explainer", "args": list(arguments)}
    return Component(
        name="explainer",
        source=source,
        calls="predictor",
        scaling=Scaling(min_replicas=max(1, replicas or 1)),
        resources=container.resources,
        environment=container.environment,
        pod=seldon_composing.composed(
            raw, seldon_pods.Pod(), labels=around.labels, annotations=around.annotations, account=account
        ),
    )


def explainer_flags(kind: str, uri: str, options: dict[str, str], name: str, port: int) -> tuple[str, ...]:
    """What Seldon appends to the arguments of an explainer; who starts it knows where the predictor is."""
    found = [
        f"--model_name={name}",
        "--predictor_host=$(PREDICTOR_HOST)",
        "--protocol=seldon.http",
        f"--http_port={port}",
    ]
    if uri:
        found.append(f"--storage_uri={MODELS}")
    if kind:
        found.append(kind)
    return (*found, *(f"--{key}={value}" for key, value in sorted(options.items())))
