"""Tables and texts about deployments. Pure: values in, lines out."""

from __future__ import annotations

from collections.abc import Sequence

from tiffin.plan.objects import Object, ReplicaUse, Runtime
from tiffin.plan.state import Condition, DeploymentStatus, Event, ReplicaStatus, RevisionStatus

EMPTY = "-"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, widths: list[int] | None = None) -> list[str]:
    """Columns as wide as their widest cell, three spaces apart.

    ``widths`` are at least kept to, and become those of this table: the next one then fits below it.
    """
    cells = [list(head), *([cell or EMPTY for cell in row] for row in rows)]
    least = widths or [0] * len(head)
    columns = zip(*cells, strict=True)
    needed = [max(at_least, *map(len, column)) for at_least, column in zip(least, columns, strict=True)]
    if widths is not None:
        widths[:] = needed
    return [
        "   ".join(cell.ljust(width) for cell, width in zip(row, needed, strict=True)).rstrip() for row in cells
    ]


def age(seconds: float) -> str:
    """``5s``, ``3m``, ``3h12m``, ``4d``: as kubectl says it."""
    whole = max(0, int(seconds))
    if whole < 120:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m"
    if whole < 86_400:
        hours, minutes = whole // 3600, whole % 3600 // 60
        return f"{hours}h{minutes}m" if minutes and hours < 10 else f"{hours}h"
    return f"{whole // 86_400}d"


def size(count: int | None) -> str:
    """``212 MB``: in powers of ten."""
    if count is None:
        return ""
    amount = float(count)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"


def percent(value: float) -> str:
    """``12.5%``, ``100%``."""
    return f"{value:g}%" if value == round(value, 2) else f"{value:.2f}%"


def ready(status: DeploymentStatus) -> str:
    """``True``, ``False`` or ``Unknown``."""
    condition = status.condition("Ready")
    return condition.status if condition else "Unknown"


def reason(status: DeploymentStatus) -> str:
    """Why it is not ready, in a word."""
    condition = status.condition("Ready")
    return condition.reason if condition and condition.status != "True" else ""


def traffic(status: DeploymentStatus) -> str:
    """``iris-00001=90%,iris-00002=10%``; the largest share first, a shadow with a +."""
    parts = [
        f"{revision.name}={percent(revision.weight)}"
        for revision in sorted(status.revisions, key=lambda revision: -revision.weight)
        if revision.weight > 0
    ]
    parts += [
        f"{revision.name}=+{percent(revision.mirror_percent)}"
        for revision in status.revisions
        if revision.mirror_percent
    ]
    return ",".join(parts)


def replicas(status: DeploymentStatus) -> str:
    """``2/3``: ready and wanted, of all revisions."""
    wanted = sum(sum(revision.wanted.values()) for revision in status.revisions)
    there = sum(sum(revision.ready.values()) for revision in status.revisions)
    return f"{there}/{wanted}"


def newest(found: Object) -> str:
    """The newest revision of the main variant."""
    return found.status.latest.get(found.spec.variant, "")


def deployments(
    found: Sequence[Object],
    now: float,
    *,
    namespaces: bool = False,
    wide: bool = False,
    widths: list[int] | None = None,
) -> list[str]:
    """NAME READY URL REVISION TRAFFIC REPLICAS AGE; more when ``wide``."""
    head = ["NAME", "READY", "URL", "REVISION", "TRAFFIC", "REPLICAS", "AGE"]
    rows = []
    for item in found:
        row = [
            item.metadata.name,
            ready(item.status),
            item.status.url,
            newest(item),
            traffic(item.status),
            replicas(item.status),
            age(now - item.metadata.created_at),
        ]
        if wide:
            row += [reason(item.status), item.spec.dialect, item.metadata.managed_by, item.spec.file]
        rows.append([item.metadata.namespace, *row] if namespaces else row)
    if wide:
        head += ["REASON", "DIALECT", "MANAGED BY", "FILE"]
    return table(["NAMESPACE", *head] if namespaces else head, rows, widths=widths)


