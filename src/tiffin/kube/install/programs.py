"""What runs: the operator and the activator, and what stands around them."""

from __future__ import annotations

from typing import Any

import msgspec

from tiffin.kube.install.naming import ACTIVATOR, NAME, OPERATOR, SETTINGS, WEBHOOK, made
from tiffin.kube.install.options import Options
from tiffin.kube.manifests import Manifest
from tiffin.kube.settings import Settings

USER = 1034
"""That of the runtime's image."""
OPERATOR_PORT = 8081
WEBHOOK_PORT = 8443
ALONE_SECONDS, SEVERAL_SECONDS = 240, 30
"""How long the Lease lasts of an operator that is alone, and of one of several.

The one renews it less than once a minute, and gives it back when it ends: only where its node is lost must the
next pod wait, which Kubernetes makes after a longer time. Who runs several wants another to lead soon.
"""
ACTIVATOR_PORT = 9090
"""Of its pages; Services that are at zero have ports of their own above 20000."""

_PLAIN = msgspec.to_builtins(Settings())
# Where it runs and what it watches is said to the programs themselves.
_ELSEWHERE = ("namespace", "watched")


def settings(options: Options) -> Manifest:
    """The ConfigMap that is followed while it changes; it says what differs from the defaults."""
    written = {
        name: value
        for name, value in msgspec.to_builtins(options.settings()).items()
        if name not in _ELSEWHERE and (name == "runtimeImage" or value != _PLAIN[name])
    }
    found = made("v1", "ConfigMap", SETTINGS, options.namespace, component=OPERATOR)
    return found | {"data": {"settings.yaml": msgspec.yaml.encode(written).decode()}}


def deployments(options: Options) -> tuple[Manifest, ...]:
    """The two programs; all but one of several operators wait."""
    command = ["python", "-m", "tiffin.operator", "--namespace", options.namespace]
    command += ["--host", "0.0.0.0", "--port", str(OPERATOR_PORT)]
    command += ["--lease-seconds", str(SEVERAL_SECONDS if options.replicas > 1 else ALONE_SECONDS)]
    command += [word for one in options.watched for word in ("--watch", one)]
    ports = [_port("metrics", OPERATOR_PORT)]
    if options.webhook:
        command += ["--webhook-port", str(WEBHOOK_PORT)]
        ports.append(_port("webhook", WEBHOOK_PORT))
    operator = _container(options, "operator", command, ports, OPERATOR_PORT)
    command = ["python", "-m", "tiffin.operator.activator", "--pages-port", str(ACTIVATOR_PORT)]
    command += [word for one in options.watched for word in ("--namespace", one)]
    activator = _container(options, "activator", command, [_port("metrics", ACTIVATOR_PORT)], ACTIVATOR_PORT)
    return (
        _deployment(options, OPERATOR, operator, grace=15),
        # It lets the calls go that it has in hand.
        _deployment(options, ACTIVATOR, activator, grace=60),
    )


def around(options: Options) -> tuple[Manifest, ...]:
    """Services, a budget for disruptions, and who may call whom."""
    operator = made("v1", "Service", OPERATOR, options.namespace, component=OPERATOR)
    ports = [{"name": "metrics", "port": OPERATOR_PORT, "targetPort": "metrics"}]
    if options.webhook:
        ports.append({"name": "webhook", "port": 443, "targetPort": "webhook"})
    operator["spec"] = {"selector": {NAME: OPERATOR}, "ports": ports}
    activator = made("v1", "Service", ACTIVATOR, options.namespace, component=ACTIVATOR)
    activator["spec"] = {
        "selector": {NAME: ACTIVATOR},
        "clusterIP": "None",
        "ports": [{"name": "metrics", "port": ACTIVATOR_PORT, "targetPort": "metrics"}],
    }
    budget = made("policy/v1", "PodDisruptionBudget", ACTIVATOR, options.namespace, component=ACTIVATOR)
    budget["spec"] = {"maxUnavailable": 1, "selector": {"matchLabels": {NAME: ACTIVATOR}}}
    return (operator, activator, budget, *_policies(options))


