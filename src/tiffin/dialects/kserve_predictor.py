"""The predictor of an InferenceService: a saved model, a model in a runtime's container, or a container."""

from __future__ import annotations

import msgspec

from tiffin.dialects import (
    kserve_component,
    kserve_containers,
    kserve_credentials,
    kserve_models,
    kserve_pods,
    kserve_storage,
    kubernetes,
)
from tiffin.dialects.fields import ELSEWHERE, LATER, Fields, describe
from tiffin.dialects.kserve_component import Extension
from tiffin.dialects.kserve_context import NAME, Context
from tiffin.dialects.kserve_pods import Overlay
from tiffin.dialects.kserve_storage import MOUNT
from tiffin.dialects.kubernetes import Container
from tiffin.dialects.runtimes import MAIN, Runtime
from tiffin.spec import Artefact, Batching, Component
from tiffin.spec.deployment import Protocol

LEGACY = ("sklearn", "xgboost", "tensorflow", "pytorch", "triton", "onnx", "huggingface", "pmml", "lightgbm",
          "paddle")  # fmt: skip


class Predictor(msgspec.Struct, frozen=True, kw_only=True):
    """``transformer`` is the one that is written among the predictor's own containers.

    ``runtime`` is the one that KServe would choose, ``format`` what is written as the model's.
    """

    name: str
    component: Component
    transformer: Component | None
    protocol: Protocol
    canary_percent: float | None
    runtime: Runtime | None = None
    format: str = ""


def read(fields: Fields, context: Context) -> Predictor:
    """``spec.predictor``, or the same thing in ``spec.canary[]``."""
    name = fields.text("name")
    if name and not NAME.fullmatch(name):
        raise fields.error("name", f"expected a name that matches {NAME.pattern}, found {describe(name)}")
    extension = kserve_component.extension(fields, context)
    fields.refuse("workerSpec", f"a model over several machines {LATER}")
    fields.ignore_each(("storageContainerName",), ELSEWHERE)
    kind = _implementation(fields)
    containers = kserve_containers.listed(fields, context, has_model=bool(kind))
    overlay = kserve_pods.read(fields, containers.beside)
    fields.accept("storageUris")
    fields.finish()
    runtime, format = None, ""
    if kind:
        model = fields.section(kind)
        component, protocol, runtime, format = kserve_models.read(
            model, fields, "" if kind == "model" else kind, extension, overlay, context
        )
    elif containers.main is not None:
        component, protocol = _custom(containers.main, fields, extension, overlay, context)
    else:
        raise fields.error("containers", f'expected a container beside the transformer, named "{MAIN}"')
    transformer = None
    if containers.transformer is not None:
        transformer = _collocated(containers.transformer, extension, overlay.alone(), context)
    return Predictor(
        name=name,
        component=component,
        transformer=transformer,
        protocol=protocol,
        canary_percent=extension.canary_percent,
        runtime=runtime,
        format=format,
    )


def _implementation(fields: Fields) -> str:
    """The field that says what the predictor is: ``model``, a format's name, or nothing for ``containers``."""
    names = ("model", *LEGACY)
    fields.known.update((*names, "containers", "storageUris", *kubernetes.POD_FIELDS))
    found = [name for name in names if fields.value.get(name) is not None]
    if len(found) == 1:
        return found[0]
    if not found and fields.value.get("containers"):
        return ""
    fields.finish()  # a misspelt implementation is better news than a missing one
    beside = f", found {' and '.join(found)}" if found else ""
    message = f"exactly one of [{', '.join(names)}, containers] must be specified in PredictorSpec{beside}"
    raise fields.error("", message)


# ---- containers


def _custom(
    fields: Fields, component: Fields, extension: Extension, overlay: Overlay, context: Context
) -> tuple[Component, Protocol]:
    container = kserve_containers.read(fields, context)
    kserve_containers.need_image(fields, container)
    protocol = container.environment.get("PROTOCOL", "v1")
    if protocol not in ("v1", "v2"):
        message = f"invalid protocol {protocol}. Must be one of [v1, v2]"
        raise fields.error("env", message)
    container, artefacts, credentials = stored(fields, container, component, context)
    source, environment = kserve_containers.source(container, context, artefacts, credentials)
    secrets = container.secret_variables
    own = kserve_pods.usual(kserve_pods.program(container, context), fields)
    pod = kserve_pods.composed(own, overlay, context)
    found = extension.component("predictor", source, environment, container.resources, secrets=secrets, pod=pod)
    return found, "open-inference" if protocol == "v2" else "kserve-v1"


def stored(
    fields: Fields, container: Container, component: Fields, context: Context
) -> tuple[Container, dict[str, Artefact], dict[str, str]]:
    """A container with what its ``STORAGE_URI``, or the component's ``storageUris``, bring: the variable then says
    where the files are.
    """
    credentials = kserve_credentials.of_account(component, context)
    uri = container.environment.get("STORAGE_URI", "")
    artefacts = kserve_storage.mounts(component, context, uri)
    if uri:
        artefacts = {MOUNT: Artefact(uri=kserve_storage.check(fields, "env", uri), base=context.base)}
        container = msgspec.structs.replace(container, environment={**container.environment, "STORAGE_URI": MOUNT})
    return container, artefacts, credentials


def _collocated(fields: Fields, extension: Extension, overlay: Overlay, context: Context) -> Component:
    """A transformer among the predictor's containers: a component of its own here, with the same scaling."""
    container = kserve_containers.read(fields, context)
    kserve_containers.need_image(fields, container)
    if "STORAGE_URI" in container.environment:
        raise fields.error("env", "storage uri should not be specified in transformer container")
    container = kserve_containers.calling_predictor(container, context)
    wanted = kserve_containers.usual_arguments(context, None)
    container = kserve_containers.with_arguments(container, wanted)
    source, environment = kserve_containers.source(container, context, {}, {})
    plain = msgspec.structs.replace(extension, logger=None, batching=Batching())
    message = "runs in pods of its own, beside those of the predictor"
    fields.reader.warn(fields.path, message, "kubernetes")
    pod = kserve_pods.composed(kserve_pods.program(container, context), overlay, context)
    return plain.component(
        "transformer",
        source,
        environment,
        container.resources,
        calls="predictor",
        secrets=container.secret_variables,
        pod=pod,
    )
