"""The container that runs Tiffin's own server: for a saved model, or for a service from its image."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from tiffin.kube.capabilities import Capabilities
from tiffin.kube.placement import Placement, Slot
from tiffin.kube.render import calling, images
from tiffin.kube.settings import Settings
from tiffin.spec import (
    Component,
    Deployment,
    Limits,
    Listen,
    ModelSource,
    Pod,
    Policy,
    ReplicaSpec,
    Resources,
    Scaling,
)
from tiffin.spec.replica import written

PORT = 8080
GRPC_PORT = 8081
MODELS = "/mnt/models"
BUNDLE = "/home/tiffin/bundle/src"
"""Where an image that ``tiffin image`` made has the sources of its bundle."""
SETTLE_SECONDS = 5
"""After a pod is told to go it still gets calls until every node knows: it answers them as usual for so long."""
MARGIN_SECONDS = 10
STARTUP_SECONDS = 300
"""How long a server may take until it listens; loading comes after that, and takes as long as it takes."""
SCRATCH = "tiffin-scratch"
"""The volume that is ``/tmp``."""

RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
"""What Kubernetes' ``restricted`` standard asks of a container."""


def container(
    deployment: Deployment, placement: Placement, slot: Slot, settings: Settings, capabilities: Capabilities
) -> dict[str, Any]:
    """The container, before what the file says is laid over it.

    Raises:
        SpecError: its files are on a machine that a cluster does not reach.
    """
    component = slot.component
    is_model = isinstance(component.source, ModelSource)
    order = replica(deployment, placement, slot, settings)
    found: dict[str, Any] = {
        "name": component.pod.main,
        "image": settings.runtime_image if is_model else images.of_source(component),
        "imagePullPolicy": settings.image_pull_policy if is_model else "IfNotPresent",
        "command": ["python", "-m", "tiffin.runtime"],
        "args": ["--replica-json", escaped(written(order))],
        "ports": ports(component),
        **probes(capabilities),
        "securityContext": dict(RESTRICTED),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": SCRATCH, "mountPath": "/tmp"}],
    }
    if is_model:
        # An author's service may write beside itself; the server does not.
        found["securityContext"]["readOnlyRootFilesystem"] = True
    elsewhere = f"http://{{name}}-predictor.{{namespace}}.svc.{settings.cluster_domain}"
    # Or where ``depends(deployment=...)`` of a service finds others.
    usual = {"HOME": "/tmp", "TIFFIN_HOME": "/tmp/tiffin"} if is_model else {"TIFFIN_DEPLOYMENTS": elsewhere}
    if deployment.dialect == "kserve":
        usual["INFERENCE_SERVICE_NAME"] = deployment.name
    found["env"] = variables(component, usual)
    if wishes := resources(component.resources):
        found["resources"] = wishes
    return found


def replica(deployment: Deployment, placement: Placement, slot: Slot, settings: Settings) -> ReplicaSpec:
    """What the server is told. Nothing of it is secret, and nothing changes with the number of replicas."""
    component = slot.component
    drain = drain_seconds(component)
    return ReplicaSpec(
        deployment=deployment.name,
        namespace=deployment.namespace,
        model_name=component.model_name or deployment.name,
        protocol=deployment.protocol,
        component=_bare(component),
        path=MODELS if isinstance(component.source, ModelSource) else BUNDLE,
        listen=Listen(host="0.0.0.0", port=PORT),
        grpc=Listen(host="0.0.0.0", port=GRPC_PORT) if component.grpc else None,
        limits=Limits(drain_seconds=drain),
        variant=slot.variant,
        dependencies={
            name: f"http://{calling.whole(deployment, placement, slot, other, settings)}"
            for name, other in sorted(component.dependencies.items())
            if other
        },
    )


def _bare(component: Component) -> Component:
    """Without what others see to: the environment, credentials, signatures, numbers, pods."""
    source = component.source
    if isinstance(source, ModelSource):
        source = msgspec.structs.replace(source, credentials={})
    return msgspec.structs.replace(
        component,
        source=source,
        environment={},
        secret_variables=(),
        scaling=Scaling(),
        policy=Policy(),
        pod=Pod(),
    )


