"""KServe's kinds: InferenceService, ServingRuntime, ClusterServingRuntime, InferenceGraph.

Only what the dialect reads is typed; a PodSpec's fields are known by name and kept as they are. Rules and their
words are those of KServe's webhook.
"""

from __future__ import annotations

from tiffin.dialects.kserve_predictor import LEGACY
from tiffin.dialects.kubernetes import CONTAINER_FIELDS, POD_FIELDS
from tiffin.dialects.runtimes import RANKED
from tiffin.kube.crds.forms import (
    RULES,
    Schema,
    anything,
    choice,
    column,
    container,
    count,
    definition,
    fields,
    flag,
    items,
    kept,
    root,
    rule,
    table,
    text,
    texts,
    variables,
    version,
    whole,
)
from tiffin.kube.manifests import Manifest

GROUP = "serving.kserve.io"
NAME = "^[a-z]([-a-z0-9]*[a-z0-9])?$"
MOST_CANARIES = 10
"""A bound for the cost of the rules between them."""

_READY = "?(@.type=='Ready')"
_COLUMNS = (
    column("URL", ".status.url"),
    column("Ready", f".status.conditions[{_READY}].status"),
    column("Prev", ".status.components.predictor.traffic[?(@.tag=='prev')].percent", "integer"),
    column("Latest", ".status.components.predictor.traffic[?(@.latestRevision==true)].percent", "integer"),
    column(
        "PrevRolledoutRevision", ".status.components.predictor.traffic[?(@.tag=='prev')].revisionName"
    ),
    column(
        "LatestReadyRevision", ".status.components.predictor.traffic[?(@.latestRevision==true)].revisionName"
    ),
)  # fmt: skip
_IMPLEMENTATIONS = ("model", *LEGACY)
_FIXED = ("maxReplicas", "scaleTarget", "scaleMetric", "autoScaling", "workerSpec")


def definitions() -> tuple[Manifest, ...]:
    """All four kinds; an InferenceGraph is taken, and its status says that it is not served yet."""
    service = root(
        _spec(),
        name=NAME,
        about="A model, or a program that serves one, in the words of KServe.",
    )
    runtime = root(_runtime())
    disabled = column("Disabled", ".spec.disabled", "boolean")
    formats = column("ModelType", ".spec.supportedModelFormats[*].name")
    containers = column("Containers", ".spec.containers[*].name")
    runtimes = [version("v1alpha1", runtime, columns=(disabled, formats, containers), subresources={})]
    graph = version(
        "v1alpha1",
        root(_graph()),
        columns=(column("URL", ".status.url"), column("Ready", f".status.conditions[{_READY}].status")),
    )
    return (
        definition(
            GROUP, "InferenceService", [version("v1beta1", service, columns=_COLUMNS)], short=("isvc",),
            categories=("all",),
        ),
        definition(GROUP, "ServingRuntime", runtimes),
        definition(GROUP, "ClusterServingRuntime", runtimes, is_namespaced=False),
        definition(GROUP, "InferenceGraph", [graph], short=("ig",)),
    )  # fmt: skip


def _spec() -> Schema:
    stable = "(has(self.predictor.name) ? self.predictor.name : '')"
    least = "(has(self.predictor.minReplicas) ? self.predictor.minReplicas : 1)"
    canaries = "!has(self.canary) || "
    return fields(
        {
            "predictor": _predictor(),
            "transformer": _component({"containers": _containers()}),
            "explainer": _component({"containers": _containers(), "art": _art()}),
            "canary": items(_canary(), most=MOST_CANARIES),
        },
        required=("predictor",),
        rules=(
            rule(
                canaries + "self.canary.map(c, c.trafficPercent).sum() <= 100",
                "sum of canary trafficPercent values must be <= 100",
            ),
            rule(
                canaries + "self.canary.all(c, self.canary.exists_one(d, d.predictor.name == c.predictor.name))",
                "canary predictor.name is duplicated",
            ),
            rule(
                canaries + f"self.canary.all(c, c.predictor.name != {stable})",
                "canary predictor.name conflicts with stable predictor name",
            ),
            rule(
                canaries + "self.canary.all(c, !has(c.predictor.minReplicas)"
                f" || c.predictor.minReplicas <= {least})",
                "canary minReplicas must not exceed stable predictor minReplicas",
            ),
        ),
    )


