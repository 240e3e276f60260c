r"""The life of a task: every change there is, as functions from a task to the task it becomes. Pure.

    queued ──claimed──> running ──ended──> completed | failed | canceled
      ^  \                  │
      │   └──cancelled──> canceled
      └─────released, or ended with retries left

A store changes a task only if nobody else did meanwhile, so two workers that claim one task find out. Whoever runs
it holds a *lease* and renews it; when the lease runs out the task is claimed by another: it runs at least once.
A cancel that was taken is kept: such a task ends as ``canceled``, whatever its method gives back.
"""

from __future__ import annotations

import msgspec

from tiffin.errors import CallError
from tiffin.runtime.tasks.record import State, Task, Webhook, Work

LEASE_SECONDS = 15.0
DELIVERY_SECONDS = (1.0, 5.0, 30.0, 120.0, 600.0)
"""Pauses between attempts to tell a webhook; after the last one it is given up."""


class NotYours(Exception):
    """The task is no longer run by whoever says so: its lease ran out, or it has ended."""


class AlreadyEnded(CallError):
    """409: a task that has ended cannot be cancelled."""

    code = "task-ended"
    status = 409


def _next(task: Task, **changes: object) -> Task:
    return msgspec.structs.replace(task, version=task.version + 1, **changes)


def submitted(task: Task) -> Task:
    """A new task, due at once."""
    return msgspec.structs.replace(task, due="run", due_at=task.created_at)


def claimed(task: Task, owner: str, now: float, lease_seconds: float = LEASE_SECONDS) -> Task | None:
    """The task taken up by ``owner``; ended, when it may not be begun again; ``None`` when it is not due."""
    if task.due != "run" or task.due_at > now or task.is_ended:
        return None
    is_lost = task.state == "running"
    if is_lost and task.is_cancel_wanted:
        return _ended(task, "canceled", now)
    lost = task.lost + is_lost
    if lost >= task.policy.max_attempts:
        text = f"the replica that ran it was lost {lost} times"
        return _ended(msgspec.structs.replace(task, lost=lost), "failed", now, text)
    return _next(
        task,
        state="running",
        owner=owner,
        due_at=now + lease_seconds,
        started_at=task.started_at if task.started_at is not None else now,
        runs=task.runs + 1,
        lost=lost,
        progress=None,
        note="",
    )


def renewed(
    task: Task,
    owner: str,
    now: float,
    *,
    progress: float | None = None,
    note: str = "",
    lease_seconds: float = LEASE_SECONDS,
) -> Task:
    """A longer lease, and how far the method says it is; NotYours when the lease was lost."""
    _check(task, owner)
    return _next(task, due_at=now + lease_seconds, progress=progress, note=note)


def finished(
    task: Task, owner: str, now: float, state: State, *, error: str = "", is_retriable: bool = False
) -> Task:
    """The run ended, as ``state``; queued again, after a pause, when it failed and may be retried.

    Raises:
        NotYours: somebody else has taken the task up, or it has ended.
    """
    _check(task, owner)
    if task.is_cancel_wanted:
        return _ended(task, "canceled", now)
    if state == "failed" and is_retriable and task.errors < task.policy.retries:
        pause = task.policy.back_off_seconds * 2**task.errors
        return _queued(task, now + pause, errors=task.errors + 1, error=error)
    if state == "failed":
        task = msgspec.structs.replace(task, errors=task.errors + 1)
    return _ended(task, state, now, error)


def crashed(task: Task, owner: str, now: float, error: str) -> Task:
    """The process that ran it died alone: the next attempt, or the end of a task that keeps killing it."""
    _check(task, owner)
    if task.is_cancel_wanted:
        return _ended(task, "canceled", now)
    lost = task.lost + 1
    if lost >= task.policy.max_attempts:
        return _ended(msgspec.structs.replace(task, lost=lost), "failed", now, f"{error} ({lost} times)")
    return _queued(task, now + task.policy.back_off_seconds, lost=lost, error=error)


def released(task: Task, owner: str, now: float) -> Task:
    """Given back by an owner that stops; it counts as no attempt."""
    _check(task, owner)
    return _ended(task, "canceled", now) if task.is_cancel_wanted else _queued(task, now, runs=task.runs - 1)


def cancelled(task: Task, now: float) -> Task:
    """Cancelled: at once when it waits; otherwise whoever runs it is asked to stop.

    Raises:
        AlreadyEnded: there is nothing left to cancel.
    """
    if task.is_ended:
        raise AlreadyEnded(f"expected a task that waits or runs, found {task.id} {task.state}")
    if task.state == "queued":
        return _ended(task, "canceled", now)
    return task if task.is_cancel_wanted else _next(task, is_cancel_wanted=True)


def delivering(task: Task, now: float, lease_seconds: float = LEASE_SECONDS) -> Task | None:
    """Its webhook's turn, taken by whoever asks; ``None`` when there is nothing to deliver now."""
    if task.due != "deliver" or task.due_at > now or task.webhook is None:
        return None
    return _next(task, due_at=now + lease_seconds)


def delivered(task: Task, now: float, error: str = "", *, is_final: bool = False) -> Task:
    """What came of telling the webhook; ``error`` empty is success, ``is_final`` means no further attempt."""
    hook = task.webhook
    if task.due != "deliver" or hook is None:
        raise NotYours(task.id)
    attempts = hook.attempts + 1
    is_over = is_final or attempts > len(DELIVERY_SECONDS)
    outcome: dict[str, object] = {"attempts": attempts, "error": error}
    if not error or is_over:
        outcome["state"] = "given up" if error else "delivered"
    hook = msgspec.structs.replace(hook, **outcome)
    if hook.state != "waiting":
        return _next(task, webhook=hook, due=None, due_at=0.0)
    return _next(task, webhook=hook, due_at=now + DELIVERY_SECONDS[attempts - 1])


def again(task: Task, identifier: str, now: float) -> Task:
    """A new task with the same request, for one that has ended.

    Raises:
        CallError: it has not ended.
    """
    if not task.is_ended:
        raise CallError(f"task {task.id} is not completed yet")
    hook = None if task.webhook is None else Webhook(url=task.webhook.url)
    fresh = Task(
        id=identifier,
        queue=task.queue,
        method=task.method,
        created_at=now,
        policy=task.policy,
        webhook=hook,
        retry_of=task.id,
    )
    return submitted(fresh)


def _check(task: Task, owner: str) -> None:
    if task.state != "running" or task.owner != owner:
        raise NotYours(task.id)


def _queued(task: Task, due_at: float, **changes: object) -> Task:
    return _next(task, state="queued", due="run", due_at=due_at, owner="", **changes)


def _ended(task: Task, state: State, now: float, error: str = "") -> Task:
    due: Work | None = None if task.webhook is None else "deliver"
    return _next(task, state=state, ended_at=now, error=error, due=due, due_at=now if due else 0.0)
