"""What a service says of itself once its module was imported, elsewhere.

The platform side never imports user code: it runs ``python -m tiffin.service describe`` and reads this JSON.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec


class EndpointDescription(msgspec.Struct, frozen=True, kw_only=True):
    """One method callers can reach; ``route`` is its path, ``input`` and ``output`` JSON Schema."""

    name: str
    route: str
    description: str = ""
    batchable: bool = False
    is_stream: bool = False
    is_task: bool = False
    input: dict[str, Any] = {}
    output: dict[str, Any] = {}


class ImageDescription(msgspec.Struct, frozen=True, kw_only=True):
    """``images.Image(...)`` of the decorator: its keywords, and its steps as ``(method, arguments)`` in order."""

    options: dict[str, Any] = {}
    steps: tuple[tuple[str, tuple[Any, ...]], ...] = ()


class VariableDescription(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of ``envs``. ``value`` is None when whoever runs the service has to set it."""

    name: str
    value: str | None = None
    stage: str = "all"


class ModelDescription(msgspec.Struct, frozen=True, kw_only=True):
    """A model that a class attribute names: ``store`` (a tag of the model store) or ``huggingface`` (an id)."""

    source: Literal["store", "huggingface"]
    name: str
    revision: str = ""
    endpoint: str = ""
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


class ServiceDescription(msgspec.Struct, frozen=True, kw_only=True):
    """Name, endpoints and the settings written in the decorator (already checked).

    ``dependencies`` are the services it depends on in its own deployment, by attribute.

    ``image``, ``envs``, ``models`` (those of dependencies too) and ``schema`` (what ``/schema.json`` says) are
    for building, and only told when asked for; so is ``text``, the decorator's ``description``.
    """

    name: str
    target: str
    endpoints: tuple[EndpointDescription, ...] = ()
    timeout_seconds: float | None = None
    workers: int | str = 1
    threads: int | None = None
    max_concurrency: int | None = None
    cpu: float | None = None
    memory_bytes: int | None = None
    gpu: float | None = None
    environment: dict[str, str] = {}
    labels: dict[str, str] = {}
    warnings: tuple[str, ...] = ()
    dependencies: dict[str, ServiceDescription] = {}
    image: ImageDescription | None = None
    envs: tuple[VariableDescription, ...] = ()
    models: tuple[ModelDescription, ...] = ()
    schema: dict[str, Any] = {}
    text: str = ""
