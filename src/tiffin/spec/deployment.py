"""A deployment: the desired state of one served thing, whatever file it was written in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from tiffin.spec.pod import Pod
from tiffin.spec.policy import Policy
from tiffin.spec.recording import Recording
from tiffin.spec.rollout import Rollout
from tiffin.spec.scaling import Scaling
from tiffin.spec.traffic import Traffic

Protocol = Literal["open-inference", "kserve-v1", "seldon", "named-json"]
"""The wire protocol a deployment is called with first; a replica answers the others it can as well."""


class SpecWarning(msgspec.Struct, frozen=True):
    """A field that was read but is not honoured as written, by its path.

    ``target`` is ``local`` or ``kubernetes`` where only that target does not honour it; empty: none does.
    """

    path: str
    message: str
    target: str = ""

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class Parameter(msgspec.Struct, frozen=True):
    """A typed constructor argument (Seldon's ``parameters[]``), already converted to ``value``."""

    name: str
    value: str | int | float | bool


class Artefact(msgspec.Struct, frozen=True):
    """Where files come from: an address fsspec knows, an image or bundle reference, or a directory.

    ``base`` is the directory relative paths start from (that of the file which named them).
    """

    uri: str
    base: str = ""


class ModelSource(msgspec.Struct, frozen=True, tag="model", kw_only=True):
    """A saved model: an artefact and the format that reads it.

    ``credentials`` are variables for whoever fetches it (``AWS_ACCESS_KEY_ID`` ...), never shown.

    ``format`` is ``sklearn | xgboost | lightgbm | onnx``; empty means found by looking.
    ``method`` is what is asked of the estimator: ``predict | predict_proba | decision_function``.
    ``output`` is the name of the answers' only tensor; empty: what the model calls it, or ``output-0``.
    """

    artefact: Artefact
    format: str = ""
    format_version: str = ""
    method: str = "predict"
    output: str = ""
    trust: bool = False
    credentials: dict[str, str] = {}


class ServiceSource(msgspec.Struct, frozen=True, tag="service", kw_only=True):
    """An authored service, ``module:Attribute``, in a directory or a bundle."""

    artefact: Artefact
    target: str


class ClassSource(msgspec.Struct, frozen=True, tag="class", kw_only=True):
    """A plain class with ``predict(self, X, ...)``, ``module:Class``, in a directory or a bundle.

    ``target`` is empty when the bundle says it. ``unit`` and ``image`` fill ``meta.requestPath``.
    """

    artefact: Artefact
    target: str = ""
    parameters: tuple[Parameter, ...] = ()
    unit: str = ""
    image: str = ""


class ContainerSource(msgspec.Struct, frozen=True, tag="container", kw_only=True):
    """A program in an image, which speaks HTTP on ``port``.

    A target runs it from a local bundle of that tag, or with a container engine. ``mounts`` are directories
    of the container by artefact: what ``STORAGE_URI`` names is found at ``/mnt/models``; ``credentials`` are
    for whoever fetches them. ``$(PREDICTOR_HOST)`` in ``arguments`` stands for where the component it calls is
    reached, ``host[:port][/path]`` as it stands after ``http://``; the target fills it in. ``bundle`` is the
    digest of the local bundle that was found for the image: its program then runs as a process of the machine.
    """

    image: str
    command: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    port: int = 8080
    ready_path: str = ""
    mounts: dict[str, Artefact] = {}
    credentials: dict[str, str] = {}
    bundle: str = ""


class Resources(msgspec.Struct, frozen=True, kw_only=True):
    """What one replica asks for: cores, bytes of memory, whole GPUs. ``None`` means no wish.

    ``memory_limit_bytes`` is what it may use at most before it is ended.
    """

    cpu: float | None = None
    memory_bytes: int | None = None
    memory_limit_bytes: int | None = None
    gpu: float | None = None


class Batching(msgspec.Struct, frozen=True, kw_only=True):
    """Caps of the batcher. ``enabled=None`` means: on for saved models, off otherwise."""

    enabled: bool | None = None
    max_rows: int = 1024
    max_bytes: int = 262_144


class Logger(msgspec.Struct, frozen=True, kw_only=True):
    """Where the payloads of a component go, as CloudEvents over HTTP; ``style``: whose types and attributes."""

    url: str
    mode: Literal["all", "request", "response"] = "all"
    metadata_headers: tuple[str, ...] = ()
    style: Literal["kserve", "seldon"] = "kserve"


class Component(msgspec.Struct, frozen=True, kw_only=True):
    """One node of a deployment that runs as replicas of its own.

    ``name`` says what it is for: ``predictor``, ``transformer``, ``explainer``, or a service that another one
    depends on. ``calls`` is the component it sends requests to by itself (a transformer and an explainer call the
    predictor).
    """

    name: str = "predictor"
    source: ModelSource | ServiceSource | ClassSource | ContainerSource
    model_name: str = ""
    """What callers name it in ``/v2/models/{name}``; empty is the deployment's name."""
    calls: str = ""
    dependencies: dict[str, str] = {}
    """Services it depends on that run apart: the component of each, by the service's name. ``{"*": ""}`` is all of
    them, until the service was described."""
    is_dependency: bool = False
    """Whether only other services call it, in frames."""
    scaling: Scaling = Scaling()
    workers: int | Literal["cpu"] = 1
    threads: int | None = None
    timeout_seconds: float | None = None
    max_concurrency: int | None = None
    retry_reset: bool | None = None
    """Whether a call may be asked again after its replica broke off; ``None``: for saved models only."""
    grpc: bool = False
    """Whether it answers gRPC as well as HTTP."""
    resources: Resources = Resources()
    batching: Batching = Batching()
    environment: dict[str, str] = {}
    secret_variables: tuple[str, ...] = ()
    """Names in ``environment`` whose values came from a secret: never shown, and never written to a file."""
    logger: Logger | None = None
    policy: Policy = Policy()
    pod: Pod = Pod()

    @property
    def replicas(self) -> int:
        """How many run from the beginning."""
        return self.scaling.min_replicas


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """A version of the deployment that runs beside the main one: an arm of an A/B test, a canary, a shadow.

    ``weight`` is its percentage of the calls. A variant with ``mirror_percent`` is a shadow: it gets copies of
    that percentage of the calls, and its answers go nowhere.
    """

    name: str
    components: tuple[Component, ...]
    weight: float = 0.0
    mirror_percent: float | None = None
    labels: dict[str, str] = {}


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """An address of the deployment: requests for it reach a component, path rewritten.

    ``hosts``: exact host names without port; empty means any host.
    ``path``: a prefix that ends at a segment boundary, or the whole path when ``exact``.
    ``rewrite``: what replaces the matched ``path``; ``None`` leaves it.
    ``shared``: two deployments may both want this address (BentoML's ``/predict``); the first one gets it
    and the other is told by a warning. An address that is not shared and is wanted twice is an error.
    ``component``: empty means the one that callers talk to (the transformer where there is one).
    ``variant``: empty means all of them by their weights; otherwise this one only.
    """

    path: str = "/"
    hosts: tuple[str, ...] = ()
    exact: bool = False
    rewrite: str | None = None
    shared: bool = False
    component: str = ""
    variant: str = ""


def entry_of(components: Sequence[str]) -> str:
    """The one of a deployment's components (names, in order; at least one) that callers talk to."""
    return "transformer" if "transformer" in components else components[0]


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """The desired state of one served thing.

    ``components`` are the main variant's, called ``variant``; ``variants`` run beside it and take their share
    of the calls, the main one takes the rest. ``canary_percent`` is KServe's: the percentage that the newest
    revision of the main variant gets, while the one rolled out before keeps the rest; ``None`` promotes.
    ``stopped``: kept, with nothing running. ``dialect`` is the system whose words its status speaks.

    ``derived_name``: nobody wrote the name (BentoML: it comes from the class), so a clash may rename it.
    ``file`` and ``document`` (from 0) say where it was written, for messages.
    """

    name: str
    namespace: str = "default"
    protocol: Protocol = "open-inference"
    components: tuple[Component, ...]
    variant: str = "main"
    variants: tuple[Variant, ...] = ()
    canary_percent: float | None = None
    traffic: Traffic = Traffic()
    rollout: Rollout | None = None
    recording: Recording | None = None
    stopped: bool = False
    routes: tuple[Route, ...] = ()
    dialect: Literal["kserve", "seldon", "bentoml", "tiffin", "model"] = "tiffin"
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    derived_name: bool = False
    file: str = ""
    document: int = 0
    warnings: tuple[SpecWarning, ...] = ()

    @property
    def key(self) -> str:
        """``namespace/name``, unique among what runs together."""
        return f"{self.namespace}/{self.name}"

    @property
    def entry(self) -> str:
        """The component that callers talk to."""
        return entry_of([component.name for component in self.components])

    @property
    def policy(self) -> Policy:
        """What all of its components must meet."""
        return self.components[0].policy

    @property
    def main(self) -> Variant:
        """The main variant, with what the others leave of the calls."""
        taken = sum(variant.weight for variant in self.variants if variant.mirror_percent is None)
        return Variant(name=self.variant, components=self.components, weight=max(0.0, 100.0 - taken))

    @property
    def all_variants(self) -> tuple[Variant, ...]:
        """The main variant first."""
        return (self.main, *self.variants)
