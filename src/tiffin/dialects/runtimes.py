"""Serving runtimes: KServe's own by name, those that users write, and the rules by which one is chosen.

The table holds the ClusterServingRuntimes that KServe installs. Where one of them is chosen Tiffin loads the model
itself; a runtime that somebody wrote brings its own container. A file that KServe would refuse is refused here
too, with the same words.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from tiffin.dialects import kubernetes
from tiffin.dialects.fields import ELSEWHERE, NO_EFFECT, Fields, describe
from tiffin.dialects.kubernetes import Container

API_VERSIONS = ("serving.kserve.io/v1alpha1",)
KINDS = ("ServingRuntime", "ClusterServingRuntime")

RANKED = ("v1", "v2", "grpc-v1", "grpc-v2")
"""Protocol versions in the order KServe prefers them when a file names none."""

MAIN = "kserve-container"
TRANSFORMER = "transformer-container"

LOADED = ("sklearn", "xgboost", "lightgbm", "onnx")
"""The formats Tiffin loads itself."""

# Images whose work Tiffin does itself, by the end of their repository.
_REPLACED = ("kserve/sklearnserver", "kserve/xgbserver", "kserve/lgbserver", "kserve/predictiveserver",
             "seldonio/mlserver", "nvidia/tritonserver")  # fmt: skip


class Format(msgspec.Struct, frozen=True):
    """One entry of ``supportedModelFormats``; only ``automatic`` ones are found without the runtime's name."""

    name: str
    version: str = ""
    automatic: bool = False
    priority: int | None = None


class Runtime(msgspec.Struct, frozen=True, kw_only=True):
    """``namespace`` is empty for a ClusterServingRuntime. ``created`` is its creation time, as ISO 8601.

    ``container`` is what it runs; the runtimes KServe installs have none here.
    """

    name: str
    namespace: str = ""
    formats: tuple[Format, ...] = ()
    protocols: tuple[str, ...] = ()
    created: str = ""
    disabled: bool = False
    multi_model: bool = False
    has_workers: bool = False
    container: Container | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    pod: dict[str, Any] = {}
    """What it says of pods, as a PodSpec without that container."""
    pod_annotations: dict[str, str] = {}

    @property
    def is_replaced(self) -> bool:
        """Whether Tiffin does what its container would, for the formats it loads."""
        if self.container is None:
            return True
        return repository(self.container.image).endswith(_REPLACED)

    @property
    def names_outputs_by_method(self) -> bool:
        """Whether its answers' only tensor is called ``predict`` or ``predict_proba``, as MLServer calls it."""
        image = "" if self.container is None else repository(self.container.image)
        return self is RUNTIMES["kserve-mlserver"] or image.endswith("seldonio/mlserver")

    def supports(self, format: str, version: str, *, automatic: bool) -> bool:
        """Versions are compared as text: ``1.0`` is not ``1``."""
        return any(
            entry.name == format and (not version or entry.version == version)
            for entry in self.formats
            if entry.automatic or not automatic
        )

    def speaks(self, protocol: str) -> bool:
        return not self.protocols or protocol in self.protocols

    @property
    def first_protocol(self) -> str:
        """The one KServe prefers, ``v1`` where none is named."""
        return min((name for name in self.protocols if name in RANKED), key=RANKED.index, default="v1")


