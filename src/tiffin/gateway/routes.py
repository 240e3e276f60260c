"""From a snapshot to Envoy resources; checked here, since Envoy does not.

    Deployment.routes ──> virtual hosts, most specific path first ──> branches of ``choices`` ─┐
    pools ──> clusters (time-outs, health, budget) and endpoints                               ├──> Resources
    traffic.jwt ──> token checks                                                               ┘

Envoy accepts a route to a cluster it does not know and answers 503 for it, so references are checked before
anything is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from tiffin.errors import SpecError
from tiffin.gateway import clusters, filters, grpc
from tiffin.gateway.choices import DEFAULT_MOST_BYTES, Branch, Destination, branches
from tiffin.gateway.resources import TYPE, Resource, Resources
from tiffin.gateway.router import AGAIN_HEADER, HOLD_HEADER, POOL_HEADER, Choice, Routed, Share, Snapshot
from tiffin.spec import Deployment, Route

ROUTES_NAME = "tiffin"
MOST_LENGTH = 2**63 - 1


@dataclass(frozen=True)
class _Target:
    """One address and what is behind it."""

    route: Route
    to: Destination

    @property
    def deployment(self) -> Deployment:
        return self.to.deployment


def render(snapshot: Snapshot) -> Resources:
    """The resources of a snapshot; raises SpecError when routes contradict each other or lead nowhere."""
    _check_keys([routed.deployment for routed in snapshot.routed])
    targets = _targets(snapshot)
    pools = [pool for routed in snapshot.routed for pool in routed.pools]
    speaking = [pool for pool in pools if pool.component.grpc]
    told = [clusters.cluster(pool, snapshot.activator) for pool in pools]
    told += [clusters.grpc_cluster(pool) for pool in speaking]
    if snapshot.activator:
        told.append(clusters.activator_cluster(snapshot.activator))
    issuers = [jwt for routed in snapshot.routed if (jwt := routed.deployment.traffic.jwt) is not None]
    return Resources(
        clusters=tuple(told),
        endpoints=(
            *(clusters.endpoints(pool, snapshot.activator) for pool in pools),
            *(clusters.grpc_endpoints(pool) for pool in speaking),
        ),
        routes=_route_configuration(targets),
        tokens=filters.token_checks(issuers),
    )


def _check_keys(deployments: Sequence[Deployment]) -> None:
    seen: dict[str, Deployment] = {}
    for deployment in deployments:
        other = seen.setdefault(deployment.key, deployment)
        if other is not deployment:
            raise SpecError(
                f"two deployments are called {deployment.key}: one in {other.file!r}, one in {deployment.file!r}",
                hint="give one of them another name or namespace",
            )


def _targets(snapshot: Snapshot) -> list[_Target]:
    """Every route with what is behind it, one for each address: the first wins a shared one."""
    taken: dict[tuple[str, str, bool], _Target] = {}
    targets = []
    for routed in snapshot.routed:
        _check_references(routed)
        for route in _all_routes(routed):
            _check_path(routed.deployment, route)
            target = _Target(route, _destination(routed, route, snapshot.activator))
            hosts = [host.lower() for host in route.hosts or ("*",) if _takes(taken, target, host.lower())]
            if hosts:
                won = msgspec.structs.replace(route, hosts=tuple(hosts) if route.hosts else ())
                targets.append(_Target(won, target.to))
    return targets


def _takes(taken: dict[tuple[str, str, bool], _Target], target: _Target, host: str) -> bool:
    """Whether the target gets its address at this host; raises SpecError when both insist on it."""
    route = target.route
    other = taken.setdefault((host, route.path.rstrip("/") or "/", route.exact), target)
    if other is not target and not (route.shared or other.route.shared):
        where = route.path if host == "*" else f"{host}{route.path}"
        raise SpecError(
            f"{other.deployment.key} and {target.deployment.key} both want the address {where}",
            hint="rename one of them, or run them apart with another --port",
        )
    return other is target


def _all_routes(routed: Routed) -> list[Route]:
    """The routes of the deployment, and those of the hosts of its tags."""
    tagged = [Route(hosts=tuple(hosts), variant=tag) for tag, hosts in routed.tags.items() if hosts]
    return [*routed.deployment.routes, *tagged]


def _destination(routed: Routed, route: Route, activator: str) -> Destination:
    deployment = routed.deployment
    component = route.component or deployment.entry
    pools = {pool.name: pool for pool in routed.pools}
    if route.variant:
        # Of a variant without replicas nobody is answered, and nobody else's answer is given.
        choices: Sequence[Choice] = (Choice(routed.variants.get((route.variant, component), ())),)
        return Destination(deployment, pools, choices, (), routed.correlate, activator)
    found = routed.choices.get(component)
    if found is None:
        raise SpecError(
            f"the route {route.path} of {deployment.key} leads to the component {component!r}; "
            f"there is {', '.join(sorted(routed.choices)) or 'none'}"
        )
    mirrors = routed.mirrors.get(component, ())
    return Destination(deployment, pools, found, mirrors, routed.correlate, activator)


def _check_references(routed: Routed) -> None:
    shares: list[Share] = [share for found in routed.mirrors.values() for share in found]
    shares += [share for found in routed.variants.values() for share in found]
    shares += [share for found in routed.choices.values() for choice in found for share in choice.shares]
    names = {pool.name for pool in routed.pools}
    for share in shares:
        if share.pool not in names:
            raise SpecError(
                f"{routed.deployment.key} sends calls to the pool {share.pool!r}, which it does not have"
            )
        if not 0 <= share.weight < float("inf"):
            raise SpecError(f"expected a percentage for the pool {share.pool!r}, found {share.weight}")


def _check_path(deployment: Deployment, route: Route) -> None:
    for path in (route.path, route.rewrite):
        if path is not None and (not path.startswith("/") or "?" in path or "#" in path or "//" in path):
            raise SpecError(
                f"expected a path such as /a/b in a route of {deployment.key}, found {path!r}",
                hint="a path starts with one / and has no query",
            )


def _route_configuration(targets: Sequence[_Target]) -> Resource:
    by_host: dict[str, list[_Target]] = {"*": []}
    for target in sorted(targets, key=lambda target: _specificity(target.route)):
        for host in target.route.hosts or ("*",):
            by_host.setdefault(host, []).append(target)
    entries = [t.to for t in targets if not (t.route.hosts or t.route.component or t.route.variant)]
    named = grpc.of_metadata(entries)
    return {
        "@type": TYPE + "envoy.config.route.v3.RouteConfiguration",
        "name": ROUTES_NAME,
        "ignore_port_in_host_matching": True,
        "virtual_hosts": [_virtual_host(host, own, by_host["*"], named) for host, own in sorted(by_host.items())],
        # The first one is of no use to a replica, which finds equal request heads faster than different ones;
        # the others are the gateway's own to set, which a route does after they were taken out here.
        "request_headers_to_remove": ["x-envoy-external-address", POOL_HEADER, HOLD_HEADER],
        "response_headers_to_remove": [AGAIN_HEADER],
        "most_specific_header_mutations_wins": True,
    }


def _virtual_host(
    host: str, own: Sequence[_Target], common: Sequence[_Target], named: Sequence[Resource]
) -> Resource:
    """A host's own routes come first; the addresses that any host has are reachable under it as well.

    ``named`` are the routes of gRPC's calls that say their deployment in other ways than by host.
    """
    takes_all = any(target.route.path == "/" and not target.route.exact for target in own)
    reachable = list(own) if takes_all or host == "*" else [*own, *common]
    # One route refuses what is too large for all of them; those that take less have one of their own.
    most = max((target.to.most_bytes for target in reachable), default=DEFAULT_MOST_BYTES)
    routes = [
        _too_large({"prefix": "/"}, most),
        *(route for target in own if _takes_grpc(target) for route in grpc.of_host(target.to)),
        *(() if takes_all and host != "*" else named),
        *(route for target in reachable for route in _routes(target, most)),
        *([] if takes_all else [_not_found()]),
    ]
    return {"name": host, "domains": [host], "routes": routes}


def _takes_grpc(target: _Target) -> bool:
    """Whether the target's hosts are its own, so that all calls of gRPC to them are."""
    return bool(target.route.hosts) and target.route.path == "/" and not target.route.exact


