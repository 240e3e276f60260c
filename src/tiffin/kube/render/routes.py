"""HTTPRoutes of the Gateway API: who gets a call, by host, path and headers, and by weight.

gRPC goes by rules of an HTTPRoute too: a GRPCRoute may not have the host name of an HTTPRoute beside it, and
callers of both protocols use one name. Services say ``appProtocol: kubernetes.io/h2c`` for ports that speak it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from tiffin.kube import names
from tiffin.kube.capabilities import Capabilities
from tiffin.kube.manifests import Manifest
from tiffin.kube.placement import Placement, Share, Slot
from tiffin.kube.render import hosts, services
from tiffin.kube.render.objects import owned
from tiffin.kube.render.workloads import is_knative
from tiffin.kube.settings import Settings
from tiffin.spec import Deployment, Match, Route, SpecWarning

API_VERSION = "gateway.networking.k8s.io/v1"
KIND = "HTTPRoute"
USUAL_SECONDS = 60.0
"""How long a call may take where the file does not say; KServe's."""
MOST_RULES = 16
MOST_MATCHES = 8
"""The Gateway API's bounds of one object and of one rule."""
EXPLAIN = r"^/v1/models/[\w-]+:explain$"
GRPC_SERVICE = "/inference.GRPCInferenceService"

Rule = dict[str, Any]


def render(
    deployment: Deployment, placement: Placement, settings: Settings, capabilities: Capabilities
) -> tuple[Manifest, ...]:
    """The routes from outside; none for a deployment of the cluster's own, and none that nobody serves."""
    if not hosts.has_gateway(settings, capabilities) or hosts.is_internal(deployment):
        return ()
    found = [*_of_deployment(deployment, placement, settings, capabilities)]
    found += _of_components(deployment, placement, settings, capabilities)
    found += _of_tags(deployment, placement, settings, capabilities)
    found += _of_paths(deployment, placement, settings, capabilities)
    return tuple(found)


def _of_deployment(
    deployment: Deployment, placement: Placement, settings: Settings, capabilities: Capabilities
) -> Iterable[Manifest]:
    backends = _Backends(deployment, placement, capabilities)
    rules: list[Rule] = []
    if any(part.name == "explainer" for part in deployment.components):
        match = {"path": {"type": "RegularExpression", "value": EXPLAIN}}
        rules += backends.rule("explainer", [match])
    for rule in deployment.traffic.rules:
        matches = [_header(match) for match in rule.matches if match.header]
        if len(matches) == len(rule.matches) and matches:
            rules += backends.rule(deployment.entry, [{"headers": matches}], only=rule.variant)
    rules += backends.grpc(deployment.entry)
    rules += backends.rule(deployment.entry, [_prefix("/")])
    yield from _objects(
        deployment, placement, settings, deployment.name, [hosts.host(deployment, settings)], rules
    )


def _of_components(
    deployment: Deployment, placement: Placement, settings: Settings, capabilities: Capabilities
) -> Iterable[Manifest]:
    """Each component by itself, under the names that users of KServe know."""
    if deployment.dialect != "kserve":
        return
    backends = _Backends(deployment, placement, capabilities)
    for part in deployment.components:
        rules = [*backends.grpc(part.name), *backends.rule(part.name, [_prefix("/")])]
        name = f"{deployment.name}-{part.name}"
        yield from _objects(
            deployment, placement, settings, name, [hosts.host(deployment, settings, part.name)], rules
        )


def _of_tags(
    deployment: Deployment, placement: Placement, settings: Settings, capabilities: Capabilities
) -> Iterable[Manifest]:
    """``canary-`` and ``prev-`` before the host name, while two versions stand side by side."""
    roles = {share.role for share in placement.shares if share.variant == deployment.variant}
    if not deployment.traffic.tags or "candidate" not in roles:
        return
    for tag, role in (("canary", "candidate"), ("prev", "stable")):
        shares = tuple(
            Share(variant=share.variant, role=share.role, weight=100.0)
            for share in placement.shares
            if share.variant == deployment.variant and share.role == role
        )
        backends = _Backends(deployment, placement, capabilities, shares)
        rules = [*backends.grpc(deployment.entry), *backends.rule(deployment.entry, [_prefix("/")])]
        names_of = [hosts.host(deployment, settings, tag=tag)]
        yield from _objects(deployment, placement, settings, f"{tag}-{deployment.name}", names_of, rules)


