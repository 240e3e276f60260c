"""The pods of a predictor's node, as Seldon composes them: its container is told which node it is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tiffin.dialects import pods
from tiffin.dialects.kserve_pods import OF_PROGRAMS
from tiffin.dialects.seldon_images import parameter
from tiffin.dialects.seldon_pods import Container, Pod
from tiffin.spec import Parameter
from tiffin.spec import Pod as Written

_GRPC, _METRICS = 9500, 6000
_METRICS_PATH = "/prometheus"


def composed(
    own: Mapping[str, Any],
    pod: Pod,
    *,
    labels: Mapping[str, str],
    annotations: Mapping[str, str],
    beside: Sequence[Mapping[str, Any]] = (),
    progress_seconds: int | None = None,
    account: str = "",
) -> Written:
    """The pods of a node whose own container, or what is laid over it, is ``own``."""
    spec = pods.merged({"serviceAccountName": account} if account else {}, pod.spec)
    if len(own) > 1 or beside:
        spec["containers"] = [dict(own), *map(dict, beside)]
    return Written(
        main=own["name"],
        spec=spec,
        labels={**labels, **pod.labels},
        annotations={**annotations, **pod.annotations},
        disruption=pod.disruption,
        progress_deadline_seconds=progress_seconds,
    )


def laid_over(container: Container | None, unit: str) -> dict[str, Any]:
    """What is laid over the container that loads a model, for a prepackaged server."""
    raw = {} if container is None else container.raw
    return {"name": unit} | {name: raw[name] for name in raw if name not in (*OF_PROGRAMS, "image", "name")}


def program(
    container: Container,
    unit: str,
    parameters: Sequence[Parameter],
    *,
    deployment: str,
    predictor: str,
    protocol: str,
    labels: Mapping[str, str],
) -> dict[str, Any]:
    """A node's own container, which hears from variables what Seldon tells it; those of the file count first."""
    own = {**container.raw, "name": container.name or unit}
    ports = [port for port in own.get("ports") or [] if isinstance(port, dict)]
    by_name = {port.get("name"): port.get("containerPort") for port in ports}
    http = by_name.get("http") or container.port
    grpc, metrics = by_name.get("grpc") or _GRPC, by_name.get("metrics") or _METRICS
    if "http" not in by_name:
        own["ports"] = pods.merged({"ports": [{"name": "http", "containerPort": http}]}, {"ports": ports})["ports"]
    told = {
        "PREDICTIVE_UNIT_SERVICE_PORT": http,
        "PREDICTIVE_UNIT_HTTP_SERVICE_PORT": http,
        "PREDICTIVE_UNIT_GRPC_SERVICE_PORT": grpc,
        "PREDICTIVE_UNIT_METRICS_SERVICE_PORT": metrics,
        "PREDICTIVE_UNIT_METRICS_ENDPOINT": _METRICS_PATH,
        "PREDICTIVE_UNIT_PARAMETERS": json.dumps([parameter(one) for one in parameters]),
        "PREDICTIVE_UNIT_ID": unit,
        "PREDICTIVE_UNIT_IMAGE": container.image,
        "PREDICTOR_ID": predictor,
        "PREDICTOR_LABELS": json.dumps(dict(labels)),
        "SELDON_DEPLOYMENT_ID": deployment,
        "SELDON_EXECUTOR_ENABLED": "true",
    }
    told["PORT"] = http  # an image that Tiffin built listens there
    if protocol in ("v2", "kfserving"):
        told |= {
            "MLSERVER_MODEL_NAME": unit,
            "MLSERVER_HTTP_PORT": http,
            "MLSERVER_GRPC_PORT": grpc,
            "MLSERVER_METRICS_PORT": metrics,
            "MLSERVER_METRICS_ENDPOINT": _METRICS_PATH,
        }
    variables = [{"name": name, "value": str(value)} for name, value in told.items()]
    return own | pods.merged({"env": variables}, {"env": own.get("env") or []})
