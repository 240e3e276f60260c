"""The pod template of a slot: the component's own container, its artefacts, and what the file lays over both."""

from __future__ import annotations

from typing import Any

from tiffin.dialects import pods
from tiffin.errors import SpecError
from tiffin.kube import names
from tiffin.kube.capabilities import Capabilities
from tiffin.kube.placement import Placement, Slot
from tiffin.kube.render import fetching, programs, replica
from tiffin.kube.settings import Settings
from tiffin.spec import Deployment, ModelSource

_LISTS = ("containers", "initContainers", "volumes")
_OWN_LISTS = {"env": "name", "ports": "containerPort", "volumeMounts": "mountPath"}
_PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
_KSERVE = "serving.kserve.io/inferenceservice"


def template(
    deployment: Deployment, placement: Placement, slot: Slot, settings: Settings, capabilities: Capabilities
) -> dict[str, Any]:
    """A PodTemplateSpec; the same for the same component, however many of it there are.

    Raises:
        SpecError: the component cannot run on a cluster as it is written.
    """
    pod = slot.component.pod
    _check(slot)
    own = _spec(deployment, placement, slot, settings, capabilities)
    over = programs.with_host(pod.spec, deployment, placement, slot)
    spec = _tidied(pods.merged(own, over), pod.main, port(slot))
    metadata: dict[str, Any] = {"labels": labels_of_pods(deployment, slot)}
    if annotations := _annotations(deployment, slot):
        metadata["annotations"] = annotations
    return {"metadata": metadata, "spec": spec}


def port(slot: Slot) -> int:
    """The container's port that calls come to first."""
    return programs.http_port(slot.component) if programs.is_one(slot.component) else replica.PORT


def container_ports(slot: Slot) -> list[dict[str, Any]]:
    """The ports of the slot's own container as they stand in its pods, the one for calls first."""
    component = slot.component
    found = [] if programs.is_one(component) else replica.ports(component)
    written = pods.named(component.pod.spec, component.pod.main).get("ports") or ()
    found += [one for one in written if isinstance(one, dict) and isinstance(one.get("containerPort"), int)]
    by_number = {one["containerPort"]: one for one in found}
    first = by_number.pop(port(slot), {"containerPort": port(slot)})
    return [first, *by_number.values()]


def labels(deployment: Deployment, slot: Slot) -> dict[str, str]:
    """Labels of a slot's objects: those that users of the file's system look for, and Tiffin's."""
    return {
        **names.labels(deployment, {**slot.component.pod.labels, **_usual(deployment, slot)}),
        **names.slot_labels(deployment, slot),
        **names.selector(deployment, slot),
    }


def labels_of_pods(deployment: Deployment, slot: Slot) -> dict[str, str]:
    """And which revision a pod is of."""
    return labels(deployment, slot) | ({names.REVISION: names.label(slot.revision)} if slot.revision else {})


def _spec(
    deployment: Deployment, placement: Placement, slot: Slot, settings: Settings, capabilities: Capabilities
) -> dict[str, Any]:
    """The PodSpec that Tiffin writes by itself."""
    component = slot.component
    files = fetching.delivery(slot, settings, capabilities)
    is_program = programs.is_one(component)
    if is_program:
        main = programs.container(deployment, placement, slot, capabilities)
    else:
        main = replica.container(deployment, placement, slot, settings, capabilities)
    if files.mounts:
        main["volumeMounts"] = [*main.get("volumeMounts", ()), *files.mounts]
    if files.user is not None:
        main["securityContext"] = {**main.get("securityContext", {}), "runAsUser": files.user}
    found: dict[str, Any] = {"containers": [main]}
    if not is_program:
        found["terminationGracePeriodSeconds"] = replica.grace_seconds(component)
        found["enableServiceLinks"] = False
    if isinstance(component.source, ModelSource):
        # The server asks nothing of the cluster.
        found["automountServiceAccountToken"] = False
    volumes = list(files.volumes)
    if not is_program or any(one["name"] == fetching.INITIALIZER for one in files.containers):
        volumes.append({"name": replica.SCRATCH, "emptyDir": {}})
    if files.containers:
        found["initContainers"] = files.containers
    if volumes:
        found["volumes"] = volumes
    if files.shares_processes:
        found["shareProcessNamespace"] = True
    return found


