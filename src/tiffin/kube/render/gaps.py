"""What a file asks of the way in from outside, and a cluster's cannot do."""

from __future__ import annotations

from tiffin.kube.capabilities import Capabilities
from tiffin.kube.render import hosts, matching
from tiffin.kube.settings import Settings
from tiffin.spec import Deployment, SpecWarning


def unsupported(deployment: Deployment, settings: Settings, capabilities: Capabilities) -> tuple[SpecWarning, ...]:
    """A warning of each, by its path in the file."""
    if hosts.is_internal(deployment):
        return ()
    traffic = deployment.traffic
    found: list[tuple[str, str]] = []
    if traffic.jwt is not None and traffic.jwt.required:
        found.append(("traffic.jwt", "no way in from outside is made: the Gateway API cannot check tokens"))
    elif traffic.jwt is not None:
        found.append(("traffic.jwt", "tokens are not read: the Gateway API has no word for it"))
    if traffic.max_body_bytes is not None:
        found.append(
            ("traffic.maxBodyBytes", "the Gateway API has no word for it; replicas have a bound of theirs")
        )
    if traffic.sticky is not None:
        found.append(
            ("traffic.sticky", "callers do not keep their variant: sessions are not in the Gateway API yet")
        )
    found += matching.problems(traffic)
    if not hosts.has_gateway(settings, capabilities) and (
        deployment.variants or deployment.canary_percent is not None or deployment.rollout or traffic.rules
    ):
        found.append(("traffic", "calls are split by the Gateway API only, which is not used here"))
    return tuple(SpecWarning(path, message, "kubernetes") for path, message in found)
