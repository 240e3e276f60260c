"""The containers of programs that are run as they are: custom predictors, transformers, runtimes of users."""

from __future__ import annotations

import json
from typing import Any

from tiffin.dialects import pods, seldon_images, seldon_pods
from tiffin.kube import names
from tiffin.kube.capabilities import Capabilities
from tiffin.kube.placement import Placement, Slot
from tiffin.kube.render import calling, images, replica
from tiffin.spec import ClassSource, Component, ContainerSource, Deployment

METRICS_PORT = 6000
"""Where Seldon's Python wrapper shows its metrics."""


def is_one(component: Component) -> bool:
    """Whether the component's image is started as it is; an image of Seldon's may be anybody's."""
    source = component.source
    return isinstance(source, ContainerSource) or (isinstance(source, ClassSource) and bool(source.image))


def container(
    deployment: Deployment, placement: Placement, slot: Slot, capabilities: Capabilities
) -> dict[str, Any]:
    """The container, before what the file says is laid over it.

    Where the file has the whole container, this is only what it leaves open.
    """
    component = slot.component
    written = pods.named(component.pod.spec, component.pod.main)
    program, port = component, http_port(component)
    if isinstance(component.source, ClassSource):
        program = seldon_images.program(component, component.source)
    found: dict[str, Any] = {
        "name": component.pod.main,
        "image": images.of_source(component),
        "imagePullPolicy": "IfNotPresent",
    }
    own = _told(deployment, slot) if isinstance(component.source, ClassSource) else {}
    if written.get("image"):
        taken = {name: value for name, value in program.environment.items() if name not in component.environment}
    else:
        # Made of a file that has no pods: what it says stands in the spec alone.
        taken = {name: one for name, one in program.environment.items() if name not in component.secret_variables}
        assert isinstance(program.source, ContainerSource)
        found |= {"command": list(program.source.command)} if program.source.command else {}
        if program.source.arguments:
            host = _host(deployment, placement, slot)
            found["args"] = [_escaped_but(word, host) for word in program.source.arguments]
        if wishes := replica.resources(component.resources):
            found["resources"] = wishes
    if deployment.dialect == "kserve":
        taken.setdefault("INFERENCE_SERVICE_NAME", deployment.name)
    if not written.get("ports"):
        found["ports"] = [{"containerPort": port, "protocol": "TCP"}]
    env = [{"name": name, "value": replica.escaped(value)} for name, value in {**taken, **own}.items()]
    if env:
        found["env"] = env
    found["readinessProbe"] = _ready(component, port)
    if capabilities.sleep_hooks:
        # Any program ends well then; without such hooks one would need a shell in the image.
        found["lifecycle"] = {"preStop": replica.waiting(capabilities)}
    return found


def http_port(component: Component) -> int:
    """The port of a program that its Service leads to."""
    if isinstance(component.source, ContainerSource):
        return component.source.port
    written = pods.named(component.pod.spec, component.pod.main).get("ports") or ()
    named = [one for one in written if isinstance(one, dict) and one.get("name") == "http"]
    found = [one.get("containerPort") for one in [*named, *written] if isinstance(one, dict)]
    return found[0] if found and isinstance(found[0], int) else seldon_pods.PORT


def with_host(value: Any, deployment: Deployment, placement: Placement, slot: Slot) -> Any:
    """A part of a pod with the address of the component that is called."""
    host = _host(deployment, placement, slot)
    return pods.filled(value, lambda text: text.replace(calling.PREDICTOR_HOST, host)) if host else value


def _host(deployment: Deployment, placement: Placement, slot: Slot) -> str:
    called = slot.component.calls
    return calling.short(deployment, placement, slot, called) if called else ""


def _escaped_but(word: str, host: str) -> str:
    if not host:
        return replica.escaped(word)
    return host.join(replica.escaped(part) for part in word.split(calling.PREDICTOR_HOST))


def _ready(component: Component, port: int) -> dict[str, Any]:
    """KServe's: somebody takes connections. A file that names a path has it in its own probe."""
    source = component.source
    path = source.ready_path if isinstance(source, ContainerSource) else ""
    how: dict[str, Any] = {"httpGet": {"path": path, "port": port}} if path else {"tcpSocket": {"port": port}}
    return {**how, "timeoutSeconds": 1, "periodSeconds": 10, "failureThreshold": 3}


def _told(deployment: Deployment, slot: Slot) -> dict[str, str]:
    """What Seldon's Python wrapper, and an image of Tiffin's, are told beside the unit itself."""
    port = str(http_port(slot.component))
    variant = next((one for one in deployment.all_variants if one.name == slot.variant), None)
    return {
        # Where an image that Tiffin made listens.
        "PORT": port,
        "PREDICTIVE_UNIT_SERVICE_PORT": port,
        "PREDICTIVE_UNIT_HTTP_SERVICE_PORT": port,
        "PREDICTIVE_UNIT_METRICS_SERVICE_PORT": str(METRICS_PORT),
        "PREDICTIVE_UNIT_METRICS_ENDPOINT": "/prometheus",
        "PREDICTOR_ID": slot.variant,
        "PREDICTOR_LABELS": json.dumps(variant.labels if variant else {}, sort_keys=True),
        "SELDON_DEPLOYMENT_ID": names.label(deployment.name),
    }
