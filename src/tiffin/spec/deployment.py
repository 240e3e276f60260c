"""A deployment: the desired state of one served thing, whatever file it was written in."""

from __future__ import annotations

from typing import Literal

import msgspec

Protocol = Literal["open-inference", "kserve-v1", "seldon", "named-json"]
"""The wire protocol a deployment is called with first; a replica answers the others it can as well."""


class SpecWarning(msgspec.Struct, frozen=True):
    """A field that was read but is not honoured as written, by its path."""

    path: str
    message: str

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

    ``format`` is ``sklearn | xgboost | lightgbm | onnx``; empty means found by looking.
    ``method`` is what is asked of the estimator: ``predict | predict_proba | decision_function``.
    """

    artefact: Artefact
    format: str = ""
    format_version: str = ""
    method: str = "predict"
    trust: bool = False


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


class Resources(msgspec.Struct, frozen=True, kw_only=True):
    """What one replica asks for: cores, bytes of memory, whole GPUs. ``None`` means no wish."""

    cpu: float | None = None
    memory_bytes: int | None = None
    gpu: float | None = None


class Batching(msgspec.Struct, frozen=True, kw_only=True):
    """Caps of the batcher. ``enabled=None`` means: on for saved models, off otherwise."""

    enabled: bool | None = None
    max_rows: int = 1024
    max_bytes: int = 262_144


class Component(msgspec.Struct, frozen=True, kw_only=True):
    """One node of a deployment that runs as replicas of its own."""

    name: str = "predictor"
    source: ModelSource | ServiceSource | ClassSource
    replicas: int = 1
    max_replicas: int | None = None
    workers: int | Literal["cpu"] = 1
    threads: int | None = None
    timeout_seconds: float | None = None
    max_concurrency: int | None = None
    resources: Resources = Resources()
    batching: Batching = Batching()
    environment: dict[str, str] = {}


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """An address of the deployment: requests for it reach a component, path rewritten.

    ``hosts``: exact host names without port; empty means any host.
    ``path``: a prefix that ends at a segment boundary, or the whole path when ``exact``.
    ``rewrite``: what replaces the matched ``path``; ``None`` leaves it.
    ``shared``: two deployments may both want this address (BentoML's ``/predict``); the first one gets it
    and the other is told by a warning. An address that is not shared and is wanted twice is an error.
    """

    path: str = "/"
    hosts: tuple[str, ...] = ()
    exact: bool = False
    rewrite: str | None = None
    shared: bool = False
    component: str = "predictor"


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """The desired state of one served thing.

    ``derived_name``: nobody wrote the name (BentoML: it comes from the class), so a clash may rename it.
    ``file`` and ``document`` (from 0) say where it was written, for messages.
    """

    name: str
    namespace: str = "default"
    protocol: Protocol = "open-inference"
    components: tuple[Component, ...]
    routes: tuple[Route, ...] = ()
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
