"""The host names and addresses of a deployment on a cluster."""

from __future__ import annotations

import msgspec

from tiffin.errors import SpecError
from tiffin.kube import names
from tiffin.kube.capabilities import Capabilities
from tiffin.kube.placement import Slot
from tiffin.kube.settings import Settings
from tiffin.spec import Component, Deployment

VISIBILITY = ("networking.kserve.io/visibility", "networking.knative.dev/visibility")
"""Labels that say ``cluster-local``: callers outside of the cluster have no address."""


LONGEST_LABEL, LONGEST_HOST = 63, 253
"""Characters, of RFC 1035 and of the Gateway API."""


class Addresses(msgspec.Struct, frozen=True, kw_only=True):
    """Where callers go. ``url`` is from outside where there is a way in, ``inside`` from within the cluster.

    ``components`` are the addresses of each component by itself, from outside.
    """

    url: str
    inside: str
    components: dict[str, str] = {}


def is_internal(deployment: Deployment) -> bool:
    """Whether it is for callers within the cluster alone."""
    return any(deployment.labels.get(label) == "cluster-local" for label in VISIBILITY)


def is_closed(deployment: Deployment) -> bool:
    """Whether nobody outside may call it: nobody is to, or callers need a token that no route can check."""
    jwt = deployment.traffic.jwt
    return is_internal(deployment) or (jwt is not None and jwt.required)


def has_gateway(settings: Settings, capabilities: Capabilities) -> bool:
    """Whether routes of the Gateway API lead to deployments."""
    return settings.gateway is not None and capabilities.http_route


def is_open(deployment: Deployment, settings: Settings, capabilities: Capabilities) -> bool:
    """Whether there is a way in from outside."""
    return not is_closed(deployment) and (has_gateway(settings, capabilities) or bool(settings.ingress_class))


def host(deployment: Deployment, settings: Settings, component: str = "", *, tag: str = "") -> str:
    """The host name of a deployment, or of one of its components; ``canary-...`` of a tagged version.

    Raises SpecError where no name system would take it.
    """
    label = "-".join(part for part in (tag, deployment.name.replace("_", "-"), component) if part)
    found = settings.host_template.format(
        name=label, namespace=deployment.namespace, domain=settings.domain
    ).lower()
    longest = max(found.split("."), key=len)
    if len(longest) > LONGEST_LABEL or len(found) > LONGEST_HOST:
        raise SpecError(
            f"expected parts of a host name of at most {LONGEST_LABEL} characters, and {LONGEST_HOST} in all, "
            f"found {longest} ({len(longest)}) in one of {len(found)}",
            at="metadata.name",
            hint="give a shorter name, or shorten the setting hostTemplate",
        )
    return found


def addresses(deployment: Deployment, settings: Settings, capabilities: Capabilities) -> Addresses:
    """Where it is called."""
    entry = next(part for part in deployment.components if part.name == deployment.entry)
    inside = f"http://{_service(deployment, entry, settings)}"
    if capabilities.knative and entry.scaling.autoscaler == "knative" and not is_closed(deployment):
        # Its own ingress serves it, at the address that Knative makes by default.
        service = names.service(deployment, Slot(variant=deployment.variant, component=entry))
        return Addresses(
            url=f"{settings.url_scheme}://{service}.{deployment.namespace}.{settings.domain}", inside=inside
        )
    if not is_open(deployment, settings, capabilities):
        return Addresses(url=inside, inside=inside)
    scheme = settings.url_scheme
    return Addresses(
        url=f"{scheme}://{host(deployment, settings)}",
        inside=inside,
        components={
            part.name: f"{scheme}://{host(deployment, settings, part.name)}"
            for part in deployment.components
            if not part.is_dependency
        },
    )


def _service(deployment: Deployment, component: Component, settings: Settings) -> str:
    slot = Slot(variant=deployment.variant, component=component)
    port = names.port(deployment)
    return names.host(deployment, slot, settings) + ("" if port == 80 else f":{port}")