def _of_paths(
    deployment: Deployment, placement: Placement, settings: Settings, capabilities: Capabilities
) -> Iterable[Manifest]:
    """Paths on any host of the gateway that name the deployment, such as ``/seldon/namespace/name``."""
    if deployment.dialect == "kserve":
        return
    rules: list[Rule] = []
    for route in deployment.routes:
        if route.hosts or route.shared or not _names_it(route, deployment):
            continue
        backends = _Backends(deployment, placement, capabilities)
        match = {"path": {"type": "Exact", "value": route.path}} if route.exact else _prefix(route.path)
        made = backends.rule(route.component or deployment.entry, [match], only=route.variant)
        for rule in made:
            if route.rewrite is not None:
                rule["filters"] = [_rewrite(route), *rule.get("filters", ())]
        rules += made
    yield from _objects(deployment, placement, settings, f"{deployment.name}-paths", [], rules)


def _names_it(route: Route, deployment: Deployment) -> bool:
    """Whether the path is this deployment's alone; ``/-/`` leads to its parts, which have Services here."""
    own = (f"/seldon/{deployment.namespace}/{deployment.name}", f"/{deployment.namespace}/{deployment.name}")
    return route.path.startswith(own) and "/-/" not in route.path


class _Backends:
    """Who answers for each component, by the shares of the versions."""

    def __init__(
        self,
        deployment: Deployment,
        placement: Placement,
        capabilities: Capabilities,
        shares: Sequence[Share] | None = None,
    ) -> None:
        self._deployment = deployment
        self._shares = placement.shares if shares is None else shares
        self._slots = {
            (slot.variant, slot.role, slot.component.name): slot
            for slot in placement.slots
            if not is_knative(slot, capabilities)
        }

    def slot(self, share: Share, component: str) -> Slot | None:
        """The slot that answers for a share; a part that only the main version has answers for all."""
        main = self._deployment.variant
        for place in ((share.variant, share.role), (share.variant, "stable"), (main, "stable")):
            found = self._slots.get((*place, component))
            if found is not None:
                return found
        return None

    def rule(
        self, component: str, matches: list[dict[str, Any]], *, only: str = "", grpc: bool = False
    ) -> list[Rule]:
        """One rule, or none where nobody can answer; ``only`` is a variant, ``stable`` or ``canary``."""
        weights: dict[tuple[str, int], float] = {}
        for share in self._chosen(only):
            slot = self.slot(share, component)
            if slot is None or share.mirror_percent is not None:
                continue
            backend = self._backend(slot, grpc=grpc)
            if backend is not None and (share.weight > 0 or only):
                weights[backend] = weights.get(backend, 0.0) + (share.weight if not only else 1.0)
        if not weights:
            return []
        rule: Rule = {
            "matches": matches[:MOST_MATCHES],
            "backendRefs": [
                {"name": name, "port": port, "weight": weight}
                for (name, port), weight in zip(weights, _whole(list(weights.values())), strict=True)
            ],
        }
        filters = [*self._headers(), *self._mirrors(component, grpc=grpc)]
        if filters:
            rule["filters"] = filters
        rule["timeouts"] = {"request": self._timeout(component)}
        return [rule]

    def grpc(self, component: str) -> list[Rule]:
        """The rule for calls of gRPC, where a component has a port that speaks it."""
        match = {
            "path": {"type": "PathPrefix", "value": GRPC_SERVICE},
            "headers": [{"type": "RegularExpression", "name": "content-type", "value": "^application/grpc.*"}],
        }
        return self.rule(component, [match], grpc=True)

    def _chosen(self, only: str) -> list[Share]:
        if not only:
            return list(self._shares)
        role = {"stable": "stable", "canary": "candidate"}.get(only)
        main = [share for share in self._shares if share.variant == self._deployment.variant]
        if role is not None:
            # While there is no canary, its rule leads to what serves.
            return [share for share in main if share.role == role] or main
        return [share for share in self._shares if share.variant == only]

    def _backend(self, slot: Slot, *, grpc: bool) -> tuple[str, int] | None:
        ports = services.ports(self._deployment, slot)
        if not grpc:
            return names.service(self._deployment, slot), ports[0]["port"]
        spoken = next((one["port"] for one in ports if "h2c" in one.get("appProtocol", "")), None)
        return None if spoken is None else (names.service(self._deployment, slot), spoken)

    def _headers(self) -> list[dict[str, Any]]:
        if self._deployment.dialect != "kserve":
            return []
        said = {"KServe-Isvc-Name": self._deployment.name, "KServe-Isvc-Namespace": self._deployment.namespace}
        values = [{"name": name, "value": value} for name, value in said.items()]
        return [{"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": values}}]

    def _mirrors(self, component: str, *, grpc: bool) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for share in self._shares:
            slot = self.slot(share, component) if share.mirror_percent else None
            backend = self._backend(slot, grpc=grpc) if slot is not None else None
            if backend is None or not share.mirror_percent:
                continue
            mirror: dict[str, Any] = {"backendRef": {"name": backend[0], "port": backend[1]}}
            if share.mirror_percent < 100:
                mirror |= _fraction(share.mirror_percent)
            found.append({"type": "RequestMirror", "requestMirror": mirror})
        return found

    def _timeout(self, component: str) -> str:
        parts = {part.name: part.timeout_seconds for part in self._deployment.components}
        whole, rest = divmod(round((parts.get(component) or USUAL_SECONDS) * 1000), 1000)
        # Of at most five digits each.
        return (f"{min(whole, 99_999)}s" if whole else "") + (f"{rest}ms" if rest else "")


