"""The text of ``tiffin describe``, and why something is not ready. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tiffin.cli import rendering
from tiffin.cli.rendering import age, size
from tiffin.plan.objects import Object
from tiffin.plan.state import DeploymentStatus, Event, Problem, ReplicaStatus, RevisionStatus
from tiffin.spec import ClassSource, Component, ModelSource, ServiceSource

LOG_LINES = 10
ADDRESSES = 4


def text(found: Object, events: Sequence[Event], now: float) -> str:
    """All about a deployment."""
    status = found.status
    lines = [
        f"Name:        {found.metadata.name}",
        f"Namespace:   {found.metadata.namespace}",
        f"Ready:       {rendering.ready(status)}{_because(found)}",
        f"Age:         {age(now - found.metadata.created_at)}",
        f"From:        {found.spec.file or 'no file'} ({found.spec.dialect})",
        f"Generation:  {found.metadata.generation} (acted on: {status.observed_generation})",
    ]
    if found.metadata.managed_by:
        lines.append(f"Managed by:  {found.metadata.managed_by}")
    if found.metadata.labels:
        lines.append(f"Labels:      {', '.join(f'{k}={v}' for k, v in sorted(found.metadata.labels.items()))}")
    lines += ["", "Addresses:"]
    lines += _addresses(status)
    if status.curl:
        lines += ["", "Try it:", *(f"  {line}" for line in status.curl.splitlines())]
    lines += ["", "Conditions:"]
    lines += _indented(rendering.conditions(status.conditions, now)) if status.conditions else ["  none yet"]
    for variant in found.spec.all_variants:
        title = "Components:" if not found.spec.variants else f"Components of {variant.name}:"
        lines += ["", title, *(f"  {_component(component)}" for component in variant.components)]
    lines += ["", "Revisions:"]
    newest_first = sorted(status.revisions, key=lambda revision: -revision.number)
    lines += [line for revision in newest_first for line in _revision(revision, now)] or ["  none yet"]
    lines += ["", "Replicas:"]
    told = {revision.problem.log for revision in status.revisions if revision.problem}
    lines += [line for one in status.replicas for line in _replica(one, now, told)] or [_no_replicas(found)]
    warnings = [*map(str, found.spec.warnings), *status.warnings]
    if warnings:
        lines += ["", "Warnings:", *(f"  {warning}" for warning in dict.fromkeys(warnings))]
    lines += ["", "Events:"]
    lines += _indented(rendering.events(events, now, names=False)) if events else ["  none"]
    return "\n".join(lines)


def why_not_ready(found: Object) -> tuple[str, str]:
    """A text that says why, with the last log lines of what fails, and the hint."""
    status = found.status
    condition = status.condition("Ready")
    lines = []
    hint = ""
    if condition is not None and condition.status != "True":
        lines.append(": ".join(part for part in (condition.reason, condition.message) if part))
        hint = condition.hint
    elif status.observed_generation < found.metadata.generation:
        lines.append("the controller has not yet acted on the newest version")
    problems = [
        *((revision.name, revision.problem) for revision in status.revisions),
        *((replica.name, replica.problem) for replica in status.replicas),
    ]
    logged: set[tuple[str, ...]] = set()
    for name, problem in problems:
        if problem is None:
            continue
        if not any(problem.message in line for line in lines):
            lines.append(f"{name}: {problem.reason}: {problem.message}")
        hint = hint or problem.hint
        if problem.log and problem.log not in logged:
            logged.add(problem.log)
            lines.append(f"the last lines of {name}:")
            lines += [f"    {line}" for line in problem.log[-LOG_LINES:]]
    return "\n".join(line for line in lines if line), hint


def _addresses(status: DeploymentStatus) -> list[str]:
    """The first ones; a deployment answers at many host names."""
    every = [url for url in dict.fromkeys((status.url, *status.urls)) if url]
    lines = [f"  {url}" for url in every[:ADDRESSES]] or ["  none yet"]
    if len(every) > ADDRESSES:
        hosts = [url for url in every[ADDRESSES:] if url.endswith("/")]
        lines += [f"  {url}" for url in hosts[:1]]
        lines.append(f"  and {len(every) - len(lines)} more, which --json lists")
    return lines


def _because(found: Object) -> str:
    word = rendering.reason(found.status)
    return f" ({word})" if word else ""


def _component(component: Component) -> str:
    source = component.source
    match source:
        case ModelSource():
            what = f"{source.format or 'saved'} model {source.artefact.uri}"
        case ServiceSource():
            what = f"service {source.target} in {source.artefact.uri}"
        case ClassSource():
            what = f"class {source.target} in {source.artefact.uri}"
        case _:
            what = f"image {source.image}"
    scaling = component.scaling
    most = max(1, scaling.min_replicas) if scaling.max_replicas is None else scaling.max_replicas
    if scaling.is_fixed:
        count = f"{scaling.min_replicas} replica{'s' * (scaling.min_replicas != 1)}"
    else:
        count = f"{scaling.min_replicas} to {most or 'any number of'} replicas"
    return f"{component.name}: {what}, {count}"


def _revision(revision: RevisionStatus, now: float) -> list[str]:
    ready, wanted = sum(revision.ready.values()), sum(revision.wanted.values())
    tags = f", also as {', '.join(revision.tags)}" if revision.tags else ""
    share = rendering.share(revision)
    made = f", made {age(now - revision.created)} ago" if revision.created else ""
    calls = share if revision.mirror_percent is not None else f"{share} of the calls"
    head = f"  {revision.name}  {revision.phase}, {calls}, {ready}/{wanted} replicas{tags}{made}"
    return [head, *_problem(revision.problem)]


def _replica(replica: ReplicaStatus, now: float, told: set[tuple[str, ...]]) -> list[str]:
    parts: list[str] = [replica.phase]
    if replica.pid:
        parts.append(f"pid {replica.pid}")
    if replica.started and replica.phase in ("Starting", "Ready", "Draining"):
        parts.append(f"up {age(now - replica.started)}")
    if replica.restarts:
        parts.append(f"{replica.restarts} restart{'s' * (replica.restarts != 1)}")
    if replica.memory_bytes:
        parts.append(size(replica.memory_bytes))
    lines = [f"  {replica.name}  {', '.join(parts)}"]
    if replica.start_seconds:
        lines.append(f"    start: {phases(replica.start_seconds)}")
    if replica.log_file:
        lines.append(f"    log: {replica.log_file}")
    problem = replica.problem
    if problem is not None and problem.log in told:
        # Its revision has just shown these lines.
        problem = msgspec.structs.replace(problem, log=())
    return lines + _problem(problem)


def phases(seconds: dict[str, float]) -> str:
    """``0.81 s (import 0.60, load 0.20, warm-up 0.01)``."""
    each = ", ".join(f"{name} {value:.2f}" for name, value in seconds.items())
    return f"{sum(seconds.values()):.2f} s ({each})"


def _problem(problem: Problem | None) -> list[str]:
    if problem is None:
        return []
    first, *more = problem.message.splitlines() or [""]
    lines = [f"    {problem.reason}: {first}", *(f"    {line.strip()}" for line in more)]
    if problem.hint:
        lines.append(f"    hint: {problem.hint}")
    if problem.log:
        lines += ["    last lines:", *(f"      {line}" for line in problem.log[-LOG_LINES:])]
    return lines


def _no_replicas(found: Object) -> str:
    idle = any(revision.phase == "Idle" for revision in found.status.revisions)
    return "  none, since nobody calls; the next call starts one" if idle else "  none"


def _indented(lines: Sequence[str]) -> list[str]:
    return [f"  {line}" for line in lines]
