"""Pools as Envoy's clusters: limits, health, ejection, and where the replicas are.

A pool that may have no replica has the activator as an endpoint of second rank: a call that finds the pool empty,
in the moment between two states, is kept there and sent again when a replica is ready.
"""

from __future__ import annotations

import ipaddress

from tiffin.errors import SpecError
from tiffin.gateway.resources import TYPE, Resource
from tiffin.gateway.router import Pool
from tiffin.spec import Component, ContainerSource

ACTIVATOR = "tiffin/activator"
MOST_CALLS = 8192
PROTOCOL_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def wakes(pool: Pool, activator: str) -> bool:
    """Whether the activator stands in for its replicas when there are none."""
    return bool(activator) and (pool.held or pool.component.scaling.min_replicas == 0)


def cluster(pool: Pool, activator: str = "") -> Resource:
    """The cluster of a pool; its endpoints are told apart."""
    return {
        **_base(pool.name),
        "type": "EDS",
        "lb_policy": "LEAST_REQUEST",
        # Else a replica taken out of the endpoints would be used until a health check fails.
        "ignore_health_on_host_removal": True,
        # Workers would learn a second later than the admin socket says it that a new replica is well.
        "common_lb_config": {"update_merge_window": "0s"},
        "health_checks": [
            {
                # Generous: a predict that holds the interpreter for seconds is no reason to give up on a replica.
                "timeout": "5s",
                "interval": "1s",
                "no_traffic_interval": "2s",
                "unhealthy_threshold": 2,
                "healthy_threshold": 1,
                **_health_check(pool.component),
            }
        ],
        "outlier_detection": _ejection(most_percent=34 if wakes(pool, activator) else 50),
    }


def grpc_name(pool: str) -> str:
    """The cluster of a pool's replicas where they answer gRPC."""
    return f"{pool}/grpc"


def grpc_cluster(pool: Pool) -> Resource:
    """The same replicas over HTTP/2. The activator is none of them: it speaks HTTP/1.1."""
    made = cluster(pool)
    options = {**made["typed_extension_protocol_options"][PROTOCOL_OPTIONS]}
    options["explicit_http_config"] = {"http2_protocol_options": {}}
    (check,) = made["health_checks"]
    asked = {"grpc_health_check": {"authority": "tiffin"}}
    return {
        **made,
        "name": grpc_name(pool.name),
        "typed_extension_protocol_options": {PROTOCOL_OPTIONS: options},
        "health_checks": [{**{k: v for k, v in check.items() if not k.endswith("_health_check")}, **asked}],
    }


def grpc_endpoints(pool: Pool) -> Resource:
    """Where the replicas of a pool answer gRPC."""
    return {
        "@type": TYPE + "envoy.config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": grpc_name(pool.name),
        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(at)}} for at in pool.grpc]}]
        if pool.grpc
        else [],
    }


def activator_cluster(socket: str) -> Resource:
    """Where calls wait for a replica; it is asked whether a held call may go on, and given streaming calls."""
    return {
        **_base(ACTIVATOR),
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": ACTIVATOR,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": socket}}}}]}],
        },
    }


def endpoints(pool: Pool, activator: str) -> Resource:
    """Where the replicas of a pool are."""
    ranks: list[Resource] = []
    if pool.endpoints:
        ranks.append({"lb_endpoints": [{"endpoint": {"address": address(at)}} for at in pool.endpoints]})
    if wakes(pool, activator):
        # It answers no health checks: a controller that is started again would be thought dead for a second.
        stand_in: Resource = {
            "address": address(activator),
            "health_check_config": {"disable_active_health_check": True},
        }
        ranks.append({"priority": 1, "lb_endpoints": [{"endpoint": stand_in}]})
    assignment: Resource = {
        "@type": TYPE + "envoy.config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": pool.name,
        "endpoints": ranks,
    }
    if pool.endpoints and len(ranks) > 1:
        # One healthy replica is enough for none of its calls to go to the second rank.
        assignment["policy"] = {"overprovisioning_factor": 100 * 1000}
    return assignment


def has_replicas(assignment: Resource) -> bool:
    """Whether there is an endpoint of the first rank."""
    return any(not rank.get("priority") for rank in assignment.get("endpoints", ()))


def address(endpoint: str) -> Resource:
    """A Unix socket, or ``host:port`` with the host as a number."""
    if endpoint.startswith("/"):
        return {"pipe": {"path": endpoint}}
    host, _, port = endpoint.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        ipaddress.ip_address(host)
        if not 0 < int(port) < 65536:
            raise ValueError(port)
    except ValueError as error:
        raise SpecError(
            f"expected the path of a Unix socket, or an IP address and a port, found the endpoint {endpoint!r}"
        ) from error
    return {"socket_address": {"address": host, "port_value": int(port)}}


def _base(name: str) -> Resource:
    return {
        "@type": TYPE + "envoy.config.cluster.v3.Cluster",
        "name": name,
        "connect_timeout": "1s",
        "circuit_breakers": {
            "thresholds": [
                {
                    "max_connections": MOST_CALLS,
                    "max_pending_requests": MOST_CALLS,
                    "max_requests": MOST_CALLS,
                    "retry_budget": {"budget_percent": {"value": 25}, "min_retry_concurrency": 64},
                }
            ]
        },
        "typed_extension_protocol_options": {
            PROTOCOL_OPTIONS: {
                "@type": TYPE + PROTOCOL_OPTIONS,
                # Shorter than a replica's keep-alive, so that it never closes a connection just chosen.
                "common_http_protocol_options": {"idle_timeout": "60s"},
                "explicit_http_config": {"http_protocol_options": {}},
            }
        },
    }


def _health_check(component: Component) -> Resource:
    """A program in an image is asked what it says it answers, and otherwise only whether it listens."""
    source = component.source
    if not isinstance(source, ContainerSource):
        return {"http_health_check": {"host": "tiffin", "path": "/readyz"}}
    if source.ready_path:
        return {"http_health_check": {"host": "tiffin", "path": source.ready_path}}
    return {"tcp_health_check": {}}


def _ejection(*, most_percent: int) -> Resource:
    """Replicas that cannot be reached, or answer as a broken gateway would, get no calls for some seconds.

    Never the only one (the activator counts as one more), and never more than half of them. Answers with 500 are
    left out: authored code that raises on a caller's rows does so in every replica.
    """
    return {
        "interval": "1s",
        "base_ejection_time": "5s",
        "max_ejection_time": "30s",
        "max_ejection_percent": most_percent,
        "always_eject_one_host": False,
        "split_external_local_origin_errors": True,
        "consecutive_local_origin_failure": 5,
        "enforcing_consecutive_local_origin_failure": 100,
        "enforcing_local_origin_success_rate": 0,
        "consecutive_gateway_failure": 10,
        "enforcing_consecutive_gateway_failure": 100,
        "enforcing_consecutive_5xx": 0,
        "enforcing_success_rate": 0,
    }