class NotFound(Exception):
    """No runtime: ``str`` is KServe's message, ``reason`` the one of its status."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def choose(
    runtimes: Sequence[Runtime],
    *,
    namespace: str,
    format: str,
    version: str = "",
    protocol: str = "",
    runtime: str = "",
    has_workers: bool = False,
) -> Runtime:
    """The runtime for a model, as KServe chooses it; empty texts are absent fields.

    Raises:
        NotFound: there is none.
    """
    own = [found for found in runtimes if found.namespace and found.namespace == namespace]
    cluster = [found for found in runtimes if not found.namespace]
    if runtime:
        return _named([*own, *cluster], runtime, format, version, protocol)
    # KServe takes an absent protocol for v1 when it looks for a runtime by itself.
    wanted = protocol or "v1"
    for found in (*_ordered(own, format), *_ordered(cluster, format)):
        if found.disabled or found.multi_model or found.has_workers != has_workers:
            continue
        if found.supports(format, version, automatic=True) and found.speaks(wanted):
            return found
    raise NotFound("NoSupportingRuntime", "No runtime found to support specified framework/version")


def _named(runtimes: Iterable[Runtime], name: str, format: str, version: str, protocol: str) -> Runtime:
    found = next((each for each in runtimes if each.name == name), None)
    if found is None:
        message = f"No ServingRuntimes or ClusterServingRuntimes with the name: {name}"
        raise NotFound("RuntimeNotRecognized", message)
    if found.disabled:
        raise NotFound("RuntimeDisabled", "Specified runtime is disabled")
    if protocol and not found.speaks(protocol):
        message = "Specified runtime does not support specified protocol version"
        raise NotFound("NoSupportingRuntime", message)
    if not found.supports(format, version, automatic=False):
        message = "Specified runtime does not support specified framework/version"
        raise NotFound("NoSupportingRuntime", message)
    return found


def _ordered(runtimes: Iterable[Runtime], format: str) -> list[Runtime]:
    """By the rank of their best protocol, the newest first, then by name; then by priority, the highest first."""
    found = sorted(runtimes, key=lambda each: each.name)
    found.sort(key=lambda each: each.created, reverse=True)
    found.sort(key=_rank)
    found.sort(key=lambda each: _priority(each, format))
    return found


def _rank(runtime: Runtime) -> int:
    return min((RANKED.index(name) for name in runtime.protocols if name in RANKED), default=len(RANKED))


def _priority(runtime: Runtime, format: str) -> float:
    """Ascending: the highest first, none at the end."""
    for entry in runtime.formats:
        if entry.name == format and entry.priority is not None:
            return -entry.priority
    return float("inf")


def known(extra: Iterable[Runtime]) -> tuple[Runtime, ...]:
    """KServe's runtimes and ``extra`` ones, which count instead of one of the same name."""
    extra = tuple(extra)
    written = {runtime.name for runtime in extra if not runtime.namespace}
    return (*extra, *(runtime for name, runtime in RUNTIMES.items() if name not in written))


def advice(runtimes: Sequence[Runtime], namespace: str, format: str, version: str, protocol: str) -> str:
    """What would be accepted instead: the runtimes, versions and protocols there are for a format."""
    lines = []
    for runtime in runtimes:
        versions = list(dict.fromkeys(entry.version for entry in runtime.formats if entry.name == format))
        if versions and runtime.namespace in ("", namespace):
            lines.append(
                f"{runtime.name} ({format} {' or '.join(versions)}; {' or '.join(runtime.protocols)})".replace(
                    f"{format} ;", f"{format};"
                )
            )
    if not protocol:
        try:
            choose(runtimes, namespace=namespace, format=format, version=version, protocol="v2")
            return f"write protocolVersion: v2, which {format} models need"
        except NotFound:
            pass
    return "runtimes for this format: " + ", ".join(lines) if lines else "choose another format"


def repository(image: str) -> str:
    """An image without its tag and digest."""
    image = image.partition("@")[0]
    name, colon, tag = image.rpartition(":")
    return name if colon and "/" not in tag else image


# ---- those that KServe installs


def _runtime(
    name: str, protocols: str, manual: tuple[str, ...] = (), priority: int | None = None, **formats: str
) -> Runtime:
    entries = tuple(
        Format(format, version, format not in manual, None if format in manual else priority)
        for format, versions in formats.items()
        for version in versions.split()
    )
    return Runtime(name=name, protocols=tuple(protocols.split()), formats=entries)


def _mlserver() -> Runtime:
    found = _runtime("kserve-mlserver", "v2", (), 2, sklearn="0 1", xgboost="1 2", lightgbm="3 4", mlflow="1 2")
    formats = tuple(
        msgspec.structs.replace(entry, priority=1) if entry.name == "mlflow" else entry for entry in found.formats
    )
    return msgspec.structs.replace(found, formats=formats)


_INSTALLED = (
    _runtime("kserve-autogluonserver", "v1 v2", autogluon="1"),
    _runtime("kserve-huggingfaceserver", "v2 v1", priority=1, huggingface="1"),
    msgspec.structs.replace(
        _runtime("kserve-huggingfaceserver-multinode", "v2 v1", priority=2, huggingface="1"), has_workers=True
    ),
    _runtime("kserve-lgbserver", "v1 v2", priority=1, lightgbm="4"),
    _mlserver(),
    _runtime("kserve-paddleserver", "v1 v2", paddle="2"),
    _runtime("kserve-pmmlserver", "v1 v2", pmml="3 4"),
    _runtime(
        "kserve-predictiveserver", "v1 v2", ("sklearn", "xgboost", "lightgbm"), sklearn="1", xgboost="2",
        lightgbm="4",
    ),
    _runtime("kserve-sklearnserver", "v1 v2", priority=1, sklearn="1"),
    _runtime("kserve-tensorflow-serving", "v1 grpc-v1", priority=2, tensorflow="1 2"),
    _runtime("kserve-torchserve", "v1 v2 grpc-v2", priority=2, pytorch="1"),
    _runtime(
        "kserve-tritonserver", "v2 grpc-v2", ("pytorch",), 1, tensorrt="8", tensorflow="1 2", onnx="1", triton="2",
        pytorch="1",
    ),
    _runtime("kserve-vllmserver", "", vLLM="1"),
    _runtime("kserve-xgbserver", "v1 v2", priority=1, xgboost="2"),
)  # fmt: skip

