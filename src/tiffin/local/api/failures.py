"""From what was raised to a status and the body of an answer."""

from __future__ import annotations

import errno
import logging
import secrets
import sqlite3

import msgspec

from tiffin.errors import AuthorError, CallError, DecodeError, DiskFull, PlatformError, SpecError, TiffinError
from tiffin.local.defects import place
from tiffin.plan.objects import Failure

log = logging.getLogger(__name__)

UNPROCESSABLE = 422
FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EROFS))


def answer(error: BaseException) -> tuple[int, Failure]:
    """The status and body. What is a defect of ours is told by an id, under which the log has all of it."""
    error = _named(error)
    if not isinstance(error, TiffinError):
        number = secrets.token_hex(4)
        log.error("a request to the API failed; id=%s", number, exc_info=error)
        message = f"the controller failed at this for a reason of its own (id {number})"
        return 500, Failure(error=message, code="error", hint=f"{place()} has the details under that id")
    return _status(error), Failure(
        error=error.message,
        code=error.code,
        hint=error.hint or "",
        at=error.at or "",
        place=(error.place or "") if isinstance(error, SpecError) else "",
    )


def _named(error: BaseException) -> BaseException:
    """The error by our own name for it, where there is one."""
    seen: BaseException | None = error
    while seen is not None:
        if _is_full(seen):
            path = getattr(seen, "filename", None)
            return DiskFull(
                f"there is no room to write{f' {path}' if path else ''}",
                hint="make room on the disk, or set TIFFIN_HOME to a directory on another one",
            )
        seen = seen.__cause__
    if isinstance(error, msgspec.DecodeError | UnicodeDecodeError):
        return DecodeError(f"the body is not what is expected here: {error}", hint="/openapi.json describes it")
    if isinstance(error, RecursionError):
        return DecodeError("the body is nested too deeply")
    return error


def _is_full(error: BaseException) -> bool:
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorname", "") == "SQLITE_FULL"
    return isinstance(error, OSError) and error.errno in FULL


def _status(error: TiffinError) -> int:
    if isinstance(error, CallError | PlatformError):
        return error.status
    return UNPROCESSABLE if isinstance(error, AuthorError) else error.status
