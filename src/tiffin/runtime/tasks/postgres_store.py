"""Tasks in Postgres, for replicas on several machines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tiffin.runtime.tasks.sql import TABLE, SqlStore
from tiffin.runtime.tasks.store import missing, unreachable, without_password

if TYPE_CHECKING:
    import psycopg

_CONNECT_SECONDS = 5
_LOCK = 0x7469_6666
"""Of the table's making: two replicas that start together would both make it, and one would fail."""


class PostgresStore(SqlStore):
    """One connection, made anew when it broke."""

    def __init__(self, url: str) -> None:
        try:
            import psycopg
        except ImportError as error:
            raise missing("postgres", "psycopg") from error
        self._psycopg = psycopg
        self._url = url
        self._where = without_password(url)
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None
        with self._open().transaction():
            self._run("SELECT pg_advisory_xact_lock(?)", (_LOCK,))
            for statement in TABLE:
                self._run(statement.format(blob="BYTEA"))

    def _open(self) -> psycopg.Connection[tuple[Any, ...]]:
        if self._connection is None or self._connection.closed:
            try:
                self._connection = self._psycopg.connect(
                    self._url, autocommit=True, connect_timeout=_CONNECT_SECONDS, application_name="tiffin"
                )
            except self._psycopg.Error as error:
                raise unreachable(self._where, error) from error
        return self._connection

    def _run(self, statement: str, values: Sequence[Any] = ()) -> tuple[list[tuple[Any, ...]], int]:
        connection = self._open()
        try:
            cursor = connection.execute(statement.replace("?", "%s").encode(), tuple(values))
            return (cursor.fetchall() if cursor.description else []), cursor.rowcount
        except self._psycopg.Error as error:
            if isinstance(error, self._psycopg.OperationalError):
                connection.close()  # The next call makes a new one.
            raise unreachable(self._where, error) from error

    def clock(self) -> float:
        rows, _ = self._run("SELECT extract(epoch FROM clock_timestamp())")
        return float(rows[0][0])

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
