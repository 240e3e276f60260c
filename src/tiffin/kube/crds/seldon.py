"""Seldon's kind, SeldonDeployment; rules and their words are those of its webhook.

A graph is a tree without an end, which no structural schema can say: nodes below the second are kept as they are.
"""

from __future__ import annotations

from tiffin.dialects.kubernetes import POD_FIELDS
from tiffin.dialects.seldon import API_VERSIONS, KIND
from tiffin.kube.crds.forms import (
    Schema,
    anything,
    choice,
    column,
    container,
    definition,
    fields,
    flag,
    items,
    kept,
    root,
    rule,
    text,
    texts,
    variables,
    version,
    whole,
)
from tiffin.kube.manifests import Manifest

GROUP = API_VERSIONS[0].partition("/")[0]
MOST_PREDICTORS = 20
"""A bound for the cost of the rules between them."""

_SUBRESOURCES = {
    "status": {},
    "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
}
_COLUMNS = (
    column("State", ".status.state"),
    column("URL", ".status.address.url", priority=1),
    column("Description", ".status.description", priority=1),
)
_METHODS = ("TRANSFORM_INPUT", "TRANSFORM_OUTPUT", "ROUTE", "AGGREGATE", "SEND_FEEDBACK")
_TYPES = ("UNKNOWN_TYPE", "ROUTER", "COMBINER", "MODEL", "TRANSFORMER", "OUTPUT_TRANSFORMER")


def definitions() -> tuple[Manifest, ...]:
    """SeldonDeployment; the first version is the one that is stored, all have the same fields."""
    about = "Predictors that share the calls, in the words of Seldon."
    names = [one.partition("/")[2] for one in API_VERSIONS]
    versions = [
        version(
            name, root(_spec(), about=about), columns=_COLUMNS, is_stored=not index, subresources=_SUBRESOURCES
        )
        for index, name in enumerate(names)
    ]
    return (definition(GROUP, KIND, versions, short=("sdep",), categories=("all",)),)


def _spec() -> Schema:
    shadow = "(has(p.shadow) && p.shadow)"
    traffic = "(has(p.traffic) ? p.traffic : 0)"
    sharing = f"self.predictors.filter(p, !{shadow})"
    total = f"{sharing}.map(p, {traffic}).sum()"
    return fields(
        {
            "name": text(),
            "predictors": items(_predictor(), most=MOST_PREDICTORS),
            "oauth_key": text(),
            "oauth_secret": text(),
            "annotations": texts(),
            "protocol": text(),
            "transport": text(),
            "replicas": whole(0),
            "serverType": text(),
        },
        required=("predictors",),
        rules=(
            _one_of("protocol", ("", "seldon", "tensorflow", "kfserving", "v2")),
            _one_of("transport", ("", "rest", "grpc")),
            _one_of("serverType", ("", "rpc", "kafka")),
            rule("size(self.predictors) > 0", "Graph contains no predictors"),
            rule(
                "self.predictors.all(p, self.predictors.exists_one(q, q.name == p.name))",
                "Duplicate predictor name",
            ),
            rule(
                f"size(self.predictors) != 1 || !self.predictors.exists(p, {shadow})",
                "Shadow can not exist as only predictor",
            ),
            rule(f"self.predictors.filter(p, {shadow}).size() < 2", "Multiple shadows are not allowed"),
            rule(
                f"self.predictors.all(p, !{shadow} || ({traffic} >= 0 && {traffic} <= 100))",
                "shadow traffic is illegal, the traffic number should be between [0, 100]",
            ),
            rule(
                f"self.predictors.all(p, {shadow} || ({traffic} >= 0 && {traffic} <= 100))",
                "expected a traffic between 0 and 100",
            ),
            rule(
                f"{sharing}.size() < 2 || {total} == 100",
                "Traffic must sum to 100 for multiple predictors",
            ),
            rule(
                f"size(self.predictors) != 1 || !({total} > 0 && {total} < 100)",
                "Traffic must sum be 100 for a single predictor when set",
            ),
        ),
    )


def _one_of(name: str, known: tuple[str, ...]) -> Schema:
    return rule(f"!has(self.{name}) || self.{name} in {list(known)}", f"Invalid {name}")


def _predictor() -> Schema:
    return fields(
        {
            "name": text(minLength=1, maxLength=63, pattern="^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"),
            "graph": _unit(children=items(_unit(children=items(kept())))),
            "componentSpecs": items(_component()),
            "replicas": whole(0),
            "annotations": texts(),
            "engineResources": anything(),
            "labels": texts(),
            "svcOrchSpec": fields({"resources": anything(), "env": variables(), "replicas": whole(0)}),
            "traffic": whole(),
            "explainer": _explainer(),
            "shadow": flag(),
            "ssl": fields({"certSecretName": text()}),
            "progressDeadlineSeconds": whole(1),
        },
        required=("name", "graph"),
    )


def _unit(*, children: Schema) -> Schema:
    parameter = fields(
        {"name": text(), "value": text(), "type": choice("INT", "FLOAT", "DOUBLE", "STRING", "BOOL")},
        required=("name", "value"),
    )
    logger = fields({"url": text(), "mode": choice("all", "request", "response")}, required=("mode",))
    return fields(
        {
            "name": text(minLength=1),
            "children": children,
            "type": text(enum=["", *_TYPES]),
            "implementation": text(),
            "methods": items(choice(*_METHODS)),
            "endpoint": _endpoint(),
            "parameters": items(parameter),
            "modelUri": text(),
            "serviceAccountName": text(),
            "envSecretRefName": text(),
            "storageInitializerImage": text(),
            "logger": logger,
        },
        required=("name",),
    )


def _endpoint() -> Schema:
    ports = {name: whole() for name in ("service_port", "httpPort", "grpcPort")}
    return fields({"service_host": text(), "type": text(enum=["", "REST", "GRPC"]), **ports})


def _component() -> Schema:
    """A PodSpec, and how many of its pods there are."""
    pod = {name: anything() for name in POD_FIELDS}
    pod |= {"containers": items(container()), "serviceAccountName": text(), "nodeSelector": texts()}
    hpa = fields(
        {"minReplicas": whole(1), "maxReplicas": whole(1), "metrics": items(kept()), "metricsv2": items(kept())},
        required=("maxReplicas",),
        rules=(
            rule(
                "!has(self.minReplicas) || self.minReplicas <= self.maxReplicas",
                "expected maxReplicas of at least minReplicas",
            ),
        ),
    )
    counts = ("pollingInterval", "cooldownPeriod", "minReplicaCount", "maxReplicaCount", "idleReplicaCount")
    keda = fields(
        {**{name: whole(0) for name in counts}, "advanced": kept(), "triggers": items(kept()), "fallback": kept()},
        required=("triggers",),
    )
    bound = {"x-kubernetes-int-or-string": True}
    return fields(
        {
            "metadata": kept(),
            "spec": fields(pod),
            "hpaSpec": hpa,
            "kedaSpec": keda,
            "pdbSpec": fields({"minAvailable": bound, "maxUnavailable": bound}),
            "replicas": whole(0),
        }
    )


def _explainer() -> Schema:
    names = ("type", "modelUri", "serviceAccountName", "envSecretRefName", "storageInitializerImage")
    return fields(
        {
            **{name: text() for name in names},
            "containerSpec": container(required=()),
            "config": texts(),
            "endpoint": _endpoint(),
            "replicas": whole(0),
            "initParameters": text(),
        }
    )
