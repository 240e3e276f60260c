"""What the CLI prints: data to stdout; words, errors and progress to stderr."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any

from tiffin.errors import TiffinError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EROFS))
"""Not a defect, wherever in Tiffin it shows: there is no room on the disk."""


def say(text: str) -> None:
    """A line for people."""
    print(text, file=sys.stderr, flush=True)


def data(value: Any) -> None:
    """A value as indented JSON on stdout; msgspec structs are welcome."""
    import msgspec

    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    print(text, flush=True)


def warn(text: str) -> None:
    """A warning on stderr."""
    print(f"{_coloured('warning:', '33')} {text}", file=sys.stderr, flush=True)


def report(error: BaseException) -> None:
    """An error and its hint; anything but a TiffinError is unexpected, and its traceback goes to a file."""
    if is_debugging():
        traceback.print_exception(error)
    if isinstance(error, TiffinError):
        message, hint = str(error), error.hint
    elif isinstance(error, OSError) and error.errno in FULL:
        message = f"cannot write{f' {error.filename}' if error.filename else ''}: {error.strerror}"
        hint = "make room on the disk, or set TIFFIN_HOME to a directory on another one"
    else:
        message = f"unexpected {type(error).__name__}: {error}"
        hint = f"this is a defect in Tiffin; the traceback is in {_record(error)}, and --debug shows it"
    print(f"{_coloured('error:', '31')} {message}", file=sys.stderr)
    if hint:
        print(f"\n{_coloured('hint:', '36')} {hint}", file=sys.stderr, flush=True)


def is_debugging() -> bool:
    """Whether ``--debug`` or ``TIFFIN_DEBUG`` is set."""
    return os.environ.get("TIFFIN_DEBUG", "") not in ("", "0")


def is_interactive() -> bool:
    """Whether progress may be drawn: stderr is a terminal that can move its cursor."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


@contextmanager
def busy(text: str) -> Iterator[None]:
    """Show that something is going on, on a terminal only."""
    if not is_interactive():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(text):
        yield


@contextmanager
def copying(text: str, total: int) -> Iterator[Callable[[int], None]]:
    """What is to be told of bytes that were copied; draws a bar on a terminal when there are many."""
    if not is_interactive() or total < 50_000_000:
        with busy(text):
            yield lambda done: None
        return
    from rich import progress
    from rich.console import Console

    columns = (progress.TextColumn(text), progress.BarColumn(), progress.DownloadColumn())
    with progress.Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(text, total=total)
        yield lambda done: bars.advance(task, done)


class Downloads:
    """Downloads on stderr: bars on a terminal, elsewhere a line when one begins and ends."""

    def __init__(self) -> None:
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._begun: set[str] = set()
        self._lock = Lock()

    def show(self, uri: str, done: int, total: int | None) -> None:
        """Bytes that came and how many there will be; may be called from any thread."""
        with self._lock:
            if is_interactive():
                self._draw(uri, done, total)
            elif uri not in self._begun:
                self._begun.add(uri)
                say(f"downloading {uri}")
            if done == total:
                self._begun.discard(uri)
                say(f"downloaded {uri} ({_size(done)})")

    def close(self) -> None:
        """Stop drawing."""
        with self._lock:
            if self._bars is not None:
                self._bars.stop()
                self._bars = None

    def _draw(self, uri: str, done: int, total: int | None) -> None:
        from rich import progress
        from rich.console import Console

        if self._bars is None:
            self._bars = progress.Progress(
                progress.TextColumn("{task.description}"),
                progress.BarColumn(),
                progress.DownloadColumn(),
                progress.TransferSpeedColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._bars.start()
        if uri not in self._tasks:
            self._tasks[uri] = self._bars.add_task(uri, total=total)
        self._bars.update(self._tasks[uri], completed=done, total=total)
        if done == total:
            self._bars.remove_task(self._tasks.pop(uri))
        if not self._tasks:
            self._bars.stop()
            self._bars = None


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1_000_000 else f"{count / 1e3:.1f} kB"


def _coloured(text: str, code: str) -> str:
    if os.environ.get("NO_COLOR") or not is_interactive():
        return text
    return f"\x1b[{code}m{text}\x1b[0m"


def _record(error: BaseException) -> str:
    from tiffin.kits import paths

    try:
        path = paths.data_directory().make().logs / "errors.log"
        with path.open("a", encoding="utf-8") as file:
            file.write("".join(traceback.format_exception(error)) + "\n")
    except (OSError, TiffinError):
        return "no file (the data directory cannot be written)"
    return str(path)