def _specificity(route: Route) -> tuple[int, bool, str]:
    """Sorts longer paths first, and the exact one before the prefix of equal length."""
    path = route.path.rstrip("/")
    return (-len(path), not route.exact, path)


def _routes(target: _Target, most_bytes: int) -> list[Resource]:
    """The target's routes in Envoy's terms; ``most_bytes`` is what was refused before."""
    found = branches(target.to)
    routes = []
    for path, rewrite in _paths(target.route):
        if target.to.most_bytes < most_bytes:
            routes.append(_too_large(path, target.to.most_bytes))
        routes += [_route(path, rewrite, branch) for branch in found]
    return routes


def _paths(route: Route) -> Iterable[tuple[Resource, str | None]]:
    """Conditions on the path, each with what replaces the matched text: two where a prefix becomes the root."""
    path = route.path.rstrip("/") or "/"
    rewrite = None if route.rewrite is None else (route.rewrite.rstrip("/") or "/")
    if route.exact:
        return [({"path": route.path}, route.rewrite)]
    if path == "/":
        # Envoy replaces the matched text: `/` in `/a` by `/x` would give `/xa`.
        return [({"prefix": "/"}, None if rewrite in (None, "/") else f"{rewrite}/")]
    if rewrite == "/":
        # And `/a` in `/a/b` by `/` would give `//b`.
        return [({"path": path}, "/"), ({"prefix": f"{path}/"}, "/")]
    return [({"path_separated_prefix": path}, rewrite)]


def _route(path: Resource, rewrite: str | None, branch: Branch) -> Resource:
    route = {"match": {**path, **branch.match}, **branch.rest}
    if rewrite is not None and "route" in route:
        route["route"] = {**route["route"], "prefix_rewrite": rewrite}
    return route


def _too_large(path: Resource, most_bytes: int) -> Resource:
    larger = {"start": most_bytes + 1, "end": MOST_LENGTH}
    return {
        "match": {**path, "headers": [{"name": "content-length", "range_match": larger}]},
        "direct_response": {"status": 413, "body": {"inline_string": "the request is too large"}},
    }


def _not_found() -> Resource:
    return {
        "match": {"prefix": "/"},
        "direct_response": {"status": 404, "body": {"inline_string": "there is nothing at this address"}},
    }
