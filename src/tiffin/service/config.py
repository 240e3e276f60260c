"""The keywords of ``@service``: what is honoured, what is only recorded, and what nobody knows.

The table is BentoML's ``ServiceConfig``. A key that Tiffin knows and does not act on gives a warning by its path.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from tiffin.errors import ServiceError

DEFAULT_TIMEOUT_SECONDS = 60.0

HONOURED = "honoured"
CLOUD = "is a hint for BentoCloud, which Tiffin does not need"
NOT_YET = "is read and not acted on in this version"

_SECTIONS: dict[str, dict[str, str] | str] = {
    "resources": {"cpu": HONOURED, "memory": HONOURED, "gpu": HONOURED, "gpu_type": CLOUD, "tpu_type": CLOUD},
    "workers": HONOURED,
    "threads": HONOURED,
    "traffic": {"timeout": HONOURED, "max_concurrency": HONOURED, "concurrency": HONOURED, "external_queue": CLOUD},
    "http": NOT_YET,
    "ssl": NOT_YET,
    "grpc": NOT_YET,
    "metrics": NOT_YET,
    "logging": NOT_YET,
    "tracing": NOT_YET,
    "monitoring": NOT_YET,
    "runner_probe": NOT_YET,
    "endpoints": NOT_YET,
    "backlog": NOT_YET,
    "max_runner_connections": NOT_YET,
    "runner_connection": NOT_YET,
    "extra_ports": NOT_YET,
    "replicate_process": NOT_YET,
}
NAMED = ("name", "image", "description", "path_prefix", "envs", "labels", "cmd", "service_class")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The keywords that are acted on, checked. Cores, bytes, whole or part GPUs, seconds."""

    cpu: float | None = None
    memory_bytes: int | None = None
    gpu: float | None = None
    workers: int | str = 1
    threads: int | None = None
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    max_concurrency: int | None = None
    concurrency: int = 1


def read(config: Mapping[str, Any], *, is_strict: bool) -> tuple[Settings, tuple[str, ...]]:
    """Check the keywords of a service.

    Args:
        config: Keywords as written.
        is_strict: An unknown name raises; otherwise it is a warning, as BentoML ignores it.

    Raises:
        ServiceError: a wrong value, by its path, or an unknown name.
    """
    warnings = []
    for path, known, siblings in _walk(config):
        if known is None:
            message = _unknown(path, siblings)
            if is_strict:
                raise ServiceError(message, hint=f"known names: {', '.join(sorted(siblings))}", at=path)
            warnings.append(f"{path}: {message}")
        elif known != HONOURED:
            warnings.append(f"{path}: {known}")
    resources, traffic = config.get("resources") or {}, config.get("traffic") or {}
    settings = Settings(
        cpu=_optional(resources, "resources.cpu", _cores),
        memory_bytes=_optional(resources, "resources.memory", _bytes),
        gpu=_optional(resources, "resources.gpu", _positive),
        workers=_optional(config, "workers", _workers) or 1,
        threads=_optional(config, "threads", _count),
        timeout_seconds=_optional(traffic, "traffic.timeout", _positive) or DEFAULT_TIMEOUT_SECONDS,
        max_concurrency=_optional(traffic, "traffic.max_concurrency", _count),
        concurrency=_optional(traffic, "traffic.concurrency", _count) or 1,
    )
    return settings, tuple(warnings)


def _walk(config: Mapping[str, Any]) -> list[tuple[str, str | None, list[str]]]:
    found: list[tuple[str, str | None, list[str]]] = []
    for key, value in config.items():
        known = _SECTIONS.get(key)
        if not isinstance(known, dict):
            found.append((key, known, [*_SECTIONS, *NAMED]))
            continue
        if value is None:
            continue
        if not isinstance(value, Mapping):
            raise ServiceError(f"expected a dict, found {value!r}", at=key)
        found.extend((f"{key}.{inner}", known.get(inner), list(known)) for inner in value)
    return found


def _unknown(path: str, siblings: list[str]) -> str:
    name = path.rpartition(".")[2]
    near = difflib.get_close_matches(name, siblings, n=1)
    return f"no such option of @service{f'; did you mean {near[0]!r}?' if near else ''}"


def _optional(section: Mapping[str, Any], path: str, read_value: Any) -> Any:
    value = section.get(path.rpartition(".")[2])
    return None if value is None else read_value(value, path)


def _count(value: Any, path: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ServiceError(f"expected a whole number above 0, found {value!r}", at=path)
    return value


def _positive(value: Any, path: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
        raise ServiceError(f"expected a number above 0, found {value!r}", at=path)
    return float(value)


def _workers(value: Any, path: str) -> int | str:
    if value in ("cpu_count", "cpu"):
        return "cpu"
    if isinstance(value, str):
        raise ServiceError(f"expected a whole number above 0 or 'cpu_count', found {value!r}", at=path)
    return _count(value, path)


_QUANTITY = re.compile(r"^(\d+(?:\.\d+)?)(m|[kKMGTP]i?|)$")
_UNITS = {"": 1.0, "m": 1e-3, **{u: 1000.0 ** (i + 1) for i, u in enumerate("kMGTP")}}
_UNITS |= {"K": 1000.0, **{f"{u}i": 1024.0 ** (i + 1) for i, u in enumerate("KMGTP")}, "ki": 1024.0}


def _cores(value: Any, path: str) -> float:
    if isinstance(value, str):
        matched = _QUANTITY.match(value.strip())
        if matched is None or matched[2] not in ("", "m"):
            raise ServiceError(f"expected cores such as 2, '0.5' or '100m', found {value!r}", at=path)
        value = float(matched[1]) * _UNITS[matched[2]]
    return _positive(value, path)


def _bytes(value: Any, path: str) -> int:
    """Bytes; a bare number is in Gi."""
    unit = "Gi"
    if isinstance(value, str):
        matched = _QUANTITY.match(value.strip())
        if matched is None or matched[2] == "m":
            raise ServiceError(f"expected memory such as 2, '512Mi' or '2Gi', found {value!r}", at=path)
        value, unit = float(matched[1]), matched[2] or "Gi"
    return int(_positive(value, path) * _UNITS[unit])
