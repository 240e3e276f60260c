"""``python -m tiffin.runtime --replica FILE``: run the replica a target has described.

--replica FILE        the spec.ReplicaSpec as a JSON file
--replica-json TEXT   the same, in place
--announce            say on stderr where it serves, once it is ready
--reload DIRECTORY    restart on every change below the directory
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import msgspec

from tiffin.errors import TiffinError
from tiffin.kits import logs
from tiffin.spec import ReplicaSpec

COULD_NOT_START = 3


def main(arguments: list[str]) -> int:
    """Run one replica; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tiffin.runtime", allow_abbrev=False)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--replica", type=Path)
    which.add_argument("--replica-json")
    parser.add_argument("--announce", action="store_true")
    parser.add_argument("--reload", type=Path)
    options = parser.parse_args(arguments)
    logs.install(os.environ.get("TIFFIN_LOG_LEVEL", "INFO").upper())
    try:
        text = options.replica_json.encode() if options.replica is None else options.replica.read_bytes()
        spec = msgspec.json.decode(text, type=ReplicaSpec)
    except (OSError, msgspec.DecodeError) as error:
        _say(f"error: cannot read what the replica should be: {error}")
        return COULD_NOT_START
    os.environ.update(spec.component.environment)
    from tiffin.runtime import supervisor

    announce = _announce if options.announce else _silent
    try:
        if options.reload is not None:
            from tiffin.runtime import reload

            return reload.run(spec, options.reload, announce=announce)
        return supervisor.run(spec, announce=announce)
    except TiffinError as error:
        _say(f"error: {error}" + (f"\n\nhint: {error.hint}" if error.hint else ""))
        return COULD_NOT_START


def _announce(address: str) -> None:
    _say(f"Serving at {address} (Ctrl-C stops it)")


def _silent(address: str) -> None:
    """A target asks for readiness itself."""


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
