"""Log files that stay small, whatever is printed into them."""

from __future__ import annotations

import contextlib
import os
import stat
import threading

MOST_BYTES = 32 << 20
KEPT_BYTES = 1 << 20
_SECONDS = 0.5

_CUT = b"... what was printed before this was dropped: the log had reached %d MiB ...\n"


def trim(descriptor: int, *, most_bytes: int = MOST_BYTES, kept_bytes: int = KEPT_BYTES) -> bool:
    """Keep the last ``kept_bytes`` of a file that has outgrown ``most_bytes``; whether it had.

    The file has to be written by appending: who holds it open goes on writing at its new end. What is printed at
    that moment may get lost.
    """
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size <= most_bytes:
            return False
        reader = os.open(f"/proc/self/fd/{descriptor}", os.O_RDWR | os.O_APPEND)
    except OSError:
        return False
    try:
        tail = os.pread(reader, kept_bytes, max(0, found.st_size - kept_bytes))
        os.ftruncate(reader, 0)
        os.write(reader, _CUT % (found.st_size >> 20) + tail.partition(b"\n")[2])
    finally:
        os.close(reader)
    return True


def keep_small(descriptor: int = 1, *, most_bytes: int = MOST_BYTES) -> threading.Event:
    """Look after this process's own output in a thread, when it goes to a file; set the result to end that.

    It is the process's own business, so that it goes on when what started it has gone.
    """
    done = threading.Event()
    with contextlib.suppress(OSError):
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            threading.Thread(target=_look, args=(descriptor, most_bytes, done), name="log", daemon=True).start()
    return done


def _look(descriptor: int, most_bytes: int, done: threading.Event) -> None:
    while not done.wait(_SECONDS):
        trim(descriptor, most_bytes=most_bytes)