def revisions(found: Sequence[tuple[Object, RevisionStatus]], now: float, *, wide: bool = False) -> list[str]:
    """REVISION DEPLOYMENT VARIANT PHASE TRAFFIC REPLICAS TAGS AGE; the newest first in each deployment."""
    head = ["REVISION", "DEPLOYMENT", "VARIANT", "PHASE", "TRAFFIC", "REPLICAS", "TAGS", "AGE"]
    rows = []
    for item, revision in found:
        row = [
            revision.name,
            item.spec.key,
            revision.variant,
            revision.phase,
            share(revision),
            f"{sum(revision.ready.values())}/{sum(revision.wanted.values())}",
            ",".join(revision.tags),
            age(now - revision.created),
        ]
        if wide:
            row.append(revision.problem.reason if revision.problem else "")
        rows.append(row)
    return table([*head, "PROBLEM"] if wide else head, rows)


def share(revision: RevisionStatus) -> str:
    """``25%``, or ``copies of 10%`` for a shadow."""
    if revision.mirror_percent is not None:
        return f"copies of {percent(revision.mirror_percent)}"
    return percent(revision.weight)


def replica_rows(found: Sequence[tuple[Object, ReplicaStatus]], now: float, *, wide: bool = False) -> list[str]:
    """REPLICA DEPLOYMENT REVISION COMPONENT PHASE RESTARTS CPU MEMORY AGE."""
    head = ["REPLICA", "DEPLOYMENT", "REVISION", "COMPONENT", "PHASE", "RESTARTS", "CPU", "MEMORY", "AGE"]
    rows = []
    for item, replica in found:
        row = [
            replica.name,
            item.spec.key,
            replica.revision,
            replica.component,
            replica.phase,
            str(replica.restarts),
            "" if replica.cpu is None else f"{replica.cpu:.2f}",
            size(replica.memory_bytes),
            age(now - replica.started) if replica.started else "",
        ]
        if wide:
            row += [str(replica.pid or ""), replica.endpoint, replica.log_file]
        rows.append(row)
    return table([*head, "PID", "ENDPOINT", "LOG"] if wide else head, rows)


def events(
    found: Sequence[Event], now: float, *, names: bool = True, widths: list[int] | None = None
) -> list[str]:
    """LAST SEEN TYPE REASON DEPLOYMENT MESSAGE."""
    head = ["LAST SEEN", "TYPE", "REASON", *(["DEPLOYMENT"] if names else []), "MESSAGE"]
    rows = [
        [
            age(now - event.time),
            event.type,
            event.reason,
            *([event.deployment] if names else []),
            " ".join(event.message.split()) + (f" (x{event.count})" if event.count > 1 else ""),
        ]
        for event in found
    ]
    return table(head, rows, widths=widths)


def runtimes(found: Sequence[Runtime]) -> list[str]:
    """NAME NAMESPACE FORMATS PROTOCOLS SOURCE."""
    rows = [
        [
            runtime.name + (" (disabled)" if runtime.disabled else ""),
            runtime.namespace or "all",
            ",".join(runtime.formats),
            ",".join(runtime.protocols),
            "built in" if runtime.built_in else runtime.image,
        ]
        for runtime in found
    ]
    return table(["NAME", "NAMESPACE", "FORMATS", "PROTOCOLS", "SERVED BY"], rows)


def uses(found: Sequence[ReplicaUse]) -> list[str]:
    """DEPLOYMENT REPLICA CPU MEMORY CALLS CALLS/S, with a sum."""
    rows = [
        [use.deployment, use.replica, f"{use.cpu:.2f}", size(use.memory_bytes), str(use.active), f"{use.rps:.1f}"]
        for use in found
    ]
    if len(rows) > 1:
        # Calls are counted by pool: each replica of one says the same.
        total = size(sum(use.memory_bytes for use in found))
        rows.append(["(all)", "", f"{sum(use.cpu for use in found):.2f}", total, "", ""])
    return table(["DEPLOYMENT", "REPLICA", "CORES", "MEMORY", "CALLS", "CALLS/S"], rows)


def conditions(found: Sequence[Condition], now: float) -> list[str]:
    """TYPE STATUS SINCE REASON, with message and hint below each that has one."""
    lines = table(
        ["TYPE", "STATUS", "SINCE", "REASON"],
        [[one.type, one.status, age(now - one.since) if one.since else "", one.reason] for one in found],
    )
    result = lines[:1]
    told = set()
    for line, one in zip(lines[1:], found, strict=True):
        result.append(line)
        # What keeps one condition from being true keeps others too, in the same words.
        if one.message not in told:
            result += [f"  {text}" for text in one.message.splitlines()]
            if one.hint:
                result.append(f"  hint: {one.hint}")
        told.add(one.message)
    return result
