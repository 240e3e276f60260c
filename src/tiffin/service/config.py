"""The keywords of ``@service``, read: from what was written to ``Settings``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from tiffin.service.options import NAMED, at, warnings_about
from tiffin.service.settings import (
    DEFAULT_TIMEOUT_SECONDS,
    AccessLogSettings,
    CorsSettings,
    MonitoringSettings,
    Settings,
    refuse,
)
from tiffin.spec.replica import Tls

__all__ = ["DEFAULT_TIMEOUT_SECONDS", "NAMED", "Settings", "read"]

V = TypeVar("V")
Read = Callable[[Any, str], V]


def read(config: Mapping[str, Any], *, is_strict: bool) -> tuple[Settings, tuple[str, ...]]:
    """Check the keywords of a service.

    Args:
        config: Keywords as written.
        is_strict: An unknown name raises; otherwise it is a warning, as BentoML ignores it.

    Raises:
        ServiceError: a wrong value, by its path, or an unknown name.
    """
    warnings = warnings_about(config, is_strict=is_strict)

    def get(path: str, reader: Read[V]) -> V | None:
        value = at(config, path)
        return None if value is None else reader(value, path)

    settings = Settings(
        cpu=get("resources.cpu", _cores),
        memory_bytes=get("resources.memory", _bytes),
        gpu=get("resources.gpu", _positive),
        workers=get("workers", _workers) or 1,
        threads=get("threads", _count),
        timeout_seconds=get("traffic.timeout", _positive) or DEFAULT_TIMEOUT_SECONDS,
        max_concurrency=get("traffic.max_concurrency", _count),
        concurrency=get("traffic.concurrency", _count) or 1,
        host=get("http.host", _text) or "",
        port=get("http.port", _port),
        program_port=get("http.proxy_port", _port) or 8000,
        replicates_program=get("replicate_process", _flag) is True,
        cors=_cors(get),
        trace_id=get("http.response.trace_id", _flag) or False,
        tls=_tls(get),
        has_metrics=get("metrics.enabled", _flag) is not False,
        metrics_namespace=get("metrics.namespace", _metric_name) or "bentoml_service",
        metrics_buckets=_buckets(get),
        access_log=_access_log(get),
        monitoring=_monitoring(get),
        asks_dependencies=get("runner_probe.enabled", _flag) is not False,
        live_path=get("endpoints.livez", _path) or "",
        ready_path=get("endpoints.readyz", _path) or "",
        backlog=get("backlog", _count) or 2048,
        extra_ports=tuple(get("extra_ports", _ports) or ()),
    )
    return settings, warnings


def _cors(get: Any) -> CorsSettings | None:
    section = "http.cors"
    prefix = f"{section}.access_control"
    found = CorsSettings(
        origins=get(f"{prefix}_allow_origins", _words) or (),
        origin_pattern=get(f"{prefix}_allow_origin_regex", _pattern) or "",
        methods=get(f"{prefix}_allow_methods", _words) or ("GET",),
        headers=get(f"{prefix}_allow_headers", _words) or (),
        credentials=get(f"{prefix}_allow_credentials", _flag) or False,
        max_age=get(f"{prefix}_max_age", _whole) if get(f"{prefix}_max_age", _whole) is not None else 600,
        exposed=get(f"{prefix}_expose_headers", _words) or (),
    )
    if not get(f"{section}.enabled", _flag):
        return None
    if not found.origins and not found.origin_pattern:
        raise refuse(f"{prefix}_allow_origins", "origins, as http.cors is enabled", None)
    return found


def _tls(get: Any) -> Tls | None:
    requirement = get("ssl.cert_reqs", _whole) or 0
    if requirement > 2:
        raise refuse("ssl.cert_reqs", "0, 1 or 2, as in Python's ssl module", requirement)
    texts = {
        name: get(f"ssl.{name}", _text) or ""
        for name in ("certfile", "keyfile", "keyfile_password", "ca_certs", "ciphers")
    }
    if not get("ssl.enabled", _flag):
        return None
    if not texts["certfile"]:
        raise refuse("ssl.certfile", "the path of a certificate, as ssl is enabled", None)
    return Tls(cert_reqs=requirement, **texts)


def _access_log(get: Any) -> AccessLogSettings | None:
    section = "logging.access"
    flags = {
        name: get(f"{section}.{name}", _flag) is not False
        for name in (
            "request_content_length",
            "request_content_type",
            "response_content_length",
            "response_content_type",
        )
    }
    found = AccessLogSettings(
        skip_paths=get(f"{section}.skip_paths", _words) or (),
        trace_id=get(f"{section}.format.trace_id", _number_format) or "032x",
        span_id=get(f"{section}.format.span_id", _number_format) or "016x",
        **flags,
    )
    return found if get(f"{section}.enabled", _flag) else None


def _monitoring(get: Any) -> MonitoringSettings:
    kind = get("monitoring.type", _text) or "default"
    if kind != "default":
        raise refuse("monitoring.type", "'default', files with a JSON object a line", kind)
    directory = get("monitoring.options.log_path", _text) or "monitoring"
    return MonitoringSettings(enabled=get("monitoring.enabled", _flag) is not False, directory=directory)


def _buckets(get: Any) -> tuple[float, ...]:
    section = "metrics.duration"
    found: tuple[float, ...] | None = get(f"{section}.buckets", _bounds)
    low, high, factor = (get(f"{section}.{name}", _positive) for name in ("min", "max", "factor"))
    if low is None and high is None and factor is None:
        return found or ()
    if found is not None or low is None or high is None or factor is None:
        raise refuse(section, "either buckets, or min, max and factor", "another choice of them")
    if factor <= 1 or low >= high:
        raise refuse(section, "min below max, and a factor above 1", (low, high, factor))
    bounds = [low]
    while bounds[-1] * factor < high:
        bounds.append(bounds[-1] * factor)
    return _bounds([*bounds, high], section)


MOST_BUCKETS = 24


def _bounds(value: Any, path: str) -> tuple[float, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise refuse(path, "a list of seconds", value)
    bounds = tuple(_positive(bound, path) for bound in value if bound != float("inf"))
    if list(bounds) != sorted(set(bounds)):
        raise refuse(path, "seconds in rising order", value)
    if len(bounds) > MOST_BUCKETS:
        raise refuse(path, f"at most {MOST_BUCKETS} buckets", len(bounds))
    return bounds


def _count(value: Any, path: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise refuse(path, "a whole number above 0", value)
    return value


def _whole(value: Any, path: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise refuse(path, "a whole number from 0", value)
    return int(value)


def _port(value: Any, path: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 65_535:
        raise refuse(path, "a port from 0 to 65535", value)
    return value


def _ports(value: Any, path: str) -> list[int]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise refuse(path, "a list of ports", value)
    return [_port(port, path) for port in value]


def _positive(value: Any, path: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
        raise refuse(path, "a number above 0", value)
    return float(value)


def _flag(value: Any, path: str) -> bool:
    if not isinstance(value, bool):
        raise refuse(path, "True or False", value)
    return value


def _text(value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise refuse(path, "text", value)
    return value


def _path(value: Any, path: str) -> str:
    if not isinstance(value, str) or not value.startswith("/"):
        raise refuse(path, "a path that starts with '/'", value)
    return value


def _words(value: Any, path: str) -> tuple[str, ...]:
    words = (value,) if isinstance(value, str) else value
    if not isinstance(words, Sequence) or not all(isinstance(word, str) for word in words):
        raise refuse(path, "text, or a list of texts", value)
    return tuple(words)


def _pattern(value: Any, path: str) -> str:
    try:
        re.compile(value)
    except (re.error, TypeError):
        raise refuse(path, "a regular expression", value) from None
    return str(value)


def _metric_name(value: Any, path: str) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[a-zA-Z_:][a-zA-Z0-9_:]*", value):
        raise refuse(path, "a name Prometheus takes", value)
    return value


def _number_format(value: Any, path: str) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"0?\d{0,3}[xXdob]?", value):
        raise refuse(path, "a format of whole numbers such as '032x'", value)
    return value


def _workers(value: Any, path: str) -> int | str:
    if value in ("cpu_count", "cpu"):
        return "cpu"
    if isinstance(value, str):
        raise refuse(path, "a whole number above 0 or 'cpu_count'", value)
    return _count(value, path)


_QUANTITY = re.compile(r"^(\d+(?:\.\d+)?)(m|[kKMGTP]i?|)$")
_UNITS = {"": 1.0, "m": 1e-3, **{u: 1000.0 ** (i + 1) for i, u in enumerate("kMGTP")}}
_UNITS |= {"K": 1000.0, **{f"{u}i": 1024.0 ** (i + 1) for i, u in enumerate("KMGTP")}, "ki": 1024.0}


def _cores(value: Any, path: str) -> float:
    if isinstance(value, str):
        matched = _QUANTITY.match(value.strip())
        if matched is None or matched[2] not in ("", "m"):
            raise refuse(path, "cores such as 2, '0.5' or '100m'", value)
        value = float(matched[1]) * _UNITS[matched[2]]
    return _positive(value, path)


def _bytes(value: Any, path: str) -> int:
    """Bytes; a bare number is in Gi."""
    unit = "Gi"
    if isinstance(value, str):
        matched = _QUANTITY.match(value.strip())
        if matched is None or matched[2] == "m":
            raise refuse(path, "memory such as 2, '512Mi' or '2Gi'", value)
        value, unit = float(matched[1]), matched[2] or "Gi"
    return int(_positive(value, path) * _UNITS[unit])