def drain_seconds(component: Component) -> float:
    """The time that calls in hand get: a whole call's, where that is longer than usual.

    Where the file says how long a pod has to end, what that leaves.
    """
    written = component.pod.spec.get("terminationGracePeriodSeconds")
    if isinstance(written, int):
        return float(max(1, written - SETTLE_SECONDS - MARGIN_SECONDS))
    return max(Limits().drain_seconds, component.timeout_seconds or 0.0)


def grace_seconds(component: Component) -> int:
    """``terminationGracePeriodSeconds``: until no more calls come, those in hand are answered, and it ended."""
    return SETTLE_SECONDS + math.ceil(drain_seconds(component)) + MARGIN_SECONDS


def ports(component: Component) -> list[dict[str, Any]]:
    """The ports of the container; the first one is its HTTP."""
    found: list[dict[str, Any]] = [{"name": "http", "containerPort": PORT, "protocol": "TCP"}]
    if component.grpc:
        found.append({"name": "grpc", "containerPort": GRPC_PORT, "protocol": "TCP"})
    return found


def variables(component: Component, usual: Mapping[str, str]) -> list[dict[str, Any]]:
    """The environment that was written out, above ``usual``.

    What comes from a secret stands in the pod's own words alone.
    """
    written = {
        name: value for name, value in component.environment.items() if name not in component.secret_variables
    }
    return [{"name": name, "value": escaped(value)} for name, value in {**usual, **written}.items()]


def escaped(text: str) -> str:
    """Text in which Kubernetes fills in nothing: ``$(NAME)`` stays as it is."""
    return text.replace("$", "$$")


def probes(capabilities: Capabilities) -> dict[str, Any]:
    """It listens before it loads, so that only a server that hangs is started anew, and never a slow model."""
    return {
        "startupProbe": _asked("/livez", every=1, failures=STARTUP_SECONDS),
        "readinessProbe": _asked("/readyz", every=1, failures=3),
        "livenessProbe": _asked("/livez", every=10, failures=6, seconds=5),
        "lifecycle": {"preStop": waiting(capabilities)},
    }


def _asked(path: str, *, every: int, failures: int, seconds: int = 2) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": PORT},
        "periodSeconds": every,
        "timeoutSeconds": seconds,
        "failureThreshold": failures,
    }


def waiting(capabilities: Capabilities) -> dict[str, Any]:
    """A hook that waits until nobody sends calls any more."""
    if capabilities.sleep_hooks:
        return {"sleep": {"seconds": SETTLE_SECONDS}}
    return {"exec": {"command": ["python", "-c", f"import time; time.sleep({SETTLE_SECONDS})"]}}


def resources(wish: Resources) -> dict[str, Any]:
    """``resources`` of a container."""
    requests: dict[str, str] = {}
    limits: dict[str, str] = {}
    if wish.cpu is not None:
        cores = round(wish.cpu * 1000)
        requests["cpu"] = f"{cores}m" if cores % 1000 else str(cores // 1000)
    if wish.memory_bytes is not None:
        requests["memory"] = quantity(wish.memory_bytes)
    if wish.memory_limit_bytes is not None:
        limits["memory"] = quantity(wish.memory_limit_bytes)
    if wish.gpu:
        limits["nvidia.com/gpu"] = str(math.ceil(wish.gpu))
    return {name: amounts for name, amounts in (("requests", requests), ("limits", limits)) if amounts}


def quantity(amount: int) -> str:
    """Bytes as Kubernetes writes them, with the greatest unit that they are a whole number of."""
    for base, units in ((1024, ("Ki", "Mi", "Gi", "Ti")), (1000, ("k", "M", "G", "T"))):
        unit = 0
        while unit < len(units) and amount and amount % base ** (unit + 1) == 0:
            unit += 1
        if unit:
            return f"{amount // base**unit}{units[unit - 1]}"
    return str(amount)
