"""What the operator and the activator may do: what they use, and no more."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from tiffin.kube.crds.own import PLURAL
from tiffin.kube.install.naming import ACTIVATOR, CERTIFICATE, LEASE, OPERATOR, WEBHOOK, made
from tiffin.kube.install.options import Options
from tiffin.kube.manifests import Manifest

Rule = dict[str, Any]

SEEN = ("get", "list", "watch")
MADE = (*SEEN, "create", "patch", "delete")

WRITTEN = {
    "serving.kserve.io": ("inferenceservices", "inferencegraphs"),
    "machinelearning.seldon.io": ("seldondeployments",),
    "tiffin.dev": (PLURAL,),
}
"""What people write, by group: read, and its status written."""

REFERRED = {"serving.kserve.io": ("servingruntimes",)}
OF_THE_CLUSTER = {"serving.kserve.io": ("clusterservingruntimes",)}

RENDERED = {
    "apps": ("deployments", "controllerrevisions"),
    "": ("services",),
    "discovery.k8s.io": ("endpointslices",),
    "autoscaling": ("horizontalpodautoscalers",),
    "policy": ("poddisruptionbudgets",),
    "networking.k8s.io": ("ingresses", "networkpolicies"),
    "gateway.networking.k8s.io": ("httproutes", "grpcroutes"),
    "keda.sh": ("scaledobjects",),
    "serving.knative.dev": ("services",),
    "monitoring.coreos.com": ("podmonitors", "servicemonitors"),
}
"""What the operator makes of it, by group."""


def rule(group: str, resources: Iterable[str], verbs: Iterable[str], names: Iterable[str] = ()) -> Rule:
    found: Rule = {"apiGroups": [group], "resources": list(resources), "verbs": list(verbs)}
    return found | ({"resourceNames": list(names)} if names else {})


def of_operator() -> list[Rule]:
    """In each namespace that is looked after."""
    rules = []
    for group, plurals in WRITTEN.items():
        rules.append(rule(group, plurals, SEEN))
        rules.append(rule(group, [f"{one}/status" for one in plurals], ("patch",)))
        # Where owners are checked, who makes an object for an owner may block its deletion only with this right.
        rules.append(rule(group, [f"{one}/finalizers" for one in plurals], ("update",)))
    rules += [rule(group, plurals, SEEN) for group, plurals in REFERRED.items()]
    rules += [rule(group, plurals, MADE) for group, plurals in RENDERED.items()]
    rules += [
        # A custom endpoint of a Service needs this one more.
        rule("discovery.k8s.io", ("endpointslices/restricted",), ("create",)),
        rule("apps", ("deployments/scale",), ("get", "patch")),
        # What pods use, where the autoscaler is to go by that.
        rule("metrics.k8s.io", ("pods",), ("get", "list")),
        rule("", ("pods",), SEEN),
        rule("", ("pods/log",), ("get",)),
        rule("", ("events",), ("create", "list", "patch")),
        # Their annotations say where a model is; values are read by the pods that fetch it.
        rule("", ("secrets", "serviceaccounts"), ("get",)),
    ]
    return rules


def of_cluster() -> list[Rule]:
    """On objects that are in no namespace."""
    return [rule(group, plurals, SEEN) for group, plurals in OF_THE_CLUSTER.items()]


def of_webhook() -> list[Rule]:
    """On its own registration."""
    return [
        rule("admissionregistration.k8s.io", ("validatingwebhookconfigurations",), ("get", "patch"), (WEBHOOK,))
    ]


def at_home(*, webhook: bool) -> list[Rule]:
    """In the operator's own namespace: its lease, its settings, the activator's pods, its certificate."""
    found = [
        rule("coordination.k8s.io", ("leases",), ("create",)),
        rule("coordination.k8s.io", ("leases",), ("get", "update"), (LEASE,)),
        rule("", ("configmaps", "pods"), SEEN),
    ]
    if webhook:
        found.append(rule("", ("secrets",), ("create",)))
        found.append(rule("", ("secrets",), ("get", "update"), (CERTIFICATE,)))
    return found


def of_activator() -> list[Rule]:
    """In each namespace that is looked after."""
    return [
        rule("", ("services",), SEEN),
        rule("discovery.k8s.io", ("endpointslices",), SEEN),
        rule("apps", ("deployments/scale",), ("get", "patch")),
    ]


# ---- objects


def accounts(options: Options) -> tuple[Manifest, ...]:
    """Who they run as."""
    return tuple(
        made("v1", "ServiceAccount", name, options.namespace, component=name) for name in (OPERATOR, ACTIVATOR)
    )


def everywhere(options: Options) -> tuple[Manifest, ...]:
    """For all namespaces at once."""
    found = []
    for name, rules in ((OPERATOR, of_operator()), (ACTIVATOR, of_activator())):
        found += _bound("ClusterRole", name, rules, name, options)
    return tuple(found)


def within(namespace: str, options: Options) -> tuple[Manifest, ...]:
    """For one namespace that is looked after."""
    found = []
    for name, rules in ((OPERATOR, of_operator()), (ACTIVATOR, of_activator())):
        found += _bound("Role", name, rules, name, options, namespace)
    return tuple(found)


def general(options: Options) -> tuple[Manifest, ...]:
    """What is needed either way, and roles for people: ``edit`` and ``view`` know the kinds."""
    of_all = of_cluster() + (of_webhook() if options.webhook else [])
    found = _bound("ClusterRole", f"{OPERATOR}-cluster", of_all, OPERATOR, options)
    home = at_home(webhook=options.webhook)
    found += _bound("Role", f"{OPERATOR}-home", home, OPERATOR, options, options.namespace)
    for name, verbs in (("edit", (*MADE, "update", "deletecollection")), ("view", SEEN)):
        role = made("rbac.authorization.k8s.io/v1", "ClusterRole", f"tiffin-{name}", component=OPERATOR)
        role["metadata"]["labels"] |= {
            f"rbac.authorization.k8s.io/aggregate-to-{to}": "true"
            for to in (("admin", "edit") if name == "edit" else ("view",))
        }
        plurals = {group: [*WRITTEN[group], *REFERRED.get(group, ())] for group in WRITTEN}
        role["rules"] = [rule(group, listed, verbs) for group, listed in plurals.items()]
        found.append(role)
    return tuple(found)


def _bound(
    kind: Literal["ClusterRole", "Role"],
    name: str,
    rules: list[Rule],
    account: str,
    options: Options,
    namespace: str = "",
) -> list[Manifest]:
    """A role and who has it."""
    group = "rbac.authorization.k8s.io"
    role = made(f"{group}/v1", kind, name, namespace, component=account)
    binding = made(f"{group}/v1", f"{kind}Binding", name, namespace, component=account)
    binding["roleRef"] = {"apiGroup": group, "kind": kind, "name": name}
    binding["subjects"] = [{"kind": "ServiceAccount", "name": account, "namespace": options.namespace}]
    return [role | {"rules": rules}, binding]
