"""From sources (paths and texts) to deployments that can be desired, named so that they fit with those there are.

What is wrong in a file stops everything, before anything is written. What is wrong with one deployment (its
service does not import) is kept with it, and the others go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec

from tiffin import dialects
from tiffin.dialects import routes
from tiffin.dialects.resources import ConfigMap, Secret, ServiceAccount
from tiffin.dialects.runtimes import Runtime
from tiffin.errors import TiffinError
from tiffin.gateway import checks
from tiffin.kits import threads
from tiffin.kits.paths import DataDirectory
from tiffin.local import grpc_sockets, preparing
from tiffin.local.store import Problematic, Resource, Store, Stored
from tiffin.plan.objects import Source
from tiffin.spec import Deployment, SpecWarning

_KINDS: dict[str, type[Runtime | Secret | ServiceAccount | ConfigMap]] = {
    "ServingRuntime": Runtime,
    "Secret": Secret,
    "ServiceAccount": ServiceAccount,
    "ConfigMap": ConfigMap,
}


@dataclass(frozen=True)
class Candidate:
    """A deployment as it was read. ``document`` is what its author wrote, where that was a document."""

    deployment: Deployment
    document: dict[str, Any] = field(default_factory=dict)
    problem: Problematic = field(default_factory=Problematic)
    error: TiffinError | None = None


@dataclass(frozen=True)
class Read:
    """What sources hold, and warnings that belong to no single deployment."""

    candidates: list[Candidate]
    resources: dialects.Resources
    warnings: list[SpecWarning]


async def read(
    sources: Sequence[Source],
    known: dialects.Resources,
    data: DataDirectory,
    *,
    domain: str,
    trust: bool,
    separate: bool = False,
) -> Read:
    """Read them all, and describe services; raises SpecError."""
    found, resources = await threads.in_daemon(partial(dialects.read_all, sources, domain=domain, known=known))
    if trust:
        found = [(preparing.trusted(deployment), document) for deployment, document in found]
    if separate:
        found = [(preparing.separated(deployment), document) for deployment, document in found]
    found = [(grpc_sockets.possible(deployment), document) for deployment, document in found]
    for deployment, _ in found:
        await asyncio.to_thread(checks.check, deployment)
    described = await asyncio.gather(*(preparing.described(deployment, data, domain) for deployment, _ in found))
    candidates = [
        Candidate(deployment, document, _problematic(error), error)
        for (deployment, error), (_, document) in zip(described, found, strict=True)
    ]
    return Read(candidates, resources, [])


def fit(read: Read, existing: Sequence[Stored]) -> Read:
    """Names and addresses made to fit with what is desired already; raises SpecError where that cannot be.

    A name that nobody wrote gives way to one of another system's file; the same file read again keeps its name.
    """
    by_key = {one.key: one.deployment for one in existing}
    others = [
        other
        for candidate in read.candidates
        if candidate.deployment.derived_name
        and (other := by_key.get(candidate.deployment.key)) is not None
        and not _is_same(other, candidate.deployment)
    ]
    new = [candidate.deployment for candidate in read.candidates]
    written = [msgspec.structs.replace(one, derived_name=False) for one in others if one.key not in _written(new)]
    combined, warnings = dialects.combine([*written, *new])
    named = combined[len(written) :]
    # Addresses are settled when they are routed, since others come and go.
    kept = [_renamed(candidate, deployment) for candidate, deployment in zip(read.candidates, named, strict=True)]
    for candidate in kept:
        before = by_key.get(candidate.deployment.key)
        if before is not None:
            dialects.check_update(before, candidate.deployment)
    keys = {candidate.deployment.key for candidate in kept}
    beside = [one.deployment for one in existing if one.key not in keys]
    if beside:
        together = [msgspec.structs.replace(one, derived_name=False) for one in beside]
        _, more = dialects.combine([*together, *(one.deployment for one in kept)])
        warnings = list(dict.fromkeys([*warnings, *more]))
    return Read(kept, read.resources, [*read.warnings, *warnings])


def _written(deployments: Sequence[Deployment]) -> set[str]:
    return {one.key for one in deployments if not one.derived_name}


def _is_same(before: Deployment, after: Deployment) -> bool:
    return (before.dialect, before.file) == (after.dialect, after.file)


def _renamed(candidate: Candidate, deployment: Deployment) -> Candidate:
    """The candidate under the name it got, with all the addresses it wants."""
    own = candidate.deployment
    if deployment.name != own.name:
        own = routes.renamed(own, deployment.name)
    return Candidate(
        msgspec.structs.replace(own, derived_name=False), candidate.document, candidate.problem, candidate.error
    )


def resources_of(store: Store) -> dialects.Resources:
    """What deployments may refer to, of all that was ever applied."""
    found: dict[str, list[Any]] = {kind: [] for kind in _KINDS}
    for resource in store.resources():
        kind = _KINDS.get(resource.kind)
        if kind is not None:
            found[resource.kind].append(msgspec.convert(resource.document, kind))
    return dialects.Resources(
        runtimes=tuple(found["ServingRuntime"]),
        secrets=tuple(found["Secret"]),
        service_accounts=tuple(found["ServiceAccount"]),
        config_maps=tuple(found["ConfigMap"]),
    )


def keep_resources(store: Store, resources: dialects.Resources, managed_by: str) -> bool:
    """Write them down; whether anything changed."""
    changed = False
    groups: tuple[tuple[str, Sequence[Any]], ...] = (
        ("ServingRuntime", resources.runtimes),
        ("Secret", resources.secrets),
        ("ServiceAccount", resources.service_accounts),
        ("ConfigMap", resources.config_maps),
    )
    for kind, items in groups:
        for item in items:
            resource = Resource(
                kind=kind,
                namespace=str(getattr(item, "namespace", "") or ""),
                name=item.name,
                document=msgspec.to_builtins(item),
                managed_by=managed_by,
            )
            changed = store.put_resource(resource) or changed
    return changed


def _problematic(error: TiffinError | None) -> Problematic:
    return Problematic() if error is None else Problematic(error.code, str(error), error.hint or "")
