"""Tiffin's own file: ``tiffin.dev/v1``, kind ``Deployment``.

::

    apiVersion: tiffin.dev/v1
    kind: Deployment
    metadata:
      name: iris
    spec:
      model: model.joblib

``metadata``
    ``name`` (required), ``namespace`` (``default``), ``labels``, ``annotations``.

``spec``: one of these three says what is served
    ``model``: the address of a saved model, or a mapping:
        ``uri`` (required): a path, ``file://``, ``https://``, ``s3://`` or ``gs://``; relative paths start from
        the directory of the file. ``format``: ``sklearn``, ``xgboost``, ``lightgbm`` or ``onnx``; found by looking
        when absent. ``method``: ``predict`` (default), ``predict_proba`` or ``decision_function``.
    ``service``: ``module:Name`` of an authored service, or a mapping:
        ``target`` (required): ``module:Name``. ``directory`` (``.``): where the module is; or ``bundle``:
        a bundle reference such as ``iris:v1``.
    ``class``: ``module:Name`` of a plain class with ``predict``, or a mapping:
        ``target``, ``directory``, ``bundle`` as above, and ``parameters``: constructor arguments by name.

``spec``: how it runs, all optional
    ``replicas`` (1): processes or pods. ``workers`` (1): processes that share one replica's address, or ``cpu``
    for one per core. ``threads``: threads of one worker for synchronous methods. ``timeout``: seconds a call may
    take. ``maxConcurrency``: calls at once in one replica. ``env``: variables by name. ``resources``: ``cpu``
    (cores), ``memory`` (bytes, or ``2Gi``), ``gpu``. ``batching``: ``true``, ``false``, or a mapping with
    ``maxRows`` (1024) and ``maxBytes`` (262144); on for saved models when absent.
"""

from __future__ import annotations

import re
from typing import Literal

from tiffin.dialects import kubernetes, routes
from tiffin.dialects.documents import Document, child
from tiffin.dialects.fields import Fields, Reader, describe
from tiffin.dialects.kserve import FORMATS
from tiffin.dialects.seldon_graph import METHODS
from tiffin.spec import (
    Artefact,
    Batching,
    ClassSource,
    Component,
    Deployment,
    ModelSource,
    Parameter,
    Resources,
    Scaling,
    ServiceSource,
)
from tiffin.spec.deployment import Protocol

API_VERSIONS = ("tiffin.dev/v1",)
KIND = "Deployment"

_TARGET = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_PROTOCOLS: dict[str, Protocol] = {"model": "open-inference", "service": "named-json", "class": "seldon"}


def deployment(document: Document, *, base: str = "", domain: str = routes.DOMAIN) -> Deployment:
    """A Tiffin document as a deployment; relative paths start from ``base``.

    Raises:
        SpecError: a field is missing, unknown or of another type.
    """
    reader = Reader(document)
    root = reader.root()
    root.accept("apiVersion", "kind", "status")
    metadata = kubernetes.metadata(root)
    spec = root.section("spec")
    replicas = spec.integer("replicas", minimum=1) or 1
    workers = _workers(spec)
    threads = spec.integer("threads", minimum=1, maximum=4096)
    timeout = spec.number("timeout", above=0)
    concurrency = spec.integer("maxConcurrency", minimum=1)
    resources, batching = _resources(spec), _batching(spec)
    environment = spec.text_map("env")
    kind = _source_kind(spec)
    component = Component(
        source=_source(spec, kind, base),
        scaling=Scaling(min_replicas=replicas),
        workers=workers,
        threads=threads,
        timeout_seconds=timeout,
        max_concurrency=concurrency,
        resources=resources,
        batching=batching,
        environment=environment,
    )
    found = routes.own(metadata.name, metadata.namespace, domain)
    if kind == "model":
        found += routes.open_inference(metadata.name)
    return Deployment(
        name=metadata.name,
        namespace=metadata.namespace,
        protocol=_PROTOCOLS[kind],
        components=(component,),
        routes=found,
        labels=metadata.labels,
        annotations=metadata.annotations,
        file=document.file,
        document=document.index,
        warnings=reader.finish(),
    )


def _source_kind(spec: Fields) -> str:
    kinds = tuple(_PROTOCOLS)
    spec.known.update(kinds)
    found = [kind for kind in kinds if spec.has(kind)]
    if len(found) != 1:
        spec.finish()
        raise spec.error("", f"expected one of model, service and class, found {' and '.join(found) or 'none'}")
    return found[0]


def _source(spec: Fields, kind: str, base: str) -> ModelSource | ServiceSource | ClassSource:
    written = spec.raw(kind)
    if isinstance(written, str):
        written = {("uri" if kind == "model" else "target"): written}
        fields = Fields(spec.reader, written, spec.at(kind))
    elif isinstance(written, dict):
        fields = spec.reader.open(written, spec.at(kind))
    else:
        raise spec.error(kind, f"expected a string or a mapping, found {describe(written)}")
    if kind == "model":
        return ModelSource(
            artefact=Artefact(uri=fields.text("uri", required=True), base=base),
            format=fields.text("format", choices=("", *FORMATS)),
            method=fields.text("method", "predict", choices=METHODS),
        )
    directory, bundle = fields.text("directory"), fields.text("bundle")
    if directory and bundle:
        raise fields.error("bundle", "expected a directory or a bundle, found both")
    artefact = Artefact(uri=bundle or directory or ".", base=base)
    # A bundle knows what it serves; a directory does not.
    target = fields.text("target", required=not bundle)
    if target and not _TARGET.fullmatch(target):
        raise fields.error("target", f'expected "module:Name", found {describe(target)}')
    if kind == "service":
        return ServiceSource(artefact=artefact, target=target)
    return ClassSource(
        artefact=artefact, target=target, parameters=_parameters(fields), unit=target.rpartition(":")[2]
    )


def _parameters(fields: Fields) -> tuple[Parameter, ...]:
    written = fields.raw("parameters")
    if written is None:
        return ()
    if not isinstance(written, dict):
        raise fields.error("parameters", f"expected a mapping, found {describe(written)}")
    for name, value in written.items():
        if not isinstance(value, str | int | float | bool):
            at = child(fields.at("parameters"), name)
            raise fields.reader.error(at, f"expected a string, number or boolean, found {describe(value)}")
    return tuple(Parameter(name, value) for name, value in written.items())


def _workers(spec: Fields) -> int | Literal["cpu"]:
    if spec.value.get("workers") == "cpu":
        spec.raw("workers")
        return "cpu"
    if isinstance(spec.value.get("workers"), str):
        raise spec.error("workers", f'expected a number or "cpu", found {describe(spec.raw("workers"))}')
    return spec.integer("workers", minimum=1, maximum=1024) or 1


def _resources(spec: Fields) -> Resources:
    fields = spec.mapping("resources")
    if fields is None:
        return Resources()
    found = {}
    for name in ("cpu", "memory", "gpu"):
        value = fields.raw(name)
        if value is not None:
            found[name] = kubernetes.quantity(fields.reader, value, fields.at(name))
    memory = found.get("memory")
    return Resources(
        cpu=found.get("cpu"), memory_bytes=None if memory is None else int(memory), gpu=found.get("gpu")
    )


def _batching(spec: Fields) -> Batching:
    if isinstance(spec.value.get("batching"), bool):
        return Batching(enabled=spec.flag("batching"))
    fields = spec.mapping("batching")
    if fields is None:
        return Batching()
    rows = fields.integer("maxRows", minimum=1) or Batching().max_rows
    return Batching(enabled=True, max_rows=rows, max_bytes=fields.integer("maxBytes", minimum=1) or 262_144)