def _fraction(percent: float) -> dict[str, Any]:
    if float(percent).is_integer():
        return {"percent": int(percent)}
    return {"fraction": {"numerator": max(1, round(percent * 100)), "denominator": 10_000}}


def _whole(weights: Sequence[float]) -> list[int]:
    """The same proportions in whole numbers: as they are where they are whole, else hundredths of a percent."""
    if all(float(weight).is_integer() for weight in weights):
        return [int(weight) for weight in weights]
    total = sum(weights)
    return [max(1, round(weight / total * 10_000)) for weight in weights]


def _prefix(path: str) -> dict[str, Any]:
    return {"path": {"type": "PathPrefix", "value": path}}


def _rewrite(route: Route) -> dict[str, Any]:
    if route.exact:
        path = {"type": "ReplaceFullPath", "replaceFullPath": route.rewrite}
    else:
        path = {"type": "ReplacePrefixMatch", "replacePrefixMatch": route.rewrite}
    return {"type": "URLRewrite", "urlRewrite": {"path": path}}


def _header(match: Match) -> dict[str, str]:
    if match.how == "exact":
        return {"type": "Exact", "name": match.header, "value": match.value}
    pattern = {"prefix": f"^{re.escape(match.value)}.*", "present": ".*"}.get(match.how, match.value)
    return {"type": "RegularExpression", "name": match.header, "value": pattern}


def _objects(
    deployment: Deployment,
    placement: Placement,
    settings: Settings,
    name: str,
    hostnames: list[str],
    rules: list[Rule],
) -> Iterable[Manifest]:
    gateway = settings.gateway
    assert gateway is not None
    parent = {"group": "gateway.networking.k8s.io", "kind": "Gateway"}
    parent |= {"name": gateway.name, "namespace": gateway.namespace}
    if gateway.section:
        parent["sectionName"] = gateway.section
    for index in range(0, len(rules), MOST_RULES):
        spec: dict[str, Any] = {"parentRefs": [parent], "rules": rules[index : index + MOST_RULES]}
        if hostnames:
            spec["hostnames"] = hostnames
        part = f"-{index // MOST_RULES + 1}" if index else ""
        yield owned(deployment, placement, API_VERSION, KIND, names.fitting(name + part), spec=spec)


def unsupported(deployment: Deployment, settings: Settings, capabilities: Capabilities) -> tuple[SpecWarning, ...]:
    """What the file asks of the way in, and this cluster's cannot do."""
    if hosts.is_internal(deployment):
        return ()
    traffic = deployment.traffic
    found: list[tuple[str, str]] = []
    if traffic.jwt is not None:
        found.append(("traffic.jwt", "tokens are not checked: the Gateway API has no word for it"))
    if traffic.max_body_bytes is not None:
        found.append(
            ("traffic.maxBodyBytes", "the Gateway API has no word for it; replicas have a bound of theirs")
        )
    if traffic.sticky is not None:
        found.append(
            ("traffic.sticky", "callers do not keep their variant: sessions are not in the Gateway API yet")
        )
    if any(match.claim for rule in traffic.rules for match in rule.matches):
        found.append(("traffic.rules", "those that look at a claim of a token are left out"))
    if not hosts.has_gateway(settings, capabilities) and (
        deployment.variants or deployment.canary_percent is not None or deployment.rollout or traffic.rules
    ):
        found.append(("traffic", "calls are split by the Gateway API only, which is not used here"))
    return tuple(SpecWarning(path, message, "kubernetes") for path, message in found)
