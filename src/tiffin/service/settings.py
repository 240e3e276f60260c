"""What the keywords of ``@service`` come to, checked."""

from __future__ import annotations

from typing import Any

import msgspec

from tiffin.errors import ServiceError
from tiffin.spec.replica import Tls

DEFAULT_TIMEOUT_SECONDS = 60.0
DEFAULT_PORT = 3000


class CorsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Who may ask from another origin; ``*`` stands for everybody, every method, every header."""

    origins: tuple[str, ...] = ()
    origin_pattern: str = ""
    methods: tuple[str, ...] = ("GET",)
    headers: tuple[str, ...] = ()
    credentials: bool = False
    max_age: int = 600
    exposed: tuple[str, ...] = ()


class AccessLogSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a line of the access log holds, and the paths that get none."""

    request_content_length: bool = True
    request_content_type: bool = True
    response_content_length: bool = True
    response_content_type: bool = True
    skip_paths: tuple[str, ...] = ()
    trace_id: str = "032x"
    span_id: str = "016x"


class MonitoringSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where ``monitor`` writes."""

    enabled: bool = True
    directory: str = "monitoring"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The keywords that are acted on, checked. Cores, bytes, whole or part GPUs, seconds.

    ``concurrency`` is how many tasks one worker runs at once.
    ``host``, ``port``, ``backlog`` and ``tls`` are for ``tiffin serve``; behind the gateway they are its own.
    ``program_port`` is where a service's own program listens. ``metrics_buckets`` are upper bounds in seconds.
    """

    cpu: float | None = None
    memory_bytes: int | None = None
    gpu: float | None = None
    workers: int | str = 1
    threads: int | None = None
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    max_concurrency: int | None = None
    concurrency: int = 1
    host: str = ""
    port: int | None = None
    program_port: int = 8000
    replicates_program: bool = False
    cors: CorsSettings | None = None
    trace_id: bool = False
    tls: Tls | None = None
    has_metrics: bool = True
    metrics_namespace: str = "bentoml_service"
    metrics_buckets: tuple[float, ...] = ()
    access_log: AccessLogSettings | None = None
    monitoring: MonitoringSettings = MonitoringSettings()
    asks_dependencies: bool = True
    live_path: str = ""
    ready_path: str = ""
    backlog: int = 2048
    extra_ports: tuple[int, ...] = ()


def refuse(path: str, expected: str, found: Any) -> ServiceError:
    """The error for a value that is none of the option's."""
    return ServiceError(f"expected {expected}, found {found!r}", at=path)
