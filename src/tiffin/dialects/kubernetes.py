"""The parts that KServe and Seldon files take from Kubernetes: metadata, containers, quantities.

A Pod says much that concerns a cluster (where to run, which volumes, which probes). Tiffin reads the image, the
environment and the resources of a container; the rest goes to a cluster as it is, and is listed as having no
effect on one machine.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from tiffin.dialects import pods
from tiffin.dialects.documents import child
from tiffin.dialects.fields import ELSEWHERE, NO_EFFECT, Fields, Reader, describe
from tiffin.spec import Resources

if TYPE_CHECKING:
    from tiffin.dialects.resources import Resources as Objects

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_VARIABLE = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")

# What an API server writes into an object; `kubectl get -o yaml` shows it, and it asks for nothing.
_WRITTEN_BY_THE_SERVER = (
    "creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "finalizers", "generateName",
    "generation", "managedFields", "ownerReferences", "resourceVersion", "selfLink", "uid", "clusterName",
)  # fmt: skip

POD_FIELDS = (
    "activeDeadlineSeconds", "affinity", "automountServiceAccountToken", "dnsConfig", "dnsPolicy",
    "enableServiceLinks", "ephemeralContainers", "hostAliases", "hostIPC", "hostNetwork", "hostPID", "hostUsers",
    "hostname", "hostnameOverride", "imagePullSecrets", "initContainers", "nodeName", "nodeSelector", "os",
    "overhead", "preemptionPolicy", "priority", "priorityClassName", "readinessGates", "resourceClaims",
    "resources", "restartPolicy", "runtimeClassName", "schedulerName", "schedulingGates", "securityContext",
    "serviceAccount", "serviceAccountName", "setHostnameAsFQDN", "shareProcessNamespace", "subdomain",
    "terminationGracePeriodSeconds", "tolerations", "topologySpreadConstraints", "volumes",
)  # fmt: skip

CONTAINER_FIELDS = (
    "args", "command", "envFrom", "imagePullPolicy", "lifecycle", "livenessProbe", "ports", "readinessProbe",
    "resizePolicy", "restartPolicy", "restartPolicyRules", "securityContext", "startupProbe", "stdin", "stdinOnce",
    "terminationMessagePath", "terminationMessagePolicy", "tty", "volumeDevices", "volumeMounts", "workingDir",
)  # fmt: skip


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    namespace: str
    labels: dict[str, str]
    annotations: dict[str, str]


def metadata(
    root: Fields,
    active: frozenset[str] = frozenset(),
    honoured: frozenset[str] = frozenset(),
    *,
    is_dotted: bool = False,
) -> Metadata:
    """``metadata`` of an object, its name and namespace checked; ``is_dotted`` names may have several parts.

    ``active`` are the labels and annotations that would make another system behave otherwise: they are kept, and
    a warning says that they change nothing; those of them that are ``honoured`` do on a cluster.
    """
    fields = root.section("metadata")
    name = fields.text("name", required=True)
    namespace = fields.text("namespace") or "default"
    for field, value in (("name", name), ("namespace", namespace)):
        parts = value.split(".") if is_dotted and field == "name" else [value]
        if not all(LABEL.fullmatch(part) for part in parts):
            expected = (
                "expected up to 63 lower case letters, digits and dashes, with a letter or digit at both ends"
            )
            raise fields.error(field, f"{expected}, found {describe(value)}")
    labels, annotations = fields.text_map("labels"), fields.text_map("annotations")
    fields.accept(*_WRITTEN_BY_THE_SERVER)
    fields.finish()  # a misspelt namespace is better news than a secret that is not in it
    for field, written in (("labels", labels), ("annotations", annotations)):
        for key in sorted(active & written.keys()):
            path = child(fields.at(field), key)
            fields.reader.warn(path, f"is kept, but {NO_EFFECT}", "local")
            if key not in honoured:
                fields.reader.warn(path, f"is kept, but {ELSEWHERE}", "kubernetes")
    return Metadata(name=name, namespace=namespace, labels=labels, annotations=annotations)


class Container(msgspec.Struct, frozen=True, kw_only=True):
    """What is read of a container. ``ports`` are those it says it listens on, in their order.

    ``ready_path`` is where its readiness probe asks. Nothing in ``$()`` is filled in yet, but in ``environment``.
    ``raw`` is the container as it was written, for a cluster.
    """

    name: str = ""
    image: str = ""
    command: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    environment: dict[str, str] = {}
    secret_variables: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    ready_path: str = ""
    resources: Resources = Resources()
    raw: dict[str, Any] = {}


def container(fields: Fields, namespace: str = "default", objects: Objects | None = None) -> Container:
    """A container of a Pod; whatever is not read of it is listed as having no effect on one machine."""
    found = Container(
        name=fields.text("name"),
        image=fields.text("image"),
        command=fields.texts("command"),
        arguments=fields.texts("args"),
        environment=environment(fields, namespace=namespace, objects=objects),
        secret_variables=secret_variables(fields),
        ports=_ports(fields),
        ready_path=_ready_path(fields),
        resources=resources(fields),
        raw=raw(fields),
    )
    fields.ignore([name for name in CONTAINER_FIELDS if name not in _READ], NO_EFFECT, "local")
    return found


_READ = ("args", "command", "ports", "readinessProbe")
_WRITTEN = frozenset(("name", "image", "env", "resources", *CONTAINER_FIELDS))


def raw(container: Fields) -> dict[str, Any]:
    """The fields of a container as they were written."""
    written = {name: value for name, value in container.value.items() if name in _WRITTEN and value is not None}
    return {name: pods.compact(value) for name, value in written.items()}


def _ports(fields: Fields) -> tuple[int, ...]:
    found = []
    for port in fields.mappings("ports"):
        number = port.integer("containerPort", minimum=1, maximum=65535)
        port.accept("name", "protocol", "hostPort", "hostIP")
        if number is None:
            port.require("containerPort")
        elif port.value.get("protocol") in (None, "TCP"):
            found.append(number)
    return tuple(found)


def _ready_path(fields: Fields) -> str:
    probe = fields.mapping("readinessProbe")
    if probe is None:
        return ""
    get = probe.mapping("httpGet")
    probe.ignore(("exec", "grpc"), NO_EFFECT, "local")
    probe.accept("tcpSocket", "initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold",
                 "failureThreshold", "terminationGracePeriodSeconds")  # fmt: skip
    if get is None:
        return ""
    get.accept("port", "host", "scheme", "httpHeaders")
    return get.text("path")


def environment(
    container: Fields, name: str = "env", *, namespace: str = "default", objects: Objects | None = None
) -> dict[str, str]:
    """``env[]`` as a mapping; ``$(NAME)`` stands for an earlier variable, as in Kubernetes.

    ``valueFrom`` is looked up among ``objects``: keys of secrets and config maps. On a cluster it is left to the
    kubelet, so that no secret's value gets into what is desired.
    """
    found: dict[str, str] = {}
    for entry in container.mappings(name):
        variable = entry.text("name", required=True)
        if not _VARIABLE.fullmatch(variable):
            raise entry.error("name", f"expected the name of a variable, found {describe(variable)}")
        value = entry.text("value")
        entry.accept("valueFrom")
        entry.finish()
        if entry.raw("valueFrom"):
            source = entry.section("valueFrom")
            on_cluster = entry.reader.target == "kubernetes"
            referred = _referred(source, namespace, None if on_cluster else objects)
            if referred is None:
                message = f"cannot be looked up on this machine; {variable} is not set from it"
                entry.warn("valueFrom", message, "local")
                continue
            found[variable] = referred
            continue
        found[variable] = expand(value, found)
    return found


def secret_variables(container: Fields, name: str = "env") -> tuple[str, ...]:
    """The variables of ``env[]`` that are read from a secret, or are made of such variables."""
    found: list[str] = []
    for entry in container.mappings(name):
        source, value = entry.raw("valueFrom"), entry.text("value")
        entry.accept("name")
        is_secret = isinstance(source, dict) and source.get("secretKeyRef") is not None
        if is_secret or any(f"$({known})" in value for known in found):
            found.append(entry.text("name"))
    return tuple(found)


def _referred(source: Fields, namespace: str, objects: Objects | None) -> str | None:
    """What ``valueFrom`` leads to; ``None`` when it is not there."""
    source.accept("fieldRef", "resourceFieldRef", "fileKeyRef")
    for kind in ("secretKeyRef", "configMapKeyRef"):
        reference = source.mapping(kind)
        if reference is None:
            continue
        name, key = reference.text("name"), reference.text("key")
        reference.accept("optional")
        if objects is None:
            return None
        holder = objects.secret(namespace, name) if kind == "secretKeyRef" else objects.config_map(namespace, name)
        return None if holder is None else holder.data.get(key)
    return None


def expand(text: str, variables: dict[str, str]) -> str:
    """Text with ``$(NAME)`` replaced where the variable is known, as Kubernetes does; ``$$`` is one ``$``."""

    def replace(match: re.Match[str]) -> str:
        return "$" if match[0] == "$$" else variables.get(match[1], match[0])

    return re.sub(r"\$\$|\$\(([^)]*)\)", replace, text)


def resources(container: Fields, name: str = "resources") -> Resources:
    """``resources``: what is requested, or else the limits, is what a replica asks for."""
    fields = container.mapping(name)
    if fields is None:
        return Resources()
    requests, limits = fields.mapping("requests"), fields.mapping("limits")
    fields.ignore(("claims",), NO_EFFECT, "local")
    asked = _amounts(requests)
    allowed = _amounts(limits)
    for resource, amount in allowed.items():
        if asked.setdefault(resource, amount) != amount and limits is not None and resource != "memory":
            limits.warn(resource, "limits are not enforced on this machine; the request counts", "local")
    memory, limit = asked.get("memory"), allowed.get("memory")
    gpus = [amount for resource, amount in asked.items() if resource.endswith("/gpu")]
    return Resources(
        cpu=asked.get("cpu"),
        memory_bytes=None if memory is None else int(memory),
        memory_limit_bytes=None if limit is None else int(limit),
        gpu=sum(gpus) if gpus else None,
    )


def _amounts(fields: Fields | None) -> dict[str, float]:
    if fields is None:
        return {}
    found: dict[str, float] = {}
    for name in fields.value:
        amount = quantity(fields.reader, fields.raw(name), fields.at(name))
        if name in ("cpu", "memory") or name.endswith("/gpu"):
            found[name] = amount
        else:
            fields.warn(name, NO_EFFECT, "local")
    return found


_SUFFIXES = {"n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15,
             "E": 10**18, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50,
             "Ei": 2**60}  # fmt: skip
_QUANTITY = re.compile(
    r"([0-9]{1,30}(?:\.[0-9]{0,30})?|\.[0-9]{1,30})(?:([numkMGTPE]|[KMGTPE]i)|[eE]([-+]?[0-9]{1,2}))?"
)


def quantity(reader: Reader, value: Any, path: str) -> float:
    """A Kubernetes quantity: ``500m`` is 0.5, ``2Gi`` is 2147483648, ``1e3`` is 1000.

    Raises:
        SpecError: it is not one, or is negative.
    """
    found = number(value)
    if found is None:
        message = f'expected an amount such as "500m", "2" or "4Gi", found {describe(value)}'
        raise reader.error(path, message)
    return found


def number(value: Any) -> float | None:
    """What a quantity means; ``None`` for what is none."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e30:
        return float(value)
    match = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    digits, suffix, exponent = match.groups()
    return float(digits) * (10.0 ** int(exponent) if exponent else _SUFFIXES[suffix or ""])
