"""What the CLI prints: data to stdout; words, errors and progress to stderr."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tiffin.errors import TiffinError

if TYPE_CHECKING:
    from rich.console import Console


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


def console() -> Console:
    """A rich console on stderr; it honours NO_COLOR."""
    from rich.console import Console

    return Console(stderr=True)


@contextmanager
def busy(text: str) -> Iterator[None]:
    """Show that something is going on, on a terminal only."""
    if not is_interactive():
        yield
        return
    with console().status(text):
        yield


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
