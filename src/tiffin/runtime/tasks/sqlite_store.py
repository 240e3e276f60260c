"""Tasks in an SQLite file of this machine: what is used when nothing is configured."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tiffin.kits.paths import make_directory
from tiffin.runtime.tasks.record import Task
from tiffin.runtime.tasks.sql import TABLE, SqlStore
from tiffin.runtime.tasks.store import unreachable, unusable

MEMORY = ":memory:"
"""No file: of one worker alone, and gone with it, as in tests."""

_BUSY_SECONDS = 10.0
_MODE = 0o600


class SqliteStore(SqlStore):
    """Several processes share the file through its write-ahead log.

    What callers are told - that a task was taken, or has ended - is on the disk before. A claim or a lease that a
    power failure takes back does no harm: the task is then run again, as it would be anyway.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path).expanduser().absolute()
        is_file = path != MEMORY
        self._level = ""
        if is_file:
            make_directory(self._path.parent)
        try:
            # Requests are in it: for its owner only, from its first byte.
            if is_file:
                os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, _MODE))
            self._connection = sqlite3.connect(
                self._path if is_file else MEMORY,
                timeout=_BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,
            )
            self._connection.execute("PRAGMA journal_mode = WAL")
            for statement in TABLE:
                self._connection.execute(statement.format(blob="BLOB"))
        except (OSError, sqlite3.Error) as error:
            raise unusable(str(self._path), error) from error

    def add(self, task: Task, request: bytes, *, limit: int) -> Task:
        self._sync("FULL")
        return super().add(task, request, limit=limit)

    def swap(self, task: Task, reply: bytes | None = None) -> bool:
        self._sync("FULL" if task.is_ended else "NORMAL")
        return super().swap(task, reply)

    def _sync(self, level: str) -> None:
        if level != self._level:
            self._connection.execute(f"PRAGMA synchronous = {level}")
            self._level = level

    def _run(self, statement: str, values: Sequence[Any] = ()) -> tuple[list[tuple[Any, ...]], int]:
        try:
            cursor = self._connection.execute(statement, tuple(values))
            return cursor.fetchall(), cursor.rowcount
        except sqlite3.Error as error:
            raise unreachable(str(self._path), error) from error

    def clock(self) -> float:
        return time.time()

    def close(self) -> None:
        self._connection.close()
