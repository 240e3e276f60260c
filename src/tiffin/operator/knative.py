"""What Services of Knative say of their revisions, and how calls are to be split over those. Pure.

Knative makes a revision of its own of every template; KServe keeps in the object's status which of them last had
all calls. So does Tiffin, by the same names, so that either goes on where the other was:

    canaryTrafficPercent: N ──> newest N, the one that last had all calls 100-N    (0: it stays as it was)
    removed                 ──> newest 100, and once it has them, it is the one that last had all calls
    N, and it had all calls ──> newest N, the one before it 100-N, which is then the one that counts
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from tiffin.kube import names
from tiffin.kube.manifests import Manifest
from tiffin.kube.placement import Slot, Split
from tiffin.operator.observing import Observed
from tiffin.spec import Deployment


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What a Service says: names of Knative's revisions, ``conditions`` by type, and ``traffic`` as it is.

    ``is_current``: whether all of that is of the spec it has now. ``tiffin`` is the revision of Tiffin's it was
    given last. ``pinned`` is the revision that its spec names for a share.
    """

    created: str = ""
    ready: str = ""
    conditions: dict[str, dict[str, Any]] = {}
    traffic: tuple[dict[str, Any], ...] = ()
    url: str = ""
    address: str = ""
    is_current: bool = False
    tiffin: str = ""
    pinned: str = ""

    def state(self, kind: str) -> tuple[str, str, str]:
        """Status, reason and message of a condition; of an older spec, nothing is known but what is wrong."""
        found = self.conditions.get(kind) or {}
        status = str(found.get("status") or "Unknown")
        if status == "True" and not self.is_current:
            status = "Unknown"
        return status, str(found.get("reason") or ""), str(found.get("message") or "")


class Rolled(msgspec.Struct, frozen=True, kw_only=True):
    """Revisions of Knative's that had all calls: the last one, and the one before it. Empty: there is none."""

    latest: str = ""
    previous: str = ""


def told(service: Manifest) -> Told:
    """What a Service of Knative says; fields it does not have are empty."""
    metadata, spec, status = service["metadata"], service.get("spec") or {}, service.get("status") or {}
    return Told(
        created=str(status.get("latestCreatedRevisionName") or ""),
        ready=str(status.get("latestReadyRevisionName") or ""),
        conditions={str(one.get("type")): dict(one) for one in status.get("conditions") or ()},
        traffic=tuple(dict(one) for one in status.get("traffic") or ()),
        url=str(status.get("url") or ""),
        address=str((status.get("address") or {}).get("url") or ""),
        is_current=int(status.get("observedGeneration") or 0) >= int(metadata.get("generation") or 0),
        tiffin=str((metadata.get("annotations") or {}).get(names.REVISION) or ""),
        pinned=next(
            (str(one["revisionName"]) for one in spec.get("traffic") or () if one.get("revisionName")), ""
        ),
    )


def services(deployment: Deployment, observed: Observed) -> dict[str, Manifest]:
    """The Services of the main variant's components that there are, by component."""
    named = {one["metadata"]["name"]: one for one in observed.knative}
    found = {}
    for component in deployment.components:
        name = names.service(deployment, Slot(variant=deployment.variant, component=component))
        if component.scaling.autoscaler == "knative" and name in named:
            found[component.name] = named[name]
    return found


def rolled(service: Manifest, component: str, native_status: Mapping[str, Any]) -> Rolled:
    """Which revisions had all calls, now that a Service says what it does.

    Args:
        service: Knative's.
        component: Whose it is.
        native_status: Of the object, as it stands: what was known before.
    """
    said = told(service)
    before = _written(native_status, component, f"{service['metadata']['name']}-")
    known = Rolled(latest=before.latest or said.pinned, previous=before.previous)
    shares: dict[str, int] = {}
    for one in said.traffic:
        name = str(one.get("revisionName") or "")
        shares[name] = shares.get(name, 0) + int(one.get("percent") or 0)
    if not said.ready or said.state("RoutesReady")[0] != "True":
        return known  # Its traffic may be that of the spec before.
    if shares.get(said.ready) == 100 and known.latest != said.ready:
        follows = any(one.get("latestRevision") and one.get("percent") == 100 for one in said.traffic)
        return Rolled(latest=said.ready, previous=known.latest) if follows else known
    if known.latest == said.ready and known.previous and shares.get(known.previous):
        # It had all calls, and some of them were given back.
        return Rolled(latest=known.previous, previous=known.previous)
    return known


def split(
    percent: float | None, service: Manifest | None, component: str, native_status: Mapping[str, Any], newest: str
) -> Split | None:
    """How the calls of a component are to be shared; ``None``: all are for the newest revision.

    Args:
        percent: KServe's ``canaryTrafficPercent``; ``None``: there is none.
        service: Knative's; ``None``: it is not there yet.
        component: Whose it is.
        native_status: Of the object, as it stands.
        newest: The revision of Tiffin's that the Service is given now.
    """
    if percent is None or percent >= 100 or service is None:
        return None
    now, said = rolled(service, component, native_status), told(service)
    if not now.latest:
        return None
    if said.pinned and newest == said.tiffin and not said.is_current:
        # Decided for this template already, and Knative has not looked yet: another decision would undo it.
        return Split(percent=round(percent), rest=said.pinned)
    # A template that Knative has not made a revision of yet is what comes beside the one that is rolled out.
    is_template_known = newest == said.tiffin and said.state("ConfigurationsReady")[0] == "True"
    is_rolled_out = is_template_known and now.latest == said.ready == said.created
    return Split(percent=round(percent), rest=(is_rolled_out and now.previous) or now.latest)


def urls(said: Iterable[Told]) -> tuple[str, ...]:
    """Where Knative serves something: for everybody, then within the cluster."""
    return tuple(dict.fromkeys(url for one in said for url in (one.url, one.address) if url))


def _written(native_status: Mapping[str, Any], component: str, start: str) -> Rolled:
    """What the object's status says of revisions of a Service; of others' revisions it says nothing here."""
    found = (native_status.get("components") or {}).get(component) or {}
    latest, previous = (
        name if isinstance(name := found.get(key), str) and name.startswith(start) else ""
        for key in ("latestRolledoutRevision", "previousRolledoutRevision")
    )
    return Rolled(latest=latest, previous=previous)
