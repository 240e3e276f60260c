"""Steady load in a thread of its own: keep-alive connections that ask one thing, and check every answer.

Whatever is not the expected answer counts as failed, by its kind: another status, another body, a connection that
broke or could not be opened. Nothing is asked twice.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import httptools

LATE_SECONDS = 60.0


@dataclass
class Outcome:
    """What came of the load so far. Durations are in seconds."""

    answered: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    durations: list[float] = field(default_factory=list)
    failures: list[tuple[float, str]] = field(default_factory=list)
    """When (monotonic) and what, the first thousand."""
    longest_gap: float = 0.0
    """Between two good answers, over all connections."""

    @property
    def count(self) -> int:
        return self.answered + self.failed.total()

    def quantile(self, part: float) -> float:
        """A quantile of the durations, in milliseconds."""
        ordered = sorted(self.durations)
        return ordered[min(int(part * len(ordered)), len(ordered) - 1)] * 1000 if ordered else 0.0


class Load:
    """``connections`` callers on ``host:port``; use it as a context manager.

    Args:
        request: The bytes of a whole request with ``Connection: keep-alive``.
        is_right: Whether a body is the answer.
        pause: Seconds a caller waits between an answer and its next request.
    """

    def __init__(
        self,
        host: str,
        port: int,
        request: bytes,
        is_right: Callable[[bytes], bool],
        *,
        connections: int = 16,
        pause: float = 0.0,
    ) -> None:
        self._address = host, port
        self._request = request
        self._is_right = is_right
        self._connections = connections
        self._pause = pause
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._last_good = 0.0
        self.outcome = Outcome()

    def __enter__(self) -> Load:
        self._last_good = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    async def _run(self) -> None:
        await asyncio.gather(*(self._caller() for _ in range(self._connections)))

    async def _caller(self) -> None:
        while not self._stopping.is_set():
            try:
                reader, writer = await asyncio.open_connection(*self._address)
            except OSError as error:
                self._note_failure(f"connect: {type(error).__name__}")
                await asyncio.sleep(0.05)
                continue
            try:
                await self._ask_on(reader, writer)
            finally:
                writer.close()

    async def _ask_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Ask on one connection until it closes or the load ends."""
        while not self._stopping.is_set():
            answer = _Answer()
            parser = httptools.HttpResponseParser(answer)
            began = time.monotonic()
            try:
                writer.write(self._request)
                while not answer.is_complete:
                    data = await asyncio.wait_for(reader.read(65536), LATE_SECONDS)
                    if not data:
                        self._note_failure("closed before the answer")
                        return
                    parser.feed_data(data)
            except TimeoutError:
                self._note_failure(f"no answer in {LATE_SECONDS:.0f} s")
                return
            except OSError as error:
                self._note_failure(type(error).__name__)
                return
            ended = time.monotonic()
            if parser.get_status_code() != 200:
                self._note_failure(f"status {parser.get_status_code()}")
            elif not self._is_right(bytes(answer.body)):
                self._note_failure("wrong answer")
            else:
                outcome = self.outcome
                outcome.answered += 1
                outcome.durations.append(ended - began)
                outcome.longest_gap = max(outcome.longest_gap, ended - self._last_good)
                self._last_good = ended
            if not parser.should_keep_alive():
                return
            if self._pause:
                await asyncio.sleep(self._pause)

    def _note_failure(self, kind: str) -> None:
        self.outcome.failed[kind] += 1
        if len(self.outcome.failures) < 1000:
            self.outcome.failures.append((time.monotonic(), kind))


class _Answer:
    def __init__(self) -> None:
        self.body = bytearray()
        self.is_complete = False

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.is_complete = True
