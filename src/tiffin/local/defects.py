"""Errors that nobody expected: all of them in ``<home>/logs/errors.log``, to people only that there was one."""

from __future__ import annotations

import logging
from pathlib import Path

from tiffin.local.faults import FAILURES, problem_of
from tiffin.plan.state import Problem

NAME = "errors.log"
LOGGERS = ("tiffin", "asyncio", "aiohttp")

log = logging.getLogger(__name__)


class Errors(logging.Handler):
    """Writes records that have a traceback to a file, from ``open`` to ``close``; others go where they went."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s"))

    def open(self) -> None:
        """Listen."""
        for name in LOGGERS:
            logging.getLogger(name).addHandler(self)

    def close(self) -> None:
        """Listen no more."""
        for name in LOGGERS:
            logging.getLogger(name).removeHandler(self)
        super().close()

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and self._write(record):
            return
        # As if this handler were not there.
        last = logging.lastResort
        if last is not None and record.levelno >= last.level and not logging.getLogger().handlers:
            last.handle(record)

    def _write(self, record: logging.LogRecord) -> bool:
        try:
            with self.path.open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(self.format(record) + "\n")
        except OSError:
            return False
        return True


def fault(error: BaseException, what: str) -> Problem:
    """The problem that any error is; one that nobody expected is written down whole, and named by its type."""
    if isinstance(error, FAILURES):
        return problem_of(error)
    log.error("%s failed", what, exc_info=error)
    return Problem(
        reason="InternalError",
        message=f"{what} failed for a reason of Tiffin's own ({type(error).__name__}); it is tried again",
        hint=f"the traceback is in {place()}",
    )


def place() -> str:
    """Where tracebacks are."""
    own = logging.getLogger(LOGGERS[0]).handlers
    return next((str(one.path) for one in own if isinstance(one, Errors)), "the controller's log")


def is_unexpected(error: BaseException) -> bool:
    """Whether this is a defect of ours, rather than something that happens."""
    return not isinstance(error, FAILURES)
