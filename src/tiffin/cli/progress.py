"""What to tell while somebody waits for deployments: lines that read well without colour or terminal. Pure."""

from __future__ import annotations

from tiffin.cli.describing import phases
from tiffin.plan.objects import Object
from tiffin.plan.state import ReplicaStatus, RevisionStatus
from tiffin.spec import ContainerSource


def said(before: Object | None, after: Object) -> list[str]:
    """What is new for somebody who waits, each as ``default/iris: ...``."""
    old, new = (before.status if before else None), after.status
    lines: list[str] = []
    revisions = {revision.name: revision for revision in old.revisions} if old else {}
    for revision in new.revisions:
        lines += _revision(revisions.get(revision.name), revision, after)
    replicas = {replica.name: replica for replica in old.replicas} if old else {}
    told = {revision.problem.message for revision in new.revisions if revision.problem}
    for replica in new.replicas:
        lines += _replica(replicas.get(replica.name), replica, told)
    was = old.condition("Ready") if old else None
    now = new.condition("Ready")
    # While it is not known yet the lines of replicas and revisions say more.
    if now is not None and now.status == "False" and now.message and (was is None or was.message != now.message):
        problems = [*(one.problem for one in new.revisions), *(one.problem for one in new.replicas)]
        if not any(problem is not None and problem.message in now.message for problem in problems):
            lines.append(now.message)
    key = f"{after.metadata.namespace}/{after.metadata.name}"
    return [f"{key}: {line}" for line in lines]


def _revision(before: RevisionStatus | None, after: RevisionStatus, found: Object) -> list[str]:
    lines = []
    if before is None or before.phase != after.phase:
        what = {
            "Pending": "waits for its turn",
            "Fetching": f"fetches {_artefacts(found, after.variant)}",
            "Starting": "starts its replicas",
            "Ready": "is ready",
            "Idle": "is ready, with no replica while nobody calls",
            "Failed": "failed",
        }[after.phase]
        # What was ready before anybody waited is no news.
        if before is not None or after.phase not in ("Ready", "Idle"):
            lines.append(f"{after.name} {what}")
    if after.problem and (before is None or before.problem != after.problem):
        lines.append(f"{after.name}: {after.problem.message}")
    return lines


def _artefacts(found: Object, variant: str) -> str:
    """What a variant is fetched from."""
    places = [
        component.source.image if isinstance(component.source, ContainerSource) else component.source.artefact.uri
        for one in found.spec.all_variants
        if one.name == variant
        for component in one.components
    ]
    return ", ".join(dict.fromkeys(places)) or "what it serves"


def _replica(before: ReplicaStatus | None, after: ReplicaStatus, told: set[str]) -> list[str]:
    lines = []
    if before is None or before.phase != after.phase:
        match after.phase:
            case "Starting":
                lines.append(f"{after.name} starts" + (f" (pid {after.pid})" if after.pid else ""))
            case "Ready" if before is not None:
                took = f" after {phases(after.start_seconds)}" if after.start_seconds else ""
                lines.append(f"{after.name} is ready{took}")
            case "CrashLoopBackOff":
                so_far = f" ({after.restarts} restarts so far)" if after.restarts else ""
                lines.append(f"{after.name} ended, and is started again soon{so_far}")
            case "Failed":
                lines.append(f"{after.name} failed")
            case "Pending":
                lines.append(f"{after.name} waits")
            case _:
                pass
    is_new = before is None or before.problem != after.problem
    if after.problem and is_new and after.problem.message not in told:
        lines.append(f"{after.name}: {after.problem.message}")
    return lines
