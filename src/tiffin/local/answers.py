"""What the controller says of deployments and changes, and specs changed by what people ask for. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from tiffin.dialects import bases, runtimes, statuses
from tiffin.errors import CallError
from tiffin.local import applying
from tiffin.local.store import Stored
from tiffin.plan import objects
from tiffin.plan.difference import diff
from tiffin.plan.objects import Applied, Metadata, Object
from tiffin.plan.state import DeploymentStatus
from tiffin.spec import Component, Deployment, Scaling, SpecWarning, Variant


def written(done: Applied, deployment: Deployment) -> str:
    """What was written, as an event says it."""
    paths = [change.path for change in done.changes]
    what = ", ".join(paths[:5]) + (f" and {len(paths) - 5} more" if len(paths) > 5 else "")
    return f"changed: {what}" if what else f"read from {deployment.file or 'what was sent'}"


def to_first(read: applying.Read) -> list[Sequence[SpecWarning]]:
    """Warnings that belong to no single deployment are told with the first."""
    return [read.warnings if index == 0 else () for index in range(len(read.candidates))]


def shown_runtime(runtime: runtimes.Runtime) -> objects.Runtime:
    """A runtime as the API lists it."""
    return objects.Runtime(
        name=runtime.name,
        namespace=runtime.namespace,
        formats=tuple(dict.fromkeys(one.name for one in runtime.formats)),
        protocols=runtime.protocols,
        image=runtime.container.image if runtime.container is not None else "",
        built_in=runtime.container is None,
        disabled=runtime.disabled,
    )


def shown(stored: Stored, status: DeploymentStatus, version: int) -> Object:
    """A deployment as the API shows it; ``version`` is that of its last change of status."""
    deployment = stored.deployment
    return Object(
        metadata=Metadata(
            name=deployment.name,
            namespace=deployment.namespace,
            resource_version=max(stored.version, version),
            generation=stored.generation,
            created_at=stored.created,
            labels=deployment.labels,
            annotations=deployment.annotations,
            managed_by=stored.managed_by,
        ),
        document=stored.document,
        spec=deployment,
        status=status,
    )


def native(found: Object) -> dict[str, Any]:
    """The object in the words of the system that its file was written for."""
    kept = bases.noted(statuses.native_document(found.document), found.spec)
    told = kept or {"apiVersion": found.api_version, "kind": found.kind}
    made = datetime.fromtimestamp(found.metadata.created_at, UTC)
    told["metadata"] = {
        **(told.get("metadata") or {"name": found.metadata.name}),
        "namespace": found.metadata.namespace,
        "resourceVersion": str(found.metadata.resource_version),
        "generation": found.metadata.generation,
        "creationTimestamp": made.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    told["status"] = statuses.native_status(found.spec, found.status)
    return told


def applied(
    deployment: Deployment, before: Stored | None, warnings: Sequence[SpecWarning], *, version: int = 0
) -> Applied:
    """What applying did, or would do."""
    changes, effects = diff(None if before is None else before.deployment, deployment)
    action: Literal["created", "configured", "unchanged"] = "created"
    if before is not None:
        action = "configured" if changes else "unchanged"
    return Applied(
        key=deployment.key,
        action=action,
        changes=changes,
        effects=effects if action != "unchanged" else (),
        warnings=(*deployment.warnings, *warnings),
        resource_version=version or (0 if before is None else before.version),
    )


def scaled(deployment: Deployment, component: str, minimum: int | None, maximum: int | None) -> Deployment:
    names = [part.name for variant in deployment.all_variants for part in variant.components]
    if component not in names:
        raise CallError(
            f"{deployment.key} has no component {component}", hint=f"there is {', '.join(dict.fromkeys(names))}"
        )

    def changed(scaling: Scaling) -> Scaling:
        least = scaling.min_replicas if minimum is None else minimum
        most = scaling.max_replicas if maximum is None else maximum
        if most is not None and 0 < most < least:
            most = least
        return msgspec.structs.replace(scaling, min_replicas=least, max_replicas=most)

    def scaled(parts: Sequence[Component]) -> tuple[Component, ...]:
        return tuple(
            msgspec.structs.replace(part, scaling=changed(part.scaling)) if part.name == component else part
            for part in parts
        )

    def variant(one: Variant) -> Variant:
        return msgspec.structs.replace(one, components=scaled(one.components))

    return msgspec.structs.replace(
        deployment,
        components=scaled(deployment.components),
        variants=tuple(variant(one) for one in deployment.variants),
    )
