"""What the stores with SQL share: one table, and statements that both SQLite and Postgres take."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import Any

from tiffin.runtime.tasks.record import Counts, State, Task, Work, from_text, to_text
from tiffin.runtime.tasks.store import QueueFull

TABLE = (
    """CREATE TABLE IF NOT EXISTS tiffin_tasks (
    id TEXT PRIMARY KEY,
    queue TEXT NOT NULL,
    method TEXT NOT NULL,
    state TEXT NOT NULL,
    version BIGINT NOT NULL,
    due TEXT,
    due_at DOUBLE PRECISION NOT NULL,
    created_at DOUBLE PRECISION NOT NULL,
    expires_at DOUBLE PRECISION,
    caller_key TEXT NOT NULL,
    record TEXT NOT NULL,
    request {blob} NOT NULL,
    reply {blob})""",
    "CREATE INDEX IF NOT EXISTS tiffin_tasks_due ON tiffin_tasks (queue, due, due_at, id)",
    "CREATE INDEX IF NOT EXISTS tiffin_tasks_state ON tiffin_tasks (queue, state, created_at)",
    "CREATE INDEX IF NOT EXISTS tiffin_tasks_created ON tiffin_tasks (created_at)",
    "CREATE INDEX IF NOT EXISTS tiffin_tasks_expires ON tiffin_tasks (expires_at)",
    """CREATE UNIQUE INDEX IF NOT EXISTS tiffin_tasks_key ON tiffin_tasks (queue, caller_key)
    WHERE caller_key <> ''""",
)

_ADD = """INSERT INTO tiffin_tasks
    (id, queue, method, state, version, due, due_at, created_at, expires_at, caller_key, record, request)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL, ?, ?, ?)
    ON CONFLICT (queue, caller_key) WHERE caller_key <> '' DO NOTHING"""
_SWAP = """UPDATE tiffin_tasks SET state = ?, version = ?, due = ?, due_at = ?, expires_at = ?, record = ?
    {reply} WHERE id = ? AND version = ?"""


class SqlStore(ABC):
    """The contract of ``store.TaskStore`` over ``_run``, which the two stores provide."""

    @abstractmethod
    def _run(self, statement: str, values: Sequence[Any] = ()) -> tuple[list[tuple[Any, ...]], int]:
        """Rows, and how many were changed; ``?`` stands for a value."""

    def add(self, task: Task, request: bytes, *, limit: int) -> Task:
        if task.key:
            found = self._keyed(task)
            if found is not None:
                return found
        rows, _ = self._run(
            "SELECT count(*) FROM tiffin_tasks WHERE queue = ? AND state = 'queued'", (task.queue,)
        )
        if rows[0][0] >= limit:
            raise QueueFull(f"expected fewer than {limit} waiting tasks, found {rows[0][0]}; try again later")
        values = (task.id, task.queue, task.method, task.state, task.version, task.due, task.due_at)
        _, added = self._run(_ADD, (*values, task.created_at, task.key, to_text(task), request))
        # Somebody else may have used the key between the two statements.
        return task if added else self._keyed(task) or task

    def _keyed(self, task: Task) -> Task | None:
        statement = "SELECT record FROM tiffin_tasks WHERE queue = ? AND caller_key = ? AND caller_key <> ''"
        rows, _ = self._run(statement, (task.queue, task.key))
        return from_text(rows[0][0]) if rows else None

    def get(self, identifier: str) -> Task | None:
        rows, _ = self._run("SELECT record FROM tiffin_tasks WHERE id = ?", (identifier,))
        return from_text(rows[0][0]) if rows else None

    def request(self, identifier: str) -> bytes | None:
        rows, _ = self._run("SELECT request FROM tiffin_tasks WHERE id = ?", (identifier,))
        return bytes(rows[0][0]) if rows else None

    def reply(self, identifier: str) -> bytes | None:
        rows, _ = self._run("SELECT reply FROM tiffin_tasks WHERE id = ?", (identifier,))
        return bytes(rows[0][0]) if rows and rows[0][0] is not None else None

    def swap(self, task: Task, reply: bytes | None = None) -> bool:
        values = (task.state, task.version, task.due, task.due_at, task.expires_at, to_text(task))
        which = (task.id, task.version - 1)
        if reply is None:
            _, changed = self._run(_SWAP.format(reply=""), (*values, *which))
        else:
            _, changed = self._run(_SWAP.format(reply=", reply = ?"), (*values, reply, *which))
        return changed == 1

    def due(self, queue: str, work: Work, methods: Collection[str], now: float, count: int) -> list[Task]:
        if not methods:
            return []
        statement = f"""SELECT record FROM tiffin_tasks WHERE queue = ? AND due = ? AND due_at <= ?
            AND method IN ({_marks(methods)}) ORDER BY due_at, id LIMIT ?"""
        rows, _ = self._run(statement, (queue, work, now, *methods, count))
        return [from_text(row[0]) for row in rows]

    def newest(self, queue: str, states: Collection[State], count: int) -> list[Task]:
        where, values = ("queue = ?", [queue])
        if queue.endswith("*"):
            where, values = ("substr(queue, 1, ?) = ?", [len(queue) - 1, queue[:-1]])  # type: ignore[list-item]
        if states:
            where += f" AND state IN ({_marks(states)})"
        statement = f"SELECT record FROM tiffin_tasks WHERE {where} ORDER BY created_at DESC, id DESC LIMIT ?"
        rows, _ = self._run(statement, (*values, *states, count))
        return [from_text(row[0]) for row in rows]

    def counts(self, queue: str) -> Counts:
        statement = "SELECT state, count(*), min(created_at) FROM tiffin_tasks WHERE queue = ? GROUP BY state"
        rows, _ = self._run(statement, (queue,))
        oldest = next((float(row[2]) for row in rows if row[0] == "queued"), None)
        return Counts({row[0]: int(row[1]) for row in rows}, oldest)

    def purge(self, now: float) -> int:
        _, changed = self._run("DELETE FROM tiffin_tasks WHERE expires_at <= ?", (now,))
        return changed


def _marks(values: Collection[Any]) -> str:
    return ", ".join("?" * len(values))
