"""What replicas recorded, collected: read from their spools, and kept in Parquet files of bounded size.

<root>/spool/<revision>/sampling.json    what its replicas record now; without it, nothing
<root>/spool/<revision>/variant          the variant the revision is of
<root>/spool/<revision>/*.spool          segments that replicas write; removed once they are collected
<root>/calls/calls-<time>.parquet        what is kept; whole at every moment, the oldest are removed first
<root>/collected.json                    how far each segment was read when its calls were last kept
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from tiffin.errors import MissingExtra
from tiffin.kits import files, spool
from tiffin.spec.recording import SAMPLING, Record, Recording, Sampling, Spool

log = logging.getLogger(__name__)

FILE_BYTES = 8_388_608
KEEP_SECONDS = 10.0
"""Calls are kept after this at the latest; those of the last seconds are lost with the disk only."""


class Kept(msgspec.Struct, frozen=True):
    """A call, and the revision that answered it."""

    revision: str
    record: Record


class Spools:
    """The spools of one deployment: told what to record, and read."""

    def __init__(self, root: Path) -> None:
        self._root = root / "spool"
        self._offsets: dict[str, int] = {}
        self._done: set[str] = set()

    def make(self, revision: str, variant: str) -> Spool:
        """The order for replicas of a revision."""
        directory = self._root / revision
        directory.mkdir(parents=True, exist_ok=True)
        if self.variant(revision) != variant:
            files.write_atomic(directory / "variant", variant)
        return Spool(directory=str(directory))

    def revisions(self) -> list[str]:
        """Every revision that ever had replicas here."""
        try:
            return sorted(path.name for path in self._root.iterdir() if path.is_dir())
        except OSError:
            return []

    def variant(self, revision: str) -> str:
        """The variant of a revision; empty when it is not known."""
        try:
            return (self._root / revision / "variant").read_text()
        except OSError:
            return ""

    def want(self, revision: str, sampling: Sampling | None) -> None:
        """Let its replicas record this from now on; ``None``: nothing."""
        path = self._root / revision / SAMPLING
        content = None if sampling is None else msgspec.json.encode(sampling)
        try:
            there: bytes | None = path.read_bytes()
        except OSError:
            there = None
        if content == there:
            return
        if content is None:
            path.unlink(missing_ok=True)
        else:
            files.write_atomic(path, content)

    def collect(self) -> Iterator[Kept]:
        """What was recorded since the last time. A damaged segment is given up at its damage."""
        for revision in self.revisions():
            for path in sorted((self._root / revision).glob(f"*{spool.SUFFIX}")):
                yield from self._read(revision, path)

    def _read(self, revision: str, path: Path) -> Iterator[Kept]:
        name = f"{revision}/{path.name}"
        if name in self._done:
            return
        # Asked before reading: what its writer wrote last is read after that.
        is_finished = spool.is_finished(path)
        offset = self._offsets.get(name, 0)
        while True:
            try:
                blocks, offset = spool.read(path, offset)
            except OSError as error:
                log.warning("%s cannot be read: %s", path, error)
                return
            if not blocks:
                break
            self._offsets[name] = offset
            for block in blocks:
                try:
                    record = msgspec.msgpack.decode(block, type=Record)
                except msgspec.MsgspecError:
                    log.warning("%s has a block that is no call", path)
                    continue
                yield Kept(revision, record)
        if is_finished:
            self._done.add(name)

    def let_go(self) -> None:
        """Remove the segments that were read to their end: their calls are kept elsewhere, or not wanted."""
        for name in self._done:
            with contextlib.suppress(OSError):
                (self._root / name).unlink()
            self._offsets.pop(name, None)
        self._done.clear()

    @property
    def offsets(self) -> dict[str, int]:
        """How far each segment was read."""
        return dict(self._offsets)

    def resume(self, offsets: dict[str, int]) -> None:
        """Go on where an earlier controller had come to; anything of ``offsets`` may be missing or gone."""
        for name, offset in offsets.items():
            if (self._root / name).is_file():
                self._offsets[name] = offset


class Archive:
    """Parquet files of one deployment.

    Raises MissingExtra when pyarrow is not installed.
    """

    def __init__(self, root: Path, recording: Recording) -> None:
        _pyarrow()
        self._root = root
        self._directory = root / "calls"
        self._directory.mkdir(parents=True, exist_ok=True)
        for path in self._directory.glob(".*.tmp"):
            path.unlink(missing_ok=True)  # Of a controller that was killed while it wrote.
        self.recording = recording
        self._waiting: list[Kept] = []
        self._waiting_bytes = 0
        self._kept_at = time.monotonic()
        self.dropped = 0
        self.problem = ""

    def add(self, kept: Kept) -> None:
        """Keep a call, if it is in the sample."""
        share = min(100.0, max(0.0, self.recording.percent)) / 100.0
        if zlib.crc32(kept.record.id.encode("latin-1", "replace")) >= share * (1 << 32):
            return
        self._waiting.append(kept)
        self._waiting_bytes += _size(kept.record)
        if self._waiting_bytes >= self._file_bytes:
            self._write()

    @property
    def is_due(self) -> bool:
        """Whether what waits should be written by now."""
        return bool(self._waiting) and time.monotonic() - self._kept_at >= KEEP_SECONDS

    @property
    def _file_bytes(self) -> int:
        return max(1, min(FILE_BYTES, self.recording.max_bytes // 8))

    def flush(self, offsets: dict[str, int]) -> bool:
        """Write what waits, then how far the spools were read; whether it is on disk."""
        self._kept_at = time.monotonic()
        if self._waiting and not self._write():
            return False
        try:
            files.write_atomic(self._root / "collected.json", json.dumps(offsets))
        except OSError as error:
            self._fail(error)
            return False
        return True

    @staticmethod
    def offsets(root: Path) -> dict[str, int]:
        """What ``flush`` wrote last."""
        try:
            found = json.loads((root / "collected.json").read_bytes())
        except (OSError, ValueError):
            return {}
        known = found.items() if isinstance(found, dict) else ()
        return {str(name): offset for name, offset in known if isinstance(offset, int) and offset >= 0}

    def files(self) -> list[Path]:
        """The files, the oldest first."""
        return sorted(self._directory.glob("calls-*.parquet"))

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(_file_size(path) for path in self.files())

    def read(self, *, most: int | None = None, but: str = "") -> list[Kept]:
        """The calls that are kept, the oldest first: the newest ``most``, without those of revision ``but``."""
        found: dict[tuple[str, str, float], Kept] = {}
        for path in reversed(self.files()):
            try:
                rows = _read(path)
            except Exception as error:  # Whatever pyarrow raises for a damaged file.
                log.warning("%s cannot be read: %s", path, error)
                continue
            for kept in rows:
                if kept.revision == but:
                    continue
                # A controller that was killed between two files may have kept a call twice.
                found.setdefault((kept.revision, kept.record.id, kept.record.time), kept)
            if most is not None and len(found) >= most:
                break
        ordered = sorted(found.values(), key=lambda kept: kept.record.time)
        return ordered if most is None else ordered[max(0, len(ordered) - most) :]

    def _write(self) -> bool:
        """Into the newest file while it is small, else into a new one; the file is replaced as a whole."""
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        newest, new = self.files()[-1:], len(waiting)
        path = self._directory / f"calls-{time.time_ns()}.parquet"
        try:
            if newest and _file_size(newest[0]) < self._file_bytes // 4:
                with contextlib.suppress(Exception):  # A damaged file is left as it is.
                    waiting = [*_read(newest[0]), *waiting]
                    path = newest[0]
            self._make_room(sum(_size(kept.record) for kept in waiting) if path not in newest else 0)
            _write(path, waiting)
        except OSError as error:
            self.dropped += new
            self._fail(error)
            return False
        self.problem = ""
        self._make_room(0)
        return True

    def _make_room(self, more: int) -> None:
        """Remove the oldest files until the rest, and ``more`` bytes, are within the bound."""
        paths = self.files()
        total = sum(_file_size(path) for path in paths) + more
        for path in paths:
            if total <= self.recording.max_bytes:
                break
            total -= _file_size(path)
            path.unlink(missing_ok=True)

    def _fail(self, error: OSError) -> None:
        if not self.problem:
            log.warning("calls cannot be kept in %s: %s", self._directory, error)
        self.problem = f"calls cannot be kept: {error.strerror or error}"


def forget(root: Path) -> None:
    """Remove everything that was recorded of a deployment."""
    shutil.rmtree(root, ignore_errors=True)


def _size(record: Record) -> int:
    return len(record.body) + len(record.answer) + 256


def _file_size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


# -- Parquet ---------------------------------------------------------------------------------------------------


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingExtra(
            "recording calls needs pyarrow, which is not installed", hint="pip install 'tiffin[record]'"
        ) from None
    return pyarrow, pyarrow.parquet


def _schema(arrow: Any) -> Any:
    return arrow.schema(
        [
            ("id", arrow.string()),
            ("revision", arrow.string()),
            ("time", arrow.timestamp("us", tz="UTC")),
            ("seconds", arrow.float64()),
            ("method", arrow.string()),
            ("path", arrow.string()),
            ("query", arrow.string()),
            ("headers", arrow.map_(arrow.string(), arrow.string())),
            ("body", arrow.binary()),
            ("status", arrow.int16()),
            ("answer_headers", arrow.map_(arrow.string(), arrow.string())),
            ("answer", arrow.binary()),
            ("flags", arrow.int16()),
        ]
    )


def _write(path: Path, calls: list[Kept]) -> None:
    arrow, parquet = _pyarrow()
    rows = [
        {
            "id": kept.record.id,
            "revision": kept.revision,
            "time": round(kept.record.time * 1_000_000),
            "seconds": kept.record.seconds,
            "method": kept.record.method,
            "path": kept.record.path,
            "query": kept.record.query,
            "headers": list(kept.record.headers.items()),
            "body": kept.record.body,
            "status": kept.record.status,
            "answer_headers": list(kept.record.answer_headers.items()),
            "answer": kept.record.answer,
            "flags": kept.record.flags,
        }
        for kept in calls
    ]
    temporary = path.parent / f".{path.name}.tmp"
    try:
        parquet.write_table(
            arrow.Table.from_pylist(rows, schema=_schema(arrow)), str(temporary), compression="zstd"
        )
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _read(path: Path) -> list[Kept]:
    arrow, parquet = _pyarrow()
    table = parquet.read_table(str(path))
    index = table.schema.get_field_index("time")
    table = table.set_column(index, "time", table.column("time").cast(arrow.int64()))
    return [
        Kept(
            row["revision"],
            Record(
                id=row["id"],
                time=row["time"] / 1_000_000,
                seconds=row["seconds"],
                method=row["method"],
                path=row["path"],
                query=row["query"],
                headers=dict(row["headers"]),
                body=row["body"],
                status=row["status"],
                answer_headers=dict(row["answer_headers"]),
                answer=row["answer"],
                flags=row["flags"],
            ),
        )
        for row in table.to_pylist()
    ]