def _check(slot: Slot) -> None:
    """Refuse lists that Tiffin adds to and cannot: the API server has the say of everything else."""
    spec = slot.component.pod.spec
    own = pods.named(spec, slot.component.pod.main)
    at = f"{slot.component.name}.pod"
    for where, fields, keys in ((spec, _LISTS, "name"), (own, _OWN_LISTS, "")):
        for name in fields:
            key = keys or _OWN_LISTS[name]
            items = where.get(name)
            if items is None:
                continue
            if not isinstance(items, list) or not all(isinstance(one, dict) for one in items):
                raise SpecError("expected a list of mappings, found something else", at=f"{at}.{name}")
            if any(not isinstance(one.get(key), str | int) for one in items):
                hint = "Kubernetes tells the items of this list apart by it"
                raise SpecError(f"expected each to have {key!r}, found one without", hint=hint, at=f"{at}.{name}")


def _tidied(spec: dict[str, Any], main: str, number: int) -> dict[str, Any]:
    """The component's own container first; a port where a probe names none, as KServe allows it.

    A hook that waits as long as the pod has to end is left out: the API server would refuse it.
    """
    own, *others = sorted(spec["containers"], key=lambda one: one.get("name") != main)
    grace = spec.get("terminationGracePeriodSeconds")
    if isinstance(grace, int) and grace <= replica.SETTLE_SECONDS and "sleep" in _hook(own):
        own = {name: value for name, value in own.items() if name != "lifecycle"}
    return {**spec, "containers": [_probed(own, number), *others]}


def _hook(container: dict[str, Any]) -> dict[str, Any]:
    found = container.get("lifecycle")
    hook = found.get("preStop") if isinstance(found, dict) else None
    return hook if isinstance(hook, dict) else {}


def _probed(container: dict[str, Any], number: int) -> dict[str, Any]:
    found = dict(container)
    for name in _PROBES:
        probe = found.get(name)
        if not isinstance(probe, dict):
            continue
        for how in ("httpGet", "tcpSocket", "grpc"):
            asked = probe.get(how)
            if isinstance(asked, dict) and "port" not in asked:
                found[name] = {**probe, how: {**asked, "port": number}}
    return found


# ---- what users of other systems look for


def _usual(deployment: Deployment, slot: Slot) -> dict[str, str]:
    if deployment.dialect == "kserve":
        return {_KSERVE: names.label(deployment.name), "component": names.label(slot.component.name)}
    variant = next((one for one in deployment.all_variants if one.name == slot.variant), None)
    if deployment.dialect != "seldon":
        return {name: names.label(value) for name, value in variant.labels.items()} if variant else {}
    kind = "explainer" if slot.component.name == "explainer" else "model"
    found = {
        "version": names.label(slot.variant),
        **(variant.labels if variant else {}),
        "seldon-deployment-id": names.label(deployment.name),
        "seldon-app": names.service(deployment, slot),
        names.APP: names.workload(deployment, slot),
        "fluentd": "true",
        f"seldon.io/{kind}": "true",
    }
    return found | ({"seldon.io/shadow": "true"} if variant and variant.mirror_percent is not None else {})


def _annotations(deployment: Deployment, slot: Slot) -> dict[str, str]:
    """The pods' own, and for Seldon's users where their Prometheus finds metrics."""
    written = slot.component.pod.annotations
    if deployment.dialect != "seldon":
        return dict(written)
    is_program = programs.is_one(slot.component)
    shown = (programs.METRICS_PORT, "/prometheus") if is_program else (replica.PORT, "/metrics")
    if isinstance(slot.component.source, ModelSource) or slot.component.name == "predictor":
        usual = {
            "prometheus.io/scrape": "true",
            "prometheus.io/port": str(shown[0]),
            "prometheus.io/path": shown[1],
        }
        return usual | written
    return dict(written)
