"""``monitor``: values a service notes of its calls, one JSON object a line, in files of its own.

Nothing is opened or counted for services that note nothing. The files are laid out as BentoML's, and begun anew
daily: ``<directory>/<name>/data/data.<worker>.log`` and ``<directory>/<name>/schema/schema.<worker>.log``.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import logging
import logging.handlers
import random
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tiffin.errors import ServiceError
from tiffin.service.context import server_context
from tiffin.service.settings import MonitoringSettings

ROLES = ("feature", "prediction", "target")
TYPES = ("numerical", "categorical", "numerical_sequence")

_settings = MonitoringSettings()
_monitors: dict[str, _Files] = {}
_lock = threading.Lock()


def configure(settings: MonitoringSettings) -> None:
    """Where to write from now on; files that are open are closed."""
    global _settings
    with _lock:
        for files in _monitors.values():
            files.close()
        _monitors.clear()
        _settings = settings


class Monitor:
    """The values of one call, by name."""

    def __init__(self) -> None:
        self._columns: dict[str, tuple[str, str]] = {}
        self._rows: list[dict[str, Any]] = [{}]

    def log(self, data: Any, name: str, role: str, data_type: str) -> None:
        """Note one value.

        Args:
            data: A number, a text or a list of numbers; numpy's are taken, too.
            name: Of the column.
            role: ``feature``, ``prediction`` or ``target``.
            data_type: ``numerical``, ``categorical`` or ``numerical_sequence``.

        Raises:
            ServiceError: another role or type, or a name that was noted already.
        """
        self._column(name, role, data_type)
        if len(self._rows) != 1:
            raise ServiceError("expected log or log_batch in one monitor, found both", at=name)
        self._rows[0][name] = data

    def log_batch(self, data_batch: Iterable[Any], name: str, role: str, data_type: str) -> None:
        """Note one column of several rows; every column has as many."""
        self._column(name, role, data_type)
        values = list(data_batch)
        if len(self._columns) == 1:
            self._rows = [{} for _ in values]
        if len(values) != len(self._rows):
            raise ServiceError(f"expected {len(self._rows)} values, found {len(values)}", at=name)
        for row, value in zip(self._rows, values, strict=True):
            row[name] = value

    def _column(self, name: str, role: str, data_type: str) -> None:
        if role not in ROLES:
            raise ServiceError(f"expected a role out of {', '.join(ROLES)}, found {role!r}", at=name)
        if data_type not in TYPES:
            raise ServiceError(f"expected a data_type out of {', '.join(TYPES)}, found {data_type!r}", at=name)
        if name in self._columns:
            raise ServiceError("expected each name once", at=name)
        self._columns[name] = (role, data_type)


@contextlib.contextmanager
def monitor(name: str) -> Iterator[Monitor]:
    """Note values of a call; they are written when the block ends, unless it raises.

    Example::

        with tiffin.monitor("iris") as noted:
            noted.log(sepal_length, name="sepal length", role="feature", data_type="numerical")
            noted.log(kind, name="kind", role="prediction", data_type="categorical")

    Args:
        name: Of the directory below the service's ``monitoring.options.log_path``.

    Raises:
        ServiceError: ``name`` is no name of a directory.
    """
    if not name or Path(name).name != name or name.startswith("."):
        raise ServiceError(f"expected a plain name for a monitor, found {name!r}")
    noted = Monitor()
    yield noted
    if _settings.enabled and noted._columns:
        _files(name).write(noted._columns, noted._rows)


def _files(name: str) -> _Files:
    with _lock:
        found = _monitors.get(name)
        if found is None:
            worker = server_context.worker_index or 1
            found = _monitors[name] = _Files(Path(_settings.directory) / name, worker)
        return found


class _Files:
    """The two files of a monitor in one worker."""

    def __init__(self, directory: Path, worker: int) -> None:
        self._data = _daily(directory / "data" / f"data.{worker}.log")
        self._schema = _daily(directory / "schema" / f"schema.{worker}.log")
        self._columns: dict[str, tuple[str, str]] = {}
        self._lock = threading.Lock()

    def write(self, columns: dict[str, tuple[str, str]], rows: list[dict[str, Any]]) -> None:
        with self._lock:
            if columns != self._columns:
                self._columns = dict(columns)
                about = {"bento_name": server_context.bento_name, "bento_version": server_context.bento_version}
                named = [{"name": name, "role": role, "type": kind} for name, (role, kind) in columns.items()]
                _write(self._schema, {"meta_data": about, "columns": named})
            now = datetime.datetime.now(datetime.UTC).isoformat()
            # One for what one call noted: its rows belong together, and there is no other id to find them by.
            request = f"{random.getrandbits(64):016x}"
            for row in rows:
                _write(self._data, {**row, "timestamp": now, "request_id": request, "trace_id": ""})

    def close(self) -> None:
        self._data.close()
        self._schema.close()


def _daily(file: Path) -> logging.Handler:
    file.parent.mkdir(parents=True, exist_ok=True)
    return logging.handlers.TimedRotatingFileHandler(file, when="D", encoding="utf-8", delay=True, utc=True)


def _write(handler: logging.Handler, line: dict[str, Any]) -> None:
    text = json.dumps(line, default=_plain)
    handler.handle(logging.LogRecord("tiffin.monitor", logging.INFO, "", 0, text, None, None))


def _plain(value: Any) -> Any:
    """Numpy's numbers and arrays are lists and numbers; what else JSON cannot hold is its text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)