RUNTIMES: dict[str, Runtime] = {runtime.name: runtime for runtime in _INSTALLED}


# ---- those that users write

_MODEL_MESH = ("grpcEndpoint", "grpcDataEndpoint", "httpDataEndpoint", "replicas", "storageHelper",
               "builtInAdapter")  # fmt: skip


def read(root: Fields, *, is_cluster: bool) -> Runtime:
    """A ServingRuntime or ClusterServingRuntime document.

    Raises:
        SpecError: it does not say what one must.
    """
    metadata = kubernetes.metadata(root, is_dotted=True)
    spec = root.section("spec")
    formats = tuple(_format(entry) for entry in spec.mappings("supportedModelFormats"))
    _check_priorities(spec, formats)
    protocols = spec.texts("protocolVersions")
    labels, annotations = spec.text_map("labels"), spec.text_map("annotations")
    has_workers = spec.has("workerSpec")
    spec.accept("workerSpec")
    containers = spec.mappings("containers", required=True)
    read = [kubernetes.container(container) for container in containers]
    main = next((index for index, each in enumerate(read) if each.name == MAIN), 0 if len(read) == 1 else None)
    if main is None:
        raise spec.error("containers", f'expected a container named "{MAIN}", found none')
    for index, container in enumerate(containers):
        if index != main:
            container.reader.warn(container.path, f"a container beside the model's {NO_EFFECT}", "local")
    pod = spec.for_pods(kubernetes.POD_FIELDS)
    if beside := [container.raw for index, container in enumerate(read) if index != main]:
        pod["containers"] = beside
    spec.ignore(_MODEL_MESH, "is for ModelMesh only")
    spec.ignore_each(("grpcMaxMessageSize",), ELSEWHERE)
    created = (root.value.get("metadata") or {}).get("creationTimestamp")
    return Runtime(
        name=metadata.name,
        namespace="" if is_cluster else metadata.namespace,
        formats=formats,
        protocols=protocols,
        created=created if isinstance(created, str) else "",
        disabled=spec.flag("disabled") or False,
        multi_model=spec.flag("multiModel") or False,
        has_workers=has_workers,
        container=read[main],
        labels=labels,
        annotations=metadata.annotations | annotations,
        pod=pod,
        pod_annotations=annotations,
    )


def _format(entry: Fields) -> Format:
    return Format(
        name=entry.text("name", required=True),
        version=entry.text("version"),
        automatic=entry.flag("autoSelect") or False,
        priority=entry.integer("priority", minimum=1),
    )


def _check_priorities(spec: Fields, formats: tuple[Format, ...]) -> None:
    """As KServe's webhook: a format that is listed twice, for two versions, has one priority."""
    seen: dict[str, int | None] = {}
    for entry in formats:
        if seen.setdefault(entry.name, entry.priority) != entry.priority:
            raise spec.error(
                "supportedModelFormats",
                f"different priorities assigned for the same model format {describe(entry.name)}",
            )


def conflict(new: Runtime, others: Iterable[Runtime]) -> str:
    """As KServe's webhook: of two that could be chosen for a model, one has to come first; empty when one does."""
    for other in others:
        if other.namespace != new.namespace or other.name == new.name or other.multi_model != new.multi_model:
            continue
        if new.disabled or other.disabled or not set(new.protocols) & set(other.protocols):
            continue
        name = next((one.name for one in new.formats for two in other.formats if _is_tied(one, two)), "")
        if name:
            both = f"{other.name} and {new.name}"
            where = (
                f"servingruntimes {both} in namespace {new.namespace}"
                if new.namespace
                else f"clusterservingruntimes {both}"
            )
            return f"same priority assigned for the model format {name} in the {where}"
    return ""


def _is_tied(one: Format, two: Format) -> bool:
    if not (one.automatic and two.automatic) or one.priority is None:
        return False
    return (one.name.lower(), one.version, one.priority) == (two.name.lower(), two.version, two.priority)
