"""HTTPRoutes of the Gateway API: who gets a call, by host, path and headers, and by weight.

gRPC goes by rules of an HTTPRoute too: a GRPCRoute may not have the host name of an HTTPRoute beside it, and
callers of both protocols use one name. Services say ``appProtocol: kubernetes.io/h2c`` for ports that speak it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from tiffin.kube import names
from tiffin.kube.capabilities import Capabilities
from tiffin.kube.manifests import Manifest
from tiffin.kube.placement import Placement, Role, Share, Slot, called, places
from tiffin.kube.render import hosts, matching, services, weights
from tiffin.kube.render.objects import owned
from tiffin.kube.render.workloads import is_knative
from tiffin.kube.settings import Settings
from tiffin.spec import Deployment, Route

API_VERSION = "gateway.networking.k8s.io/v1"
KIND = "HTTPRoute"
USUAL_SECONDS = 60.0
"""How long a call may take where the file does not say; KServe's."""
MOST_RULES = 16
MOST_MATCHES = 8
"""The Gateway API's bounds of one object and of one rule."""
EXPLAIN = r"^/v1/models/[\w-]+:explain$"
ENTRY = ""
"""The component that callers of the deployment talk to, which not every version calls the same."""
SELDON_GRPC = ("/seldon.protos.Seldon", matching.GRPC_SERVICE)

Rule = dict[str, Any]


def render(
    deployment: Deployment, placement: Placement, settings: Settings, capabilities: Capabilities
) -> tuple[Manifest, ...]:
    """The routes from outside; none for a deployment of the cluster's own, and none that nobody serves."""
    if not hosts.has_gateway(settings, capabilities) or hosts.is_closed(deployment):
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
        # Which of a pattern and a prefix wins is each gateway's own affair; an exact path wins everywhere.
        named = f"/v1/models/{deployment.components[0].model_name or deployment.name}:explain"
        pattern = {"path": {"type": "RegularExpression", "value": EXPLAIN}}
        rules += backends.rule("explainer", [matching.exact(named), pattern])
    for rule in deployment.traffic.rules:
        if headers := matching.headers(rule):
            # The path of gRPC is longer, so its calls would pass the rule by.
            rules += backends.rule(ENTRY, [matching.grpc(headers)], only=rule.variant, grpc=True)
            rules += backends.rule(ENTRY, [{"headers": headers}], only=rule.variant)
    rules += backends.grpc(ENTRY)
    rules += backends.rule(ENTRY, [matching.prefix("/")])
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
        rules = [*backends.grpc(part.name), *backends.rule(part.name, [matching.prefix("/")])]
        name = f"{deployment.name}-{part.name}"
        yield from _objects(
            deployment, placement, settings, name, [hosts.host(deployment, settings, part.name)], rules
        )


def _of_tags(
    deployment: Deployment, placement: Placement, settings: Settings, capabilities: Capabilities
) -> Iterable[Manifest]:
    """``canary-`` and ``prev-`` before the host name, while two versions stand side by side."""
    roles = {slot.role for slot in placement.slots if slot.variant == deployment.variant}
    if not deployment.traffic.tags or len(roles) < 2:
        return
    tags: dict[str, Role] = {"latest": "candidate", "canary": "candidate", "prev": "stable"}
    for tag, role in tags.items():
        share = Share(variant=deployment.variant, role=role, weight=100.0)
        backends = _Backends(deployment, placement, capabilities, (share,))
        rules = [*backends.grpc(ENTRY), *backends.rule(ENTRY, [matching.prefix("/")])]
        own = [hosts.host(deployment, settings, tag=tag)]
        yield from _objects(deployment, placement, settings, f"{deployment.name}-tag-{tag}", own, rules)


