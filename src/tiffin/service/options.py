"""The table of the keywords of ``@service``: the path of each, its default, and what Tiffin does with it.

It is BentoML's ``ServiceConfig``. The guide's table is checked against this one by a test.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from tiffin.errors import ServiceError

HONOURED = ""
CLOUD = "is a hint for BentoCloud, which Tiffin does not need"
_NO_GRPC = "has no effect in BentoML either; Tiffin's gRPC needs no options"
_NO_POOL = "is not needed: Tiffin's calls between services recycle no connections"
_BUCKETS = "is not acted on: the buckets are Tiffin's, from 0.1 ms to 60 s"
_NO_PROBE = "is not acted on: a replica is ready without those it depends on, whose own readiness is looked after"
_NO_TRACING = "is read and not acted on: Tiffin exports no traces yet; x-bentoml-trace-id passes on a caller's"


class Option(NamedTuple):
    """One keyword; ``remark`` is empty for those that are acted on, else the warning about it."""

    path: str
    default: Any = None
    remark: str = HONOURED


OPTIONS = (
    Option("resources.cpu"),
    Option("resources.memory"),
    Option("resources.gpu"),
    Option("resources.gpu_type", None, CLOUD),
    Option("resources.tpu_type", None, CLOUD),
    Option("workers", 1),
    Option("threads", "cores + 4, at most 32"),
    Option("traffic.timeout", 60),
    Option("traffic.max_concurrency"),
    Option("traffic.concurrency", 1),
    Option("traffic.external_queue", None, "is always so for tasks, and never for other calls"),
    Option("http.host", "127.0.0.1"),
    Option("http.port", 3000),
    Option("http.proxy_port", 8000),
    Option("http.cors.enabled", False),
    Option("http.cors.access_control_allow_origins"),
    Option("http.cors.access_control_allow_origin_regex"),
    Option("http.cors.access_control_allow_methods", ["GET"]),
    Option("http.cors.access_control_allow_headers", []),
    Option("http.cors.access_control_allow_credentials", False),
    Option("http.cors.access_control_max_age", 600),
    Option("http.cors.access_control_expose_headers", []),
    Option("http.response.trace_id", False),
    Option("ssl.enabled", False),
    Option("ssl.certfile"),
    Option("ssl.keyfile"),
    Option("ssl.keyfile_password"),
    Option("ssl.ca_certs"),
    Option("ssl.cert_reqs", 0),
    Option("ssl.ciphers", "those of Python"),
    Option("ssl.version", None, "is not acted on: TLS 1.2 and 1.3 are spoken, the older versions are broken"),
    Option("metrics.enabled", True),
    Option("metrics.namespace", "bentoml_service"),
    Option("metrics.duration.buckets", None, _BUCKETS),
    Option("metrics.duration.min", None, _BUCKETS),
    Option("metrics.duration.max", None, _BUCKETS),
    Option("metrics.duration.factor", None, _BUCKETS),
    Option("logging.access.enabled", False),
    Option("logging.access.request_content_length", True),
    Option("logging.access.request_content_type", True),
    Option("logging.access.response_content_length", True),
    Option("logging.access.response_content_type", True),
    Option("logging.access.skip_paths", []),
    Option("logging.access.format.trace_id", "032x"),
    Option("logging.access.format.span_id", "016x"),
    Option("monitoring.enabled", True),
    Option("monitoring.type", "default"),
    Option("monitoring.options.log_path", "monitoring"),
    Option("monitoring.options.log_config_file", None, "is not read: the files are rotated daily"),
    Option("runner_probe.enabled", True, _NO_PROBE),
    Option("runner_probe.timeout", 1, _NO_PROBE),
    Option("runner_probe.period", 10, _NO_PROBE),
    Option("endpoints.livez"),
    Option("endpoints.readyz"),
    Option("backlog", 2048),
    Option("extra_ports", [], "is not acted on: a replica has one port, and one for gRPC"),
    Option("max_runner_connections", 16, _NO_POOL),
    Option("runner_connection", None, _NO_POOL),
    Option("replicate_process", False),
    Option("grpc", None, _NO_GRPC),
    Option("tracing", None, _NO_TRACING),
)
NAMED = ("name", "image", "description", "path_prefix", "envs", "labels", "cmd", "service_class")

_BY_PATH = {option.path: option for option in OPTIONS}
_INNER = frozenset(path.rpartition(".")[0] for path in _BY_PATH) | {
    path.partition(".")[0] for path in _BY_PATH if "." in path
}


def warnings_about(config: Mapping[str, Any], *, is_strict: bool) -> tuple[str, ...]:
    """What of a config is not acted on, by path.

    Raises:
        ServiceError: an unknown name, unless ``is_strict`` is false: then it is a warning, too.
    """
    found = []
    for path, value, siblings in _walk(config, ""):
        option = _BY_PATH.get(path)
        if option is not None:
            if option.remark and value is not None:
                found.append(f"{path}: {option.remark}")
            continue
        near = difflib.get_close_matches(path.rpartition(".")[2], siblings, n=1)
        message = f"no such option of @service{f'; did you mean {near[0]!r}?' if near else ''}"
        if is_strict:
            raise ServiceError(message, hint=f"known names: {', '.join(sorted(siblings))}", at=path)
        found.append(f"{path}: {message}")
    return tuple(found)


def _walk(config: Mapping[str, Any], above: str) -> Iterator[tuple[str, Any, list[str]]]:
    siblings = _names_below(above)
    for key, value in config.items():
        path = f"{above}{key}"
        if path in _BY_PATH or path not in _INNER:
            yield path, value, siblings
        elif isinstance(value, Mapping):
            yield from _walk(value, f"{path}.")
        elif value is not None:
            raise ServiceError(f"expected a dict, found {value!r}", at=path)


def _names_below(above: str) -> list[str]:
    names = {path.removeprefix(above).partition(".")[0] for path in _BY_PATH if path.startswith(above)}
    return sorted(names | set(NAMED if not above else ()))


def at(config: Mapping[str, Any], path: str) -> Any:
    """The value at a path; ``None`` when it, or what it would be in, is absent."""
    value: Any = config
    for key in path.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value