def _policies(options: Options) -> tuple[Manifest, ...]:
    taken: list[dict[str, Any]] = [{"port": "metrics", "protocol": "TCP"}]
    if options.webhook:
        taken.append({"port": "webhook", "protocol": "TCP"})
    found = []
    # The activator takes calls for every Service that is at zero, on a port of each.
    for name, ingress in ((OPERATOR, [{"ports": taken}]), (ACTIVATOR, [{}])):
        policy = made("networking.k8s.io/v1", "NetworkPolicy", name, options.namespace, component=name)
        policy["spec"] = {
            "podSelector": {"matchLabels": {NAME: name}},
            "policyTypes": ["Ingress"],
            "ingress": ingress,
        }
        found.append(policy)
    return tuple(found)


def webhook(options: Options) -> Manifest:
    """Has the API server ask the operator; without an answer the object is taken, for the operator looks again.

    The operator writes into it the authority that its certificate is signed by.
    """
    groups = {
        "serving.kserve.io": (["v1beta1", "v1alpha1"], ["inferenceservices", "servingruntimes",
                                                        "clusterservingruntimes"]),
        "machinelearning.seldon.io": (["*"], ["seldondeployments"]),
        "tiffin.dev": (["*"], ["tiffindeployments"]),
    }  # fmt: skip
    one: dict[str, Any] = {
        "name": "objects.tiffin.dev",
        "admissionReviewVersions": ["v1"],
        "clientConfig": {
            "service": {"namespace": options.namespace, "name": OPERATOR, "path": "/validate", "port": 443}
        },
        "failurePolicy": "Ignore",
        "matchPolicy": "Equivalent",
        "sideEffects": "None",
        "timeoutSeconds": 5,
        "rules": [
            {
                "apiGroups": [group],
                "apiVersions": versions,
                "operations": ["CREATE", "UPDATE"],
                "resources": plurals,
            }
            for group, (versions, plurals) in groups.items()
        ],
    }
    if options.watched:
        one["namespaceSelector"] = {
            "matchExpressions": [
                {"key": "kubernetes.io/metadata.name", "operator": "In", "values": list(options.watched)}
            ]
        }
    found = made("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", WEBHOOK, component=OPERATOR)
    return found | {"webhooks": [one]}


# ---- pods


def _port(name: str, number: int) -> dict[str, Any]:
    return {"name": name, "containerPort": number, "protocol": "TCP"}


def _container(
    options: Options, name: str, command: list[str], ports: list[dict[str, Any]], pages: int
) -> dict[str, Any]:
    def probe(path: str, **more: int) -> dict[str, Any]:
        return {"httpGet": {"path": path, "port": pages}, **more}

    return {
        "name": name,
        "image": options.image,
        "imagePullPolicy": "IfNotPresent",
        "command": command,
        # Nothing of an image's own entry, and nothing below the root, is written to.
        "env": [{"name": "HOME", "value": "/tmp"}, {"name": "TIFFIN_HOME", "value": "/tmp/tiffin"}],
        "ports": ports,
        "livenessProbe": probe("/healthz", periodSeconds=20, timeoutSeconds=5),
        "readinessProbe": probe("/readyz", periodSeconds=5, timeoutSeconds=5),
        "resources": {"requests": {"cpu": "100m", "memory": "96Mi"}, "limits": {"memory": "512Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [{"name": "scratch", "mountPath": "/tmp"}],
    }


def _deployment(options: Options, name: str, container: dict[str, Any], *, grace: int) -> Manifest:
    pod = {
        "serviceAccountName": name,
        "terminationGracePeriodSeconds": grace,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {NAME: name}},
            }
        ],
        "containers": [container],
        "volumes": [{"name": "scratch", "emptyDir": {"sizeLimit": "64Mi"}}],
    }
    found = made("apps/v1", "Deployment", name, options.namespace, component=name)
    found["spec"] = {
        "replicas": options.replicas,
        "selector": {"matchLabels": {NAME: name}},
        "template": {
            "metadata": {"labels": {NAME: name, "app.kubernetes.io/part-of": "tiffin"}},
            "spec": pod,
        },
    }
    return found