def _of_paths(
    deployment: Deployment, placement: Placement, settings: Settings, capabilities: Capabilities
) -> Iterable[Manifest]:
    """Paths on any host of the gateway that name the deployment, such as ``/seldon/namespace/name``."""
    if deployment.dialect == "kserve":
        return
    rules: list[Rule] = []
    backends = _Backends(deployment, placement, capabilities)
    if deployment.dialect == "seldon":
        # Its callers of gRPC say in two headers whom they mean.
        said = {"seldon": deployment.name, "namespace": deployment.namespace}
        meant = [{"type": "Exact", "name": name, "value": value} for name, value in said.items()]
        matches = [matching.grpc(meant, service) for service in SELDON_GRPC]
        rules += backends.rule(ENTRY, matches, grpc=True)
    for route in deployment.routes:
        if route.hosts or route.shared or not _names_it(route, deployment):
            continue
        match = (matching.exact if route.exact else matching.prefix)(route.path)
        component = route.component or ENTRY
        made: list[Rule] = []
        for rule in () if route.variant else deployment.traffic.rules:
            if headers := matching.headers(rule):
                made += backends.rule(component, [{**match, "headers": headers}], only=rule.variant)
        made += backends.rule(component, [match], only=route.variant, copies=not route.variant)
        for one in made if route.rewrite is not None else ():
            one["filters"] = [_rewrite(route), *one.get("filters", ())]
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
        if component == ENTRY:
            return called(self._deployment, self._slots.values(), share)
        for place in places(self._deployment, share):
            found = self._slots.get((*place, component))
            if found is not None:
                return found
        return None

    def rule(
        self,
        component: str,
        matches: list[dict[str, Any]],
        *,
        only: str = "",
        grpc: bool = False,
        copies: bool = True,
    ) -> list[Rule]:
        """One rule, or none where nobody can answer; ``only`` is a variant, ``stable`` or ``canary``."""
        found: dict[tuple[str, int], float] = {}
        held = False
        for share in self._chosen(only):
            slot = self.slot(share, component)
            backend = self._backend(slot, grpc=grpc) if slot is not None and share.weight > 0 else None
            if slot is not None and backend is not None:
                found[backend] = found.get(backend, 0.0) + share.weight
                held = held or slot.activator_port is not None
        if not found:
            return []
        rule: Rule = {
            "matches": matches[:MOST_MATCHES],
            "backendRefs": [
                {"name": name, "port": port, "weight": weight}
                for (name, port), weight in zip(found, weights.whole(list(found.values())), strict=True)
            ],
        }
        filters = [*self._headers(), *(self._mirrors(component, grpc=grpc) if copies else ())]
        if filters:
            rule["filters"] = filters
        rule["timeouts"] = {"request": self._timeout(component, held=held)}
        return [rule]

    def grpc(self, component: str) -> list[Rule]:
        """The rule for calls of gRPC, where a component has a port that speaks it."""
        return self.rule(component, [matching.grpc()], grpc=True)

    def _chosen(self, only: str) -> list[Share]:
        """The shares that are meant, in their proportions; of whoever has none of the calls, its slot."""
        if not only:
            return [share for share in self._shares if share.mirror_percent is None]
        variants = {slot.variant for slot in self._slots.values()}
        if only in variants or only not in ("stable", "canary"):
            roles: tuple[Role, ...] = ("stable", "candidate")
            variant = only
        else:
            roles = ("stable",) if only == "stable" else ("candidate",)
            variant = self._deployment.variant
            if not any(slot.variant == variant and slot.role in roles for slot in self._slots.values()):
                # While there is no canary, its rule leads to what serves.
                roles = ("stable", "candidate")
        own = [share for share in self._shares if share.variant == variant and share.role in roles]
        found = [share for share in own if share.mirror_percent is None and share.weight > 0]
        if found:
            return found
        there = [role for role in roles if any(key[:2] == (variant, role) for key in self._slots)]
        return [Share(variant=variant, role=role, weight=100.0) for role in there[:1]]

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
        for share in self._shares if component in (ENTRY, self._deployment.entry) else ():
            # Only a version's own part gets copies: what it shares with the main one is called already.
            slot = self.slot(share, component) if share.mirror_percent else None
            if slot is not None and (slot.variant, slot.role) != (share.variant, share.role):
                continue
            backend = self._backend(slot, grpc=grpc) if slot is not None else None
            if backend is None or not share.mirror_percent:
                continue
            mirror: dict[str, Any] = {"backendRef": {"name": backend[0], "port": backend[1]}}
            if share.mirror_percent < 100:
                mirror |= weights.fraction(share.mirror_percent)
            found.append({"type": "RequestMirror", "requestMirror": mirror})
        return found

    def _timeout(self, component: str, *, held: bool) -> str:
        limits = {part.name: part.timeout_seconds for part in self._deployment.components}
        # A call that has to wait for a replica may take as much longer as the activator holds it.
        seconds = limits.get(component or self._deployment.entry) or USUAL_SECONDS
        seconds += services.START_SECONDS if held else 0.0
        whole, rest = divmod(max(1, round(seconds * 1000)), 1000)
        # Of at most five digits each.
        hours, whole = divmod(whole, 3600) if whole > 99_999 else (0, whole)
        parts = ((min(hours, 99_999), "h"), (whole, "s"), (rest, "ms"))
        return "".join(f"{number}{unit}" for number, unit in parts if number)


def _rewrite(route: Route) -> dict[str, Any]:
    if route.exact:
        path = {"type": "ReplaceFullPath", "replaceFullPath": route.rewrite}
    else:
        path = {"type": "ReplacePrefixMatch", "replacePrefixMatch": route.rewrite}
    return {"type": "URLRewrite", "urlRewrite": {"path": path}}


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
        part = f"-rules-{index // MOST_RULES + 1}" if index else ""
        yield owned(deployment, placement, API_VERSION, KIND, names.fitting(name + part), spec=spec)
