"""What a file asks of a cluster, most of it of the way in from outside, and it cannot do."""

from __future__ import annotations

from tiffin.kube.capabilities import Capabilities
from tiffin.kube.render import hosts, matching, services
from tiffin.kube.settings import Settings
from tiffin.spec import Deployment, SpecWarning


def unsupported(deployment: Deployment, settings: Settings, capabilities: Capabilities) -> tuple[SpecWarning, ...]:
    """A warning of each, by its path in the file."""
    found = _inside(deployment)
    if not hosts.is_internal(deployment):
        found += _outside(deployment, settings, capabilities)
    return tuple(SpecWarning(path, message, "kubernetes") for path, message in found)


def _inside(deployment: Deployment) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    if deployment.recording is not None:
        found.append(("record", "calls are recorded on one machine only: pods have no place that outlives them"))
    if any(part.retry_reset for variant in deployment.all_variants for part in variant.components):
        found.append(
            ("retries", "a call that broke off is not repeated: the Gateway API has no settled word for it")
        )
    if services.is_headless(deployment) and any(
        part.scaling.min_replicas == 0 for variant in deployment.all_variants for part in variant.components
    ):
        found.append(
            (
                f"metadata.annotations.{services.HEADLESS}",
                "calls to what is at zero are refused: a Service without an address of its own cannot be held",
            )
        )
    return found


def _outside(deployment: Deployment, settings: Settings, capabilities: Capabilities) -> list[tuple[str, str]]:
    traffic = deployment.traffic
    found: list[tuple[str, str]] = []
    if traffic.jwt is not None and traffic.jwt.required:
        found.append(("traffic.jwt", "no way in from outside is made: the Gateway API cannot check tokens"))
    elif traffic.jwt is not None:
        found.append(("traffic.jwt", "tokens are not read: the Gateway API has no word for it"))
    if traffic.max_body_bytes is not None:
        found.append(("traffic.maxBody", "the Gateway API has no word for it; replicas have a bound of theirs"))
    if traffic.sticky is not None:
        found.append(
            ("traffic.sticky", "callers do not keep their variant: sessions are not in the Gateway API yet")
        )
    found += matching.problems(traffic)
    if not hosts.has_gateway(settings, capabilities) and (
        deployment.variants or deployment.canary_percent is not None or deployment.rollout or traffic.rules
    ):
        found.append(("traffic", "calls are split by the Gateway API only, which is not used here"))
    return found
