"""What Envoy is started with: its admin socket, its one listener, and where to look for the rest.

The listener is an edge: it trusts no header of a caller's, normalises paths, refuses what is ambiguous, and
answers its own errors as JSON that tells nothing of the inside.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tiffin.gateway import filters
from tiffin.gateway.resources import TYPE, Resource, Resources, inline
from tiffin.gateway.routes import ROUTES_NAME

MOST_CONNECTIONS = 20_000
LATENCY_MS = (
    "1 2 3 4 5 6 7 8 10 12 14 17 20 24 29 35 42 50 60 72 86 100 120 144 173 207 250 300 360 430 500 600 720 860 "
    "1000 1200 1440 1730 2100 2500 3000 3600 4300 5000 6000 8000 10000 15000 30000 60000 300000 3600000"
)
"""Bounds in whole milliseconds, as Envoy counts: a fifth apart, so that a rollout can tell 1.2 times from once."""
CONNECTIONS_MONITOR = "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"


def bootstrap(directory: Path, *, host: str, port: int, admin: str) -> Resource:
    """The bootstrap: the rest is read from the files ``directory`` has, and from what they name."""
    return {
        "node": {"id": "tiffin", "cluster": "tiffin"},
        "admin": {"address": {"pipe": {"path": admin, "mode": 0o600}}},
        "dynamic_resources": {"cds_config": file_source(directory / "cds.json")},
        "static_resources": {"listeners": [listener(directory, host=host, port=port)]},
        # Each of a cluster's counters exists a second time under these names.
        "stats_config": {
            "stats_matcher": {
                "exclusion_list": {"patterns": [{"contains": ".external."}, {"contains": ".internal."}]}
            },
            "histogram_bucket_settings": [
                {
                    "match": {"suffix": "upstream_rq_time"},
                    "buckets": [float(bound) for bound in LATENCY_MS.split()],
                }
            ],
        },
        "stats_flush_interval": "1s",
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": TYPE + CONNECTIONS_MONITOR,
                        "max_active_downstream_connections": MOST_CONNECTIONS,
                    },
                }
            ]
        },
    }


def file_source(path: Path) -> Resource:
    """A file that Envoy reads, and reads again when another file is renamed over it."""
    return {"path_config_source": {"path": str(path)}, "resource_api_version": "V3"}


def static_bundle(resources: Resources, directory: Path) -> Resource:
    """A bootstrap that has everything in itself, which Envoy can check before it is told any of it."""
    made = bootstrap(directory, host="127.0.0.1", port=0, admin=str(directory / "check.sock"))
    manager = made["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    del manager["rds"], made["dynamic_resources"]
    manager["route_config"] = {key: value for key, value in resources.routes.items() if key != "@type"}
    manager["http_filters"][0] = {"name": filters.TOKENS, "disabled": True, "typed_config": resources.tokens}
    names = {entry["cluster_name"] for entry in resources.endpoints}
    made["static_resources"]["clusters"] = [
        {key: value for key, value in cluster.items() if key not in ("@type", "eds_cluster_config")}
        for cluster in inline(resources, names).clusters
    ]
    return made


def listener(directory: Path, *, host: str, port: int) -> Resource:
    """The one listener; HTTP/1.1 and HTTP/2 (with prior knowledge) on the same port."""
    return {
        "name": "http",
        "address": {"socket_address": {"address": host, "port_value": port}},
        # Otherwise a second gateway could listen on the same port, and each would get some of the connections.
        "enable_reuse_port": False,
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": connection_manager(directory),
                    }
                ]
            }
        ],
    }


def connection_manager(directory: Path) -> Resource:
    """How requests are read and answered."""
    return {
        "@type": TYPE + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "http",
        "codec_type": "AUTO",
        "rds": {"route_config_name": ROUTES_NAME, "config_source": file_source(directory / "rds.json")},
        "http_filters": filters.http_filters(file_source(directory / "tokens.json")),
        # Applications that services have mounted may speak WebSocket; where a replica does not, it says so.
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        # The caller's address is that of its connection, and its x-envoy-* headers are not obeyed.
        "use_remote_address": True,
        # No range at all would mean the private ones; nobody has this address.
        "internal_address_config": {"cidr_ranges": [{"address_prefix": "255.255.255.255", "prefix_len": 32}]},
        # A new id in every request would make every head that a replica parses a different one.
        "generate_request_id": False,
        "preserve_external_request_id": True,
        "server_header_transformation": "PASS_THROUGH",
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "common_http_protocol_options": {
            "idle_timeout": "900s",
            # Behind a proxy `a_b` and `a-b` can become one header; what nobody can tell apart is left out.
            "headers_with_underscores_action": "DROP_HEADER",
            "max_headers_count": 128,
        },
        "http2_protocol_options": {"max_concurrent_streams": 1000},
        "max_request_headers_kb": 32,
        "request_headers_timeout": "10s",
        "delayed_close_timeout": "1s",
        "local_reply_config": local_replies(),
    }


def local_replies() -> Resource:
    """JSON bodies for what Envoy answers itself, without the reasons it would give: they name inner parts."""
    overloaded = {"response_flag_filter": {"flags": ["UO"]}}
    refused: Resource = {
        "filter": {"response_flag_filter": {"flags": ["UAEX"]}},
        # The activator cannot say 503: Envoy takes that for a failure to ask, which lets calls go.
        "status_code": 503,
        # Its reason, which is JSON already.
        "body_format_override": {
            "text_format_source": {"inline_string": "%LOCAL_REPLY_BODY%"},
            "content_type": "application/json",
        },
    }
    token = "expected a valid token for this service in the header Authorization: Bearer"
    # Envoy says 403 to a token for others, as it does to an upgrade.
    not_for_us = {
        "filter": {
            "and_filter": {"filters": [_status(403), _header("authorization"), _header("upgrade", absent=True)]}
        },
        "status_code": 401,
        "body_format_override": _json(token),
    }
    sentences: list[tuple[Any, str]] = [
        (overloaded, "too many requests are waiting; try again"),
        (_status(503), "no replica is ready for this deployment; try again"),
        (_status(504), "the deployment did not answer within its time-out"),
        (_status(502), "the deployment broke off its answer"),
        (_status(500), "the gateway could not handle the request"),
        (_status(408), "the request came too slowly"),
        (_status(413), "the request is too large"),
        (_status(431), "the request's headers are too large or too many"),
        (_status(426), "expected HTTP/1.1 or HTTP/2"),
        (_status(501), "expected a body that is plain or chunked, found another Transfer-Encoding"),
        (_status(401), token),
        (_status(403), "expected no Upgrade header: only HTTP is served here"),
        (_status(404), "there is nothing at this address"),
        (_status(400), "the request is not valid HTTP, or its path cannot be read without doubt"),
    ]
    return {
        "mappers": [
            refused,
            not_for_us,
            *({"filter": found, "body_format_override": _json(sentence)} for found, sentence in sentences),
        ],
        "body_format": _json("%LOCAL_REPLY_BODY%"),
    }


def _json(sentence: str) -> Resource:
    return {"json_format": {"error": sentence}, "content_type": "application/json"}


def _header(name: str, *, absent: bool = False) -> Resource:
    return {"header_filter": {"header": {"name": name, "present_match": True, "invert_match": absent}}}


def _status(code: int) -> Resource:
    return {
        "status_code_filter": {
            "comparison": {"op": "EQ", "value": {"default_value": code, "runtime_key": f"tiffin.status_{code}"}}
        }
    }
