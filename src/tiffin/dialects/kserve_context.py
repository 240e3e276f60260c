"""What the parts of an InferenceService need to know of the whole."""

from __future__ import annotations

import re

import msgspec

from tiffin.dialects import runtimes
from tiffin.dialects.documents import child
from tiffin.dialects.fields import ELSEWHERE, NO_EFFECT, Fields, describe
from tiffin.dialects.kubernetes import Metadata
from tiffin.dialects.resources import Resources
from tiffin.dialects.runtimes import Runtime

NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
PREFIX = "serving.kserve.io/"
MODE = PREFIX + "deploymentMode"
SCALER = PREFIX + "autoscalerClass"
STOP = PREFIX + "stop"
SECRET = PREFIX + "storageSecretName"
FORMAT = "modelFormat"
SCALERS = ("hpa", "external", "keda", "none")
MODES = {"Standard": "Standard", "RawDeployment": "Standard", "Knative": "Knative", "Serverless": "Knative",
         "ModelMesh": "ModelMesh"}  # fmt: skip

WITHOUT_EFFECT = frozenset(
    (
        *(PREFIX + name for name in (
            "disable-auto-update", "storage-initializer-uid", "enable-metric-aggregation",
            "enable-prometheus-scraping", "gke-accelerator", "gpu-resource-types", "nodegroup",
            "disable-localmodel", "metrics", "targetUtilizationPercentage",
        )),
        "storage.kserve.io/readonly",
        "prometheus.kserve.io/port",
        "prometheus.kserve.io/path",
        "serving.knative.dev/rollout-duration",
    )
)  # fmt: skip
"""Annotations by which KServe does otherwise, and Tiffin does not."""

VISIBILITY = ("networking.kserve.io/visibility", "networking.knative.dev/visibility")


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """``mode`` is ``Standard``, ``Knative``, ``ModelMesh`` or empty; ``scaler`` the autoscaler's class."""

    name: str
    namespace: str
    base: str
    labels: dict[str, str]
    annotations: dict[str, str]
    resources: Resources
    mode: str = ""
    scaler: str = ""

    @property
    def runtimes(self) -> tuple[Runtime, ...]:
        return runtimes.known(self.resources.runtimes)

    @property
    def stopped(self) -> bool:
        return self.annotations.get(STOP, "").lower() == "true"

    @property
    def is_internal(self) -> bool:
        """Whether callers outside of the cluster have no address."""
        return any(self.labels.get(label) == "cluster-local" for label in VISIBILITY)


def read(root: Fields, metadata: Metadata, base: str, resources: Resources) -> Context:
    """The context of a document, its name and annotations checked and put as KServe's webhook does."""
    path = root.at("metadata")
    if not NAME.fullmatch(metadata.name):
        raise root.reader.error(
            child(path, "name"),
            f'the InferenceService "{metadata.name}" is invalid: a InferenceService name must consist of lower '
            "case alphanumeric characters or '-', and must start with alphabetical character. (e.g. \"my-name\" "
            f"or \"abc-123\", regex used for validation is '{NAME.pattern}')",
        )
    annotations = dict(metadata.annotations)
    at = child(path, "annotations")
    scaler = annotations.get(SCALER, "")
    if SCALER in annotations and scaler not in SCALERS:
        message = f"[{scaler}] is not a supported autoscaler class type"
        raise root.reader.error(child(at, SCALER), message, f"the classes are {', '.join(SCALERS)}")
    mode = annotations.get(MODE, "")
    if MODE in annotations and mode not in MODES:
        said = f"{describe(mode)} is no mode of KServe, and "
        root.reader.warn_each(child(at, MODE), said + NO_EFFECT, said + ELSEWHERE)
    elif mode == "ModelMesh":
        root.reader.warn_each(child(at, MODE), f"is kept, but {NO_EFFECT}", f"is kept, but {ELSEWHERE}")
    mode = MODES.get(mode, "")
    if mode:
        annotations[MODE] = mode
    return Context(
        name=metadata.name,
        namespace=metadata.namespace,
        base=base,
        labels=metadata.labels,
        annotations=annotations,
        resources=resources,
        mode=mode,
        scaler=scaler,
    )