# ---- components


def _component(own: dict[str, Schema]) -> Schema:
    """What KServe's ComponentExtensionSpec and an inline PodSpec have, and ``own``."""
    extension = {
        "minReplicas": whole(0),
        "maxReplicas": whole(0),
        "scaleTarget": whole(),
        "scaleMetric": choice("cpu", "memory", "concurrency", "rps"),
        "scaleMetricType": text(),
        "autoScaling": fields({"metrics": items(kept({"type": text()})), "behavior": kept()}),
        "containerConcurrency": whole(0),
        "timeout": whole(1),
        "canaryTrafficPercent": whole(0, 100),
        "logger": _logger(),
        "batcher": fields({"maxBatchSize": whole(1), "maxLatency": whole(), "timeout": whole()}),
        "labels": texts(),
        "annotations": texts(),
        "deploymentStrategy": kept({"type": text()}),
        "storageUris": items(
            fields({"uri": text(), "mountPath": text(pattern="^/.*", maxLength=255)}, required=("uri",))
        ),
        "storageContainerName": text(),
    }
    pod = {name: anything() for name in POD_FIELDS}
    pod |= {"serviceAccountName": text(), "nodeSelector": texts()}
    return fields(
        pod | extension | own,
        rules=(
            rule(
                "!has(self.maxReplicas) || self.maxReplicas == 0"
                " || (has(self.minReplicas) ? self.minReplicas : 1) <= self.maxReplicas",
                "'MinReplicas' cannot be greater than MaxReplicas",
            ),
        ),
    )


def _predictor(*, is_canary: bool = False) -> Schema:
    own = {
        "name": text(pattern=NAME if is_canary else "^([a-z]([-a-z0-9]*[a-z0-9])?)?$", maxLength=63),
        "model": _model({"modelFormat": _format(), "runtime": text()}, required=("modelFormat",)),
        **{name: _model({}) for name in LEGACY},
        "workerSpec": kept(),
        "containers": _containers(),
    }
    found = _component(own)
    listed = ", ".join(_IMPLEMENTATIONS)
    if is_canary:
        found["required"] = ["name"]
        found[RULES] = [
            rule(
                f"{count(_IMPLEMENTATIONS)} == 1",
                f"exactly one of [{listed}] must be specified in PredictorSpec",
            ),
            *(
                rule(f"!has(self.{name})", f"canary must not set {name} (canary uses fixed replicas)")
                for name in _FIXED
            ),
        ]
        return found
    found[RULES].append(
        rule(
            f"{count(_IMPLEMENTATIONS)} == 1 || ({count(_IMPLEMENTATIONS)} == 0"
            " && has(self.containers) && size(self.containers) > 0)",
            f"exactly one of [{listed}, containers] must be specified in PredictorSpec",
        )
    )
    found[RULES] += [
        rule(
            f"!has(self.storageUris) || !has(self.{name}) || !has(self.{name}.storageUri)",
            "expected storageUri or storageUris, found both",
        )
        for name in _IMPLEMENTATIONS
    ]
    found[RULES].append(
        rule(
            "(has(self.name) ? self.name : '') == (has(oldSelf.name) ? oldSelf.name : '')"
            " || !has(self.model) || !has(oldSelf.model) || !has(self.model.storageUri)"
            " || !has(oldSelf.model.storageUri) || self.model.storageUri != oldSelf.model.storageUri",
            "changing predictor.name requires changing storageUri",
        )
    )
    return found


def _canary() -> Schema:
    return fields(
        {"predictor": _predictor(is_canary=True), "trafficPercent": whole(0, 100)},
        required=("predictor", "trafficPercent"),
    )


