"""From an error to the problem that people are shown: a reason in one word, a message, a hint."""

from __future__ import annotations

import errno
from collections.abc import Sequence

from tiffin.errors import (
    BundleError,
    MissingExtra,
    ModelError,
    PortInUse,
    ProcessError,
    RegistryError,
    ServiceError,
    SignatureError,
    SpecError,
    StorageError,
    TiffinError,
)
from tiffin.local.limits import OOM_KILLED
from tiffin.plan.state import Problem

FAILURES = (TiffinError, OSError)
"""What must not end the watch over a process: also a disk that is full now, and may have room again later."""

_REASONS: tuple[tuple[type[TiffinError], str], ...] = (
    (SpecError, "InvalidSpec"),
    (StorageError, "FetchFailed"),
    (RegistryError, "FetchFailed"),
    (SignatureError, "SignatureRejected"),
    (ModelError, "ModelLoadFailed"),
    (ServiceError, "ImportFailed"),
    (BundleError, "ImageNotFound"),
    (PortInUse, "PortInUse"),
    (MissingExtra, "PackageMissing"),
)


def problem_of(error: Exception, *, log: Sequence[str] = ()) -> Problem:
    """The problem an error is. ``log`` are the last lines of what failed."""
    hint = getattr(error, "hint", None) or ""
    if isinstance(error, OSError):
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return Problem(reason="DiskFull", message=str(error), hint="make room on the disk", log=tuple(log))
        return Problem(reason="SystemError", message=str(error), log=tuple(log))
    # The lines are kept beside the message, not in it.
    message = str(error).partition("; its last log lines:")[0] if log else str(error)
    return Problem(reason=_reason(error), message=message, hint=hint, log=tuple(log))


def _reason(error: Exception) -> str:
    if "no room on the disk" in str(error) or "No space left" in str(error):
        return "DiskFull"
    for kind, reason in _REASONS:
        if isinstance(error, kind):
            return reason
    if isinstance(error, ProcessError):
        if OOM_KILLED in str(error):
            return OOM_KILLED
        if " within " in str(error):
            return "StartTimeout"
        return "ModelLoadFailed" if type(error) is not ProcessError else "StartFailed"
    return "Failed"
