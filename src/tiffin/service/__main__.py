"""``python -m tiffin.service describe TARGET --directory DIR``: what a service says of itself, as JSON on stdout.

Runs in a process of its own, so that the platform side never imports an author's code. What that code prints goes
to stderr. A failure is one JSON line with ``code``, ``message`` and ``hint``, and exit status 1.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys

import msgspec

from tiffin.errors import ServiceError, TiffinError


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and describe."""
    parser = argparse.ArgumentParser(prog="python -m tiffin.service")
    commands = parser.add_subparsers(dest="command", required=True)
    describe = commands.add_parser("describe", help="print a service's description as JSON")
    describe.add_argument("target", help="module:Class, path/file.py:Class, module, or a directory")
    describe.add_argument("--directory", default=".", help="where the target's files are")
    describe.add_argument("--for-build", action="store_true", help="say what only a build asks for, too")
    options = parser.parse_args(arguments)
    with _stdout_for_us() as out:
        try:
            line, status = _describe(options.target, options.directory, for_build=options.for_build), 0
        except TiffinError as error:
            notes = "\n".join(getattr(error, "__notes__", ()))
            if notes:
                sys.stderr.write(notes + "\n")
            line = msgspec.json.encode(
                {"code": error.code, "message": str(error), "hint": error.hint, "traceback": notes or None}
            )
            status = 1
        os.write(out, line + b"\n")
    return status


def _describe(target: str, directory: str, *, for_build: bool = False) -> bytes:
    from tiffin.service.definition import Service
    from tiffin.service.loading import load

    found = load(target, directory)
    if not isinstance(found, Service):
        raise ServiceError(
            f"expected a class decorated with @service at {target!r}, found the plain class {found.__name__}",
            hint="decorate it with @tiffin.service, or serve it as a plain class with predict()",
        )
    if for_build:
        from tiffin.service import describing

        return msgspec.json.encode(describing.for_build(found, target))
    return msgspec.json.encode(found.describe(target))


@contextlib.contextmanager
def _stdout_for_us():  # type: ignore[no-untyped-def]
    """Give stdout's file descriptor to us alone; the author's code, and its children, write to stderr."""
    sys.stdout.flush()
    ours = os.dup(1)
    os.dup2(2, 1)
    try:
        yield ours
    finally:
        sys.stdout.flush()
        os.dup2(ours, 1)
        os.close(ours)


if __name__ == "__main__":
    sys.exit(main())