def _format() -> Schema:
    return fields({"name": text(minLength=1), "version": text()}, required=("name",))


def _model(own: dict[str, Schema], *, required: tuple[str, ...] = ()) -> Schema:
    """KServe's PredictorExtensionSpec: where the model is, and a container."""
    return fields(
        {
            **{name: anything() for name in CONTAINER_FIELDS},
            "name": text(),
            "image": text(),
            "env": variables(),
            "resources": anything(),
            "storageUri": text(),
            "runtimeVersion": text(),
            "protocolVersion": text(enum=["", *RANKED]),
            "storage": _storage(),
            "confidential": fields({"enabled": flag(), "resourceId": text()}),
            **own,
        },
        required=required,
        rules=(
            rule(
                "!has(self.confidential) || !has(self.confidential.enabled) || !self.confidential.enabled"
                " || has(self.storageUri)",
                "confidential needs storageUri",
            ),
        ),
    )


def _storage() -> Schema:
    return fields({"path": text(), "parameters": texts(), "key": text(), "schemaPath": text()})


def _art() -> Schema:
    found = _model({"type": choice("SquareAttack"), "config": texts()}, required=("type",))
    del found["properties"]["protocolVersion"]
    return found


def _logger() -> Schema:
    storage = _storage() | {"required": ["path", "parameters", "key"]}
    storage["properties"]["serviceAccountName"] = text()
    return fields(
        {
            "url": text(),
            "mode": choice("all", "request", "response"),
            "metadataHeaders": items(text()),
            "metadataAnnotations": items(text()),
            "storage": storage,
            "marshallerUrl": text(),
            "batchSize": whole(),
            "batchInterval": text(),
        }
    )


def _containers() -> Schema:
    return items(container(required=()))


# ---- runtimes and graphs


def _runtime() -> Schema:
    format = fields(
        {"name": text(minLength=1), "version": text(), "autoSelect": flag(), "priority": whole(1)},
        required=("name",),
    )
    mesh = ("grpcEndpoint", "grpcDataEndpoint", "httpDataEndpoint", "storageHelper", "builtInAdapter")
    pod = {name: anything() for name in POD_FIELDS}
    return fields(
        pod
        | {name: anything() for name in mesh}
        | {
            "supportedModelFormats": items(format),
            "multiModel": flag(),
            "disabled": flag(),
            "protocolVersions": items(text()),
            "workerSpec": kept(),
            "containers": items(container(), least=1),
            "labels": texts(),
            "annotations": texts(),
            "replicas": whole(0),
            "grpcMaxMessageSize": anything(),
        },
        required=("containers",),
    )


def _graph() -> Schema:
    step = fields(
        {
            "name": text(),
            "nodeName": text(),
            "serviceName": text(),
            "serviceUrl": text(),
            "data": text(),
            "mapPredictionsToInstances": flag(),
            "weight": whole(0, 100),
            "condition": text(),
            "dependency": choice("Soft", "Hard"),
        }
    )
    node = fields(
        {"routerType": choice("Sequence", "Splitter", "Ensemble", "Switch"), "steps": items(step)},
        required=("routerType",),
    )
    scaling = {name: whole(0) for name in ("minReplicas", "maxReplicas", "scaleTarget")}
    timeouts = {name: whole(0) for name in ("serverRead", "serverWrite", "serverIdle", "serviceClient")}
    return fields(
        {
            "nodes": table(node),
            "resources": anything(),
            "affinity": anything(),
            "tolerations": anything(),
            "nodeSelector": texts(),
            "nodeName": text(),
            "serviceAccountName": text(),
            "timeout": whole(1),
            "scaleMetric": choice("cpu", "memory", "concurrency", "rps"),
            "routerTimeouts": fields(timeouts),
            **scaling,
        },
        required=("nodes",),
        rules=(rule("'root' in self.nodes", "expected a node named root"),),
    )
