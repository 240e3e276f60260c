"""Unix sockets that nobody else can connect to, at paths of any length."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tiffin.errors import PlatformError

LONGEST_PATH = 100
"""Bytes. The kernel takes 107 on Linux and 103 on macOS."""


def bind(path: Path, *, backlog: int = 128) -> socket.socket:
    """A listening socket at ``path`` with mode 0600, in place of one that is there already.

    It is made in a directory of its own that only we can enter, and moved when its mode is set: at no moment
    could somebody else connect.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".socket-") as directory:
            made = Path(directory, "s")
            with _short(made) as short:
                listener.bind(short)
            made.chmod(0o600)
            listener.listen(backlog)
            os.replace(made, path)
    except BaseException:
        listener.close()
        raise
    return listener


def connect(path: Path, *, seconds: float) -> socket.socket:
    """A connection to the socket at ``path``; reads and writes time out after ``seconds``. Raises OSError."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(seconds)
        with _short(path) as short:
            connection.connect(short)
    except BaseException:
        connection.close()
        raise
    return connection


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """A name of ``path`` that fits into a socket's address."""
    if len(os.fsencode(path)) <= LONGEST_PATH:
        yield str(path)
        return
    if not os.path.isdir("/proc/self/fd"):
        raise PlatformError(
            f"the path of the socket {path} is too long for this system",
            hint="set TIFFIN_HOME to a directory with a shorter path",
        )
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
