"""What is written down of a task. Its request and its reply are kept beside it, as blobs."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from tiffin.protocol.head import Head
from tiffin.protocol.reply import Reply

State = Literal["queued", "running", "completed", "failed", "canceled"]
Work = Literal["run", "deliver"]

STATES: tuple[State, ...] = ("queued", "running", "completed", "failed", "canceled")
ENDED: tuple[State, ...] = ("completed", "failed", "canceled")


class Policy(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How often a task may begin, and how long it is kept; seconds.

    ``retries`` counts runs that failed, ``max_attempts`` runs whose replica was lost: a task that takes its
    replica down with it must not go round for ever.
    """

    retries: int = 0
    back_off_seconds: float = 1.0
    max_attempts: int = 3
    keep_seconds: float = 86_400.0


class Webhook(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who is told when the task has ended, and what came of it."""

    url: str
    attempts: int = 0
    state: Literal["waiting", "delivered", "given up"] = "waiting"
    error: str = ""


class Task(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One task. Times are seconds since 1970 by the store's clock.

    Attributes:
        queue: Whose it is: ``namespace/deployment/service``.
        method: Name of the method that runs it.
        version: Counts its changes; a store changes only the version that was read.
        due: What is to be done at ``due_at``: run it (for the first time, again, or because whoever ran it has
            gone silent), or tell its webhook. ``None`` when nothing is.
        owner: Who runs it, or ran it last; ``due_at`` is then the end of its lease.
        key: What its caller calls it (``Idempotency-Key``), with its method; ``fingerprint`` is of its request.
        runs: How often it was begun; ``lost`` of them ended with their replica, ``errors`` raised.
    """

    id: str
    queue: str
    method: str
    created_at: float
    state: State = "queued"
    version: int = 0
    due: Work | None = None
    due_at: float = 0.0
    owner: str = ""
    started_at: float | None = None
    ended_at: float | None = None
    runs: int = 0
    lost: int = 0
    errors: int = 0
    is_cancel_wanted: bool = False
    progress: float | None = None
    note: str = ""
    error: str = ""
    key: str = ""
    fingerprint: str = ""
    retry_of: str = ""
    policy: Policy = Policy()
    webhook: Webhook | None = None

    @property
    def is_ended(self) -> bool:
        return self.state in ENDED

    @property
    def expires_at(self) -> float | None:
        """When it may be forgotten."""
        return None if self.ended_at is None else self.ended_at + self.policy.keep_seconds


class Counts(msgspec.Struct, frozen=True):
    """How many tasks of a queue are in each state, and when the oldest of the queued ones was made."""

    states: dict[str, int]
    oldest_queued: float | None = None


_encode_task = msgspec.json.Encoder().encode
_decode_task: msgspec.json.Decoder[Task] = msgspec.json.Decoder(Task)


def to_text(task: Task) -> str:
    return _encode_task(task).decode()


def from_text(text: str | bytes) -> Task:
    return _decode_task.decode(text)


class _Request(msgspec.Struct, array_like=True):
    head: Head
    body: bytes


def pack_request(head: Head, body: bytes) -> bytes:
    """A request as it came, without what only its connection needed."""
    kept = {name: value for name, value in head.headers.items() if name not in _OF_THE_CONNECTION}
    return msgspec.msgpack.encode(_Request(msgspec.structs.replace(head, headers=kept), body))


def unpack_request(blob: bytes) -> tuple[Head, bytes]:
    found = msgspec.msgpack.decode(blob, type=_Request)
    return found.head, found.body


_OF_THE_CONNECTION = frozenset((b"connection", b"content-length", b"transfer-encoding", b"expect", b"keep-alive"))


def pack_reply(reply: Reply) -> bytes:
    return msgspec.msgpack.encode(reply)


def unpack_reply(blob: bytes) -> Reply:
    return msgspec.msgpack.decode(blob, type=Reply)


def describe(task: Task) -> dict[str, Any]:
    """What callers are told of a task: BentoML's four keys, then ours."""
    said: dict[str, Any] = {
        "task_id": task.id,
        "status": task.state if task.is_ended else "in_progress",
        "created_at": _iso(task.created_at),
        "executed_at": _iso(task.started_at),
        "completed_at": _iso(task.ended_at),
        "state": task.state,
        "method": task.method,
        "attempts": task.runs,
        "progress": task.progress,
        "message": task.note,
        "error": task.error,
        "cancel_requested": task.is_cancel_wanted,
    }
    if task.retry_of:
        said["retry_of"] = task.retry_of
    if task.webhook is not None:
        said["webhook"] = {"state": task.webhook.state, "attempts": task.webhook.attempts}
    return said


def _iso(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).isoformat()
