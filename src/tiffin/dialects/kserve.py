"""KServe's InferenceService (``serving.kserve.io/v1beta1``) as a deployment.

The parts are in modules of their own: ``kserve_predictor``, ``kserve_callers`` (transformer, explainer),
``kserve_canaries``, ``kserve_scaling``, ``kserve_storage``, ``kserve_credentials``. The table in
docs/reference/dialects.md says what becomes of every field.
"""

from __future__ import annotations

import msgspec

from tiffin.dialects import (
    kserve_callers,
    kserve_canaries,
    kserve_context,
    kserve_pods,
    kserve_predictor,
    kubernetes,
    routes,
)
from tiffin.dialects.documents import Document
from tiffin.dialects.fields import Fields, Reader
from tiffin.dialects.kserve_context import FORMAT, WITHOUT_EFFECT, Context
from tiffin.dialects.kserve_predictor import Predictor
from tiffin.dialects.resources import Resources
from tiffin.dialects.runtimes import LOADED as FORMATS
from tiffin.spec import Component, Deployment, Target

__all__ = ["API_VERSIONS", "FORMATS", "KIND", "deployment"]

API_VERSIONS = ("serving.kserve.io/v1beta1",)
KIND = "InferenceService"

RUNTIME = "tiffin.dev/serving-runtime"
CLUSTER_RUNTIME = "tiffin.dev/cluster-serving-runtime"
"""Annotations of a deployment that say which runtime was chosen; its status shows it."""


def deployment(
    document: Document,
    *,
    base: str = "",
    domain: str = routes.DOMAIN,
    resources: Resources | None = None,
    target: Target = "local",
) -> Deployment:
    """An InferenceService document as a deployment; relative paths start from ``base``.

    Raises:
        SpecError: KServe would refuse it, or it asks for what this version does not serve.
    """
    reader = Reader(document, target)
    root = reader.root()
    root.accept("apiVersion", "kind", "status")
    metadata = kubernetes.metadata(root, WITHOUT_EFFECT, kserve_pods.HONOURED)
    context = kserve_context.read(root, metadata, base, resources or Resources())
    spec = root.section("spec")
    fields = spec.section("predictor")
    predictor = kserve_predictor.read(fields, context)
    components = _components(spec, predictor, context)
    spec.accept("canary")
    reader.finish()  # what is wrong with the stable predictor is said of it, not of what differs from it
    variants = kserve_canaries.read(spec, fields, predictor, context)
    if transformer := next((one for one in components if one.name == "transformer"), None):
        # Each has one of its own, which asks it: that of the stable predictor asks that one.
        variants = tuple(
            msgspec.structs.replace(one, components=(*one.components, transformer)) for one in variants
        )
    names = [component.name for component in components]
    return Deployment(
        name=metadata.name,
        namespace=metadata.namespace,
        protocol=predictor.protocol,
        dialect="kserve",
        components=components,
        variant=predictor.name or "main",
        variants=variants,
        canary_percent=predictor.canary_percent,
        stopped=context.stopped,
        routes=routes.kserve(metadata.name, metadata.namespace, names, domain, is_internal=context.is_internal),
        labels=metadata.labels,
        annotations=_annotations(context, predictor),
        file=document.file,
        document=document.index,
        warnings=reader.finish(),
    )


def _components(spec: Fields, predictor: Predictor, context: Context) -> tuple[Component, ...]:
    """The predictor first."""
    found = [predictor.component]
    transformer, explainer = spec.mapping("transformer"), spec.mapping("explainer")
    if transformer is not None:
        if predictor.transformer is not None:
            message = "the predictor has a transformer-container already; a second transformer would get no calls"
            raise spec.error("transformer", message)
        found.append(kserve_callers.transformer(transformer, context, predictor.canary_percent))
    elif predictor.transformer is not None:
        found.append(predictor.transformer)
    if explainer is not None:
        found.append(kserve_callers.explainer(explainer, context, predictor.canary_percent))
    return tuple(found)


def _annotations(context: Context, predictor: Predictor) -> dict[str, str]:
    """Those of the file, with what KServe's webhook adds, and which runtime was chosen."""
    found = dict(context.annotations)
    if predictor.format:
        found.setdefault(FORMAT, predictor.format)
    if predictor.runtime is not None:
        found[RUNTIME if predictor.runtime.namespace else CLUSTER_RUNTIME] = predictor.runtime.name
    return found
