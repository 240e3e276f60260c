"""Where tasks are kept: one contract, and the stores that keep it."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Protocol
from urllib.parse import urlsplit, urlunsplit

from tiffin.errors import CallError, MissingExtra, PlatformError, SpecError, StorageError
from tiffin.runtime.tasks.record import Counts, State, Task, Work

_PASSWORD = re.compile(r"([?&](?:password|sslpassword)=)[^&]*", re.IGNORECASE)


class QueueFull(CallError):
    """429: as many tasks wait as may wait."""

    code = "task-queue-full"
    status = 429
    retryable = True


class StoreUnreachable(StorageError):
    """The store of the tasks does not answer; what is asked of it can be asked again later."""

    code = "task-store"


class TaskStore(Protocol):
    """Tasks with their requests and replies. One thread at a time uses a store.

    Every method may raise StoreUnreachable; it may be called again after that.
    """

    def clock(self) -> float:
        """Seconds since 1970 by the clock all who share the store go by."""

    def add(self, task: Task, request: bytes, *, limit: int) -> Task:
        """Keep a new task; or the one there is with the same queue and key, which is given back instead.

        Raises:
            QueueFull: ``limit`` tasks of its queue are queued.
        """

    def get(self, identifier: str) -> Task | None:
        """One task."""

    def request(self, identifier: str) -> bytes | None:
        """A task's request."""

    def reply(self, identifier: str) -> bytes | None:
        """A task's reply, once there is one."""

    def swap(self, task: Task, reply: bytes | None = None) -> bool:
        """Replace the version before this one, and keep the reply if there is one; false when it is gone."""

    def due(self, queue: str, work: Work, methods: Collection[str], now: float, count: int) -> list[Task]:
        """Up to ``count`` tasks of these methods with work that is due, those that are due longest first."""

    def newest(self, queue: str, states: Collection[State], count: int) -> list[Task]:
        """Up to ``count`` tasks, the newest first; no states means all. The queue may end with ``*``."""

    def counts(self, queue: str) -> Counts:
        """How many there are."""

    def purge(self, now: float) -> int:
        """Forget tasks of all queues that have expired; how many."""

    def close(self) -> None:
        """Let go of connections."""


def open_store(url: str) -> TaskStore:
    """The store of an address: ``sqlite:///file``, ``postgresql://...``, ``redis://...``; a bare path is SQLite.

    Raises:
        SpecError: the address names no store.
        MissingExtra: its client is not installed.
        StoreUnreachable: it does not answer.
    """
    scheme = url.partition(":")[0].lower()
    if scheme in ("postgresql", "postgres"):
        from tiffin.runtime.tasks.postgres_store import PostgresStore

        return PostgresStore(url)
    if scheme in ("redis", "rediss", "unix"):
        from tiffin.runtime.tasks.redis_store import RedisStore

        return RedisStore(url)
    if scheme == "sqlite" or "://" not in url:
        from tiffin.runtime.tasks.sqlite_store import SqliteStore

        return SqliteStore(path_of(url))
    raise SpecError(
        f"expected the address of a store for tasks, found {without_password(url)!r}",
        hint="sqlite:////var/lib/tasks.db, postgresql://user@host/name or redis://host:6379/0",
        at="TIFFIN_TASKS",
    )


def path_of(url: str) -> str:
    """The file of an SQLite address: ``sqlite:////var/x.db`` is absolute, ``sqlite:///x.db`` is not."""
    return url.removeprefix("sqlite://").removeprefix("/") if url.startswith("sqlite://") else url


def without_password(url: str) -> str:
    """An address as it may be shown."""
    url = _PASSWORD.sub(r"\1...", url)
    parts = urlsplit(url)
    if parts.password is None:
        return url
    return urlunsplit(parts._replace(netloc=f"{parts.username or ''}:...@{parts.netloc.rpartition('@')[2]}"))


def missing(extra: str, package: str) -> MissingExtra:
    return MissingExtra(f"{package} is not installed", hint=f"pip install 'tiffin[{extra}]'")


def unreachable(where: str, error: Exception) -> StoreUnreachable:
    reason = str(error).strip().partition("\n")[0] or type(error).__name__
    return StoreUnreachable(
        f"the store of the tasks, {where}, does not answer: {reason}",
        hint="start it, or set TIFFIN_TASKS to another one",
    )


def unusable(where: str, error: Exception) -> PlatformError:
    return PlatformError(
        f"cannot keep tasks in {where}: {error}", hint="set TIFFIN_TASKS to a place you can write to"
    )


class NoSuchTask(CallError):
    """404: there is no task of that id, or it was forgotten."""

    code = "no-such-task"
    status = 404


class KeyReused(CallError):
    """422: the idempotency key was used before, with another request."""

    code = "idempotency-key"
    status = 422
