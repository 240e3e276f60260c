"""What a replica writes down of its calls, beside its work: a sample for comparing and replaying.

A call costs the loop one append to a list, when it is in the sample; a thread writes what has gathered to a spool
segment ten times a second. What does not fit (a slow or full disk, nobody who collects) is dropped and counted.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import threading
import time
import zlib
from collections import deque
from pathlib import Path

import msgspec

from tiffin.kits import spool
from tiffin.runtime.metrics import Metrics
from tiffin.runtime.tap import Taken
from tiffin.spec.recording import (
    BROKEN,
    KEPT_HEADERS,
    REPLAYED,
    SAMPLING,
    STREAMED,
    TRUNCATED_ANSWER,
    TRUNCATED_REQUEST,
    Record,
    Sampling,
    Spool,
)

log = logging.getLogger(__name__)

SEGMENT_BYTES = 8_388_608
SEGMENT_SECONDS = 5.0
"""A segment is closed after this, so that it can be collected and removed."""
PENDING_BYTES = 16_777_216
PENDING_CALLS = 10_000
WRITE_SECONDS = 0.1
_HASHES = 1 << 32
_REPLAYED = REPLAYED.encode()
_KEPT = tuple(name.encode() for name in sorted(KEPT_HEADERS))


class Recorder:
    """Writes a sample of one worker's calls, while the spool's directory says that it should.

    ``look`` is called twice a second and reads the sampling only when its file has changed.
    """

    def __init__(self, order: Spool, metrics: Metrics, worker: int = 0) -> None:
        self._directory = Path(order.directory)
        self._metrics = metrics
        self._name = f"{os.getpid()}-{worker}"
        self._numbers = itertools.count()
        self._changed: tuple[int, int] | None = None
        self._sampling = Sampling(percent=0.0)
        self._below = 0
        self._pending: deque[tuple[Taken, bytes, int]] = deque()
        self._pending_bytes = 0
        self._freed = 0
        self._writer: spool.Writer | None = None
        self._opened = 0.0
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._is_failing = False
        # Counted in the thread, told to the metrics (which take no lock) by the loop.
        self._written = self._lost = self._told_written = self._told_lost = 0

    @property
    def limit(self) -> int:
        """Bytes of an answer that are of use."""
        return self._sampling.max_body_bytes

    def look(self) -> bool:
        """Whether calls are wanted now."""
        try:
            status = os.stat(self._directory / SAMPLING)
            changed = (status.st_mtime_ns, status.st_ino)
        except OSError:
            changed = None
        if changed != self._changed:
            self._changed = changed
            self._read_sampling(changed is not None)
        self._count()
        return self._below > 0

    def _count(self) -> None:
        written, lost = self._written, self._lost
        self._metrics.recorded(written - self._told_written)
        self._metrics.unrecorded(lost - self._told_lost)
        self._told_written, self._told_lost = written, lost

    def _read_sampling(self, exists: bool) -> None:
        sampling = Sampling(percent=0.0)
        if exists:
            try:
                sampling = msgspec.json.decode((self._directory / SAMPLING).read_bytes(), type=Sampling)
            except (OSError, msgspec.MsgspecError) as error:
                log.warning("the sampling of %s cannot be read: %s", self._directory, error)
        self._sampling = sampling
        self._below = int(min(100.0, max(0.0, sampling.percent)) / 100.0 * _HASHES)
        if self._below and self._thread is None:
            self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
            self._thread.start()

    # -- on the event loop ---------------------------------------------------------------------------------

    def take(self, taken: Taken) -> None:
        """A call was answered."""
        headers = taken.head.headers
        call = headers.get(b"x-request-id") or b"%b-%d" % (self._name.encode(), next(self._numbers))
        if zlib.crc32(call) >= self._below or _REPLAYED in headers:
            return
        size = min(len(taken.body), self.limit) + min(len(taken.answer), self.limit) + 1024
        # Two counters, each written by one thread only: no lock on this path.
        if len(self._pending) >= PENDING_CALLS or self._pending_bytes - self._freed + size > PENDING_BYTES:
            self._metrics.unrecorded()
            return
        self._pending_bytes += size
        self._pending.append((taken, call, size))

    def close(self) -> None:
        """Write what is in hand; waits for at most a moment."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(2.0)
        self._count()

    # -- in the thread -------------------------------------------------------------------------------------

    def _work(self) -> None:
        while not self._stop.wait(WRITE_SECONDS):
            self._write()
        self._write()
        if self._writer is not None:
            self._writer.close()

    def _write(self) -> None:
        batch: list[bytes] = []
        taken_bytes = 0
        while self._pending and taken_bytes < SEGMENT_BYTES:
            taken, call, size = self._pending.popleft()
            batch.append(msgspec.msgpack.encode(_record(taken, call, self._sampling.max_body_bytes)))
            taken_bytes += size
        try:
            if self._writer is not None and (
                self._writer.size > SEGMENT_BYTES or time.monotonic() - self._opened > SEGMENT_SECONDS
            ):
                self._writer.close()
                self._writer = None
            if batch:
                self._append(batch)
        except OSError as error:
            if not self._is_failing:
                log.warning("calls cannot be recorded in %s: %s", self._directory, error)
            self._is_failing = True
            self._lost += len(batch)
        self._freed += taken_bytes

    def _append(self, batch: list[bytes]) -> None:
        if self._writer is None:
            if self._spooled() > self._sampling.max_spool_bytes:
                self._lost += len(batch)  # Nobody collects.
                return
            path = self._directory / f"{time.time_ns()}-{self._name}{spool.SUFFIX}"
            self._writer = spool.Writer(path)
            self._opened = time.monotonic()
        self._writer.append(batch)
        self._written += len(batch)
        self._is_failing = False

    def _spooled(self) -> int:
        total = 0
        for path in self._directory.glob(f"*-{self._name}{spool.SUFFIX}"):
            with contextlib.suppress(OSError):
                total += path.stat().st_size
        return total


def _record(taken: Taken, call: bytes, limit: int) -> Record:
    flags = STREAMED if taken.is_streamed else 0
    if taken.is_broken:
        flags |= BROKEN
    body, answer = taken.body, taken.answer
    if len(body) > limit:
        body, flags = body[:limit], flags | TRUNCATED_REQUEST
    if len(answer) > limit or taken.is_cut:
        answer, flags = answer[:limit], flags | TRUNCATED_ANSWER
    headers = taken.head.headers
    kept = {name.decode(): headers[name].decode("latin-1") for name in _KEPT if name in headers}
    answer_headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in taken.answer_headers}
    return Record(
        id=call.decode("latin-1"),
        time=taken.time,
        seconds=taken.seconds,
        method=taken.head.method,
        path=taken.head.path,
        query=taken.head.query.decode("latin-1"),
        headers=kept,
        body=body,
        status=taken.status,
        answer_headers={name: value for name, value in answer_headers.items() if name in KEPT_HEADERS},
        answer=answer,
        flags=flags,
    )
