"""The task that the code which runs is part of: its id, how far it is, whether it is cancelled."""

from __future__ import annotations

import contextvars
import math
from collections.abc import Callable

from tiffin.errors import ServiceError
from tiffin.service.lifetime import Lifetime

_NOTE_CHARACTERS = 500


class CurrentTask:
    """One run of a task, as its method sees it.

    Attributes:
        id: 32 hexadecimal digits.
        attempt: 1 for its first run.
    """

    def __init__(
        self,
        identifier: str,
        attempt: int = 1,
        lifetime: Lifetime | None = None,
        report: Callable[[float, str], None] = lambda part, note: None,
    ) -> None:
        self.id = identifier
        self.attempt = attempt
        self.lifetime = lifetime or Lifetime()
        self._report = report

    def __repr__(self) -> str:
        return f"<task {self.id}, attempt {self.attempt}>"

    def progress(self, part: float, note: str = "") -> None:
        """Say how far the task is; callers see it in its status, about a second later.

        Args:
            part: From 0 to 1; more is taken as 1, less as 0.
            note: What it is doing, up to 500 characters.

        Raises:
            ServiceError: ``part`` is no number.
        """
        given: object = part  # what authors pass, not what they should
        if isinstance(given, bool) or not isinstance(given, (int, float)) or math.isnan(given):
            raise ServiceError(f"expected how far the task is as a number from 0 to 1, found {part!r}")
        self._report(min(1.0, max(0.0, float(part))), str(note)[:_NOTE_CHARACTERS])

    @property
    def cancelled(self) -> bool:
        """Whether it should stop: it was cancelled, its time is over, or its replica stops."""
        return self.lifetime.is_cancelled

    def is_cancelled(self) -> bool:
        """The same, as a call."""
        return self.lifetime.is_cancelled

    def wait_cancelled(self, seconds: float) -> bool:
        """Wait up to ``seconds``, in a thread; true as soon as it should stop."""
        return self.lifetime.wait(seconds)

    @property
    def deadline(self) -> float | None:
        """Seconds that are left of the task's ``timeout``; ``None`` without one."""
        return self.lifetime.left()


running: contextvars.ContextVar[CurrentTask | None] = contextvars.ContextVar("tiffin-task", default=None)


def current_task() -> CurrentTask:
    """The task whose method runs.

    Example::

        for n, page in enumerate(pages):
            if tiffin.current_task().cancelled:
                return
            tiffin.current_task().progress(n / len(pages), f"page {n}")

    Outside of a task - a method that is called directly, in a test - it is one without an id that nobody cancels.
    """
    return running.get() or CurrentTask("")
