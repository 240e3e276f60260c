"""What a service says of itself once its module was imported, elsewhere.

The platform side never imports user code: it runs ``python -m tiffin.service describe`` and reads this JSON.
"""

from __future__ import annotations

from typing import Any

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


class ServiceDescription(msgspec.Struct, frozen=True, kw_only=True):
    """Name, endpoints and the settings written in the decorator (already checked)."""

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
