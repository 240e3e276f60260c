"""The parent of a program that is no replica of ours: ``python -I -S wrapper.py ORDER -- program arguments``.

Standard library only, so that it is small. It passes signals on, ends with the program and as the program did,
keeps the log small, and takes the program along when it is killed. Its command line names the order's file, by
which a later controller finds it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys

_PR_SET_PDEATHSIG = 1
_MOST_BYTES = 32 << 20
_KEPT_BYTES = 1 << 20
_SECONDS = 0.5
COULD_NOT_START = 127


def main(arguments: list[str]) -> int:
    """Run the program; its exit code, or 128 and the signal that ended it."""
    command = arguments[arguments.index("--") + 1 :]
    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=_die_with_parent)
    except OSError as error:
        sys.stderr.write(f"error: {command[0]} cannot be started: {error.strerror or error}\n")
        return COULD_NOT_START
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: _pass_on(child, number))
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = child.wait(_SECONDS)
            return code if code >= 0 else 128 - code
        _trim(1)


def _pass_on(child: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        child.send_signal(number)


def _die_with_parent() -> None:
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _trim(descriptor: int) -> None:
    """As ``kits.logfiles.trim``, which this small process does not import."""
    try:
        size = os.fstat(descriptor).st_size
        if size <= _MOST_BYTES:
            return
        reader = os.open(f"/proc/self/fd/{descriptor}", os.O_RDWR | os.O_APPEND)
    except OSError:
        return
    try:
        tail = os.pread(reader, _KEPT_BYTES, size - _KEPT_BYTES)
        os.ftruncate(reader, 0)
        os.write(reader, b"... what was printed before this was dropped ...\n" + tail.partition(b"\n")[2])
    finally:
        os.close(reader)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
