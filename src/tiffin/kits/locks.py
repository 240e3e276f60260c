"""Locks on files and directories, which end with the process that holds them."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def holding(path: Path, *, shared: bool = False, wait: bool = True) -> Iterator[bool]:
    """Hold the lock of a file, which is made when needed; gives whether it is held.

    Who holds it for itself may remove the file: those who wait then take the lock of the next one of that name.

    Args:
        path: the file; its directory exists.
        shared: with others who share it, instead of alone.
        wait: until it is free; otherwise False is given when it is not.

    Raises:
        OSError: it cannot be opened or made.
    """
    handle = _taken(path, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    try:
        yield handle is not None
    finally:
        if handle is not None:
            os.close(handle)


def _taken(path: Path, kind: int) -> int | None:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, kind)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle), os.stat(path)):
                    return handle
        except BlockingIOError:
            os.close(handle)
            return None
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def is_held(path: Path) -> bool:
    """Whether a process holds the lock of a file or directory for itself; looking hinders nobody who looks.

    Raises:
        OSError: it cannot be opened.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False
