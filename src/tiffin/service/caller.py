"""The call that is being answered, as far as the calls it makes to other services have to know of it.

Its deadline is theirs, what traces it is passed on, and when whoever asked has gone nobody waits for them.
"""

from __future__ import annotations

import contextlib
import contextvars
import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

TIMEOUT_HEADER = b"x-request-timeout"
"""Seconds that a caller still waits."""

TRACED = (b"traceparent", b"tracestate", b"baggage", b"x-request-id")
"""What is passed on to whatever a call leads to."""


class Scratchpad(Protocol):
    """Where the files of a call go."""

    @property
    def directory(self) -> str:
        """A directory that is removed after the answer."""


class Caller:
    """Who is waiting for a method.

    Args:
        headers: The request's, by lower-case name.
        deadline: When it will have waited long enough, as ``time.monotonic()`` counts; ``None``: never.
        scratch: Where files may be put until the answer.
    """

    __slots__ = ("_closers", "authorization", "deadline", "is_gone", "scratch", "traced")

    def __init__(
        self, headers: Mapping[bytes, bytes], deadline: float | None = None, scratch: Scratchpad | None = None
    ) -> None:
        self.traced = b"".join(b"%b: %b\r\n" % (name, headers[name]) for name in TRACED if name in headers)
        self.authorization = headers.get(b"authorization", b"")
        self.deadline = deadline
        self.scratch = scratch
        self.is_gone = False
        self._closers: set[Callable[[], None]] = set()

    def leave(self) -> None:
        """It waits no more: end what is under way for it. May be called from any thread."""
        self.is_gone = True
        for closer in list(self._closers):
            closer()

    @contextlib.contextmanager
    def until_gone(self, closer: Callable[[], None]) -> Iterator[None]:
        """Call ``closer`` should it leave meanwhile; it may be called late, and from any thread."""
        self._closers.add(closer)
        try:
            if self.is_gone:
                closer()
            yield
        finally:
            self._closers.discard(closer)


current: contextvars.ContextVar[Caller | None] = contextvars.ContextVar("tiffin-caller", default=None)
"""Whose call the code that runs is part of; ``None`` outside of calls, and where nothing is called on."""


def seconds_left(deadline: float) -> float:
    """Until a deadline, in steps (0.1 s below ten seconds, else 1 s) so that heads that are sent stay alike."""
    left = deadline - time.monotonic()
    return math.ceil(left * 10) / 10 if left < 10 else float(math.ceil(left))


def timeout_of(headers: Mapping[bytes, bytes]) -> float | None:
    """The seconds a caller says it waits; ``None`` when it says nothing that can be read."""
    try:
        seconds = float(headers[TIMEOUT_HEADER])
    except (KeyError, ValueError):
        return None
    return seconds if 0 < seconds < math.inf else None
