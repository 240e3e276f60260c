"""The transformer and the explainer of an InferenceService: programs that call the predictor."""

from __future__ import annotations

import msgspec

from tiffin.dialects import (
    kserve_component,
    kserve_containers,
    kserve_credentials,
    kserve_pods,
    kserve_predictor,
    kserve_storage,
)
from tiffin.dialects.fields import ELSEWHERE, LATER, Fields
from tiffin.dialects.kserve_component import Extension
from tiffin.dialects.kserve_context import Context
from tiffin.dialects.kserve_pods import Overlay
from tiffin.dialects.kserve_storage import MOUNT
from tiffin.dialects.kubernetes import Container
from tiffin.spec import Artefact, Component

_ART_IMAGE = "kserve/art-explainer"
_REMOVED = ("alibi", "aix", "aif")


def transformer(fields: Fields, context: Context, predictor_percent: float | None) -> Component:
    """``spec.transformer``."""
    extension = _extension(fields, context, predictor_percent)
    return _program(fields, "transformer", extension, context)


def explainer(fields: Fields, context: Context, predictor_percent: float | None) -> Component:
    """``spec.explainer``: one of KServe's own, ``art``, or containers."""
    for name in _REMOVED:
        fields.refuse(name, "is no explainer of KServe any more", "write it as containers")
    extension = _extension(fields, context, predictor_percent)
    fields.accept("art")
    if not fields.has("art"):
        return _program(fields, "explainer", extension, context)
    if fields.value.get("containers"):
        message = "exactly one of [art, containers] must be specified in ExplainerSpec, found both"
        raise fields.error("", message)
    return _art(fields.section("art"), fields, extension, _pod(fields), context)


def _extension(fields: Fields, context: Context, predictor_percent: float | None) -> Extension:
    extension = kserve_component.extension(fields, context)
    percent = extension.canary_percent
    if percent is not None and percent != predictor_percent:
        fields.warn("canaryTrafficPercent", "has no effect: the predictor's splits the calls of all components")
    return extension


def _pod(fields: Fields, beside: tuple[Container, ...] = ()) -> Overlay:
    fields.ignore_each(("storageContainerName",), ELSEWHERE)
    fields.accept("storageUris")
    return kserve_pods.read(fields, beside)


def _program(fields: Fields, name: str, extension: Extension, context: Context) -> Component:
    found = kserve_containers.listed(fields, context, takes_first=True)
    overlay = _pod(fields, found.beside)
    fields.finish()
    if found.main is None:
        fields.miss("containers")
        one = "[art, containers]" if name == "explainer" else "[containers]"
        message = f"exactly one of {one} must be specified in {name.capitalize()}Spec"
        raise fields.error("" if name == "explainer" else "containers", message)
    if found.transformer is not None:
        raise fields.error("containers", f"further containers beside the component's own {LATER}")
    container = kserve_containers.read(found.main, context)
    kserve_containers.need_image(found.main, container)
    container, artefacts, credentials = kserve_predictor.stored(found.main, container, fields, context)
    container = kserve_containers.calling_predictor(container, context)
    wanted = kserve_containers.usual_arguments(context, extension.concurrency)
    container = kserve_containers.with_arguments(container, wanted)
    source, environment = kserve_containers.source(container, context, artefacts, credentials)
    secrets = container.secret_variables
    own = kserve_pods.usual(kserve_pods.program(container, context), found.main)
    pod = kserve_pods.composed(own, overlay, context)
    return extension.component(
        name, source, environment, container.resources, calls="predictor", secrets=secrets, pod=pod
    )


def _art(art: Fields, component: Fields, extension: Extension, overlay: Overlay, context: Context) -> Component:
    """KServe's explainer with the Adversarial Robustness Toolbox, in its container."""
    art.text("type", required=True, choices=("SquareAttack",))
    own = kserve_containers.read(art, context)
    art.refuse("storage", f"credentials by `storage` {LATER} for explainers", "write storageUri")
    uri, version, config = art.text("storageUri"), art.text("runtimeVersion"), art.text_map("config")
    artefacts = kserve_storage.mounts(component, context, uri)
    if uri:
        artefacts = {MOUNT: Artefact(uri=kserve_storage.check(art, "storageUri", uri), base=context.base)}
    wanted = kserve_containers.usual_arguments(context, extension.concurrency)
    if uri:
        wanted["--storage_uri"] = MOUNT
    wanted["--adversary_type"] = art.text("type")
    wanted |= {f"--{key}": config[key] for key in sorted(config)}
    container = msgspec.structs.replace(own, image=own.image or f"{_ART_IMAGE}:{version or 'latest'}")
    container = kserve_containers.with_arguments(kserve_containers.calling_predictor(container, context), wanted)
    credentials = kserve_credentials.of_account(component, context)
    source, environment = kserve_containers.source(container, context, artefacts, credentials)
    secrets = container.secret_variables
    raw = kserve_pods.usual(kserve_pods.program(container, context), art)
    pod = kserve_pods.composed(raw, overlay, context)
    return extension.component(
        "explainer", source, environment, container.resources, calls="predictor", secrets=secrets, pod=pod
    )
