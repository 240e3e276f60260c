"""``python -m tiffin.runtime --replica FILE``: run the replica a target has described in a JSON file."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec

from tiffin.errors import TiffinError
from tiffin.kits import logs
from tiffin.spec import ReplicaSpec


def main(arguments: list[str]) -> int:
    """Run one replica; the exit code."""
    if len(arguments) != 2 or arguments[0] != "--replica":
        print("usage: python -m tiffin.runtime --replica FILE", file=sys.stderr)  # noqa: T201
        return 2
    logs.install(os.environ.get("TIFFIN_LOG_LEVEL", "INFO").upper())
    try:
        spec = msgspec.json.decode(Path(arguments[1]).read_bytes(), type=ReplicaSpec)
    except (OSError, msgspec.DecodeError) as error:
        print(f"error: cannot read the replica's file {arguments[1]}: {error}", file=sys.stderr)  # noqa: T201
        return 3
    os.environ.update(spec.component.environment)
    from tiffin.runtime import supervisor

    try:
        return supervisor.run(spec)
    except TiffinError as error:
        hint = f"\n\nhint: {error.hint}" if error.hint else ""
        print(f"error: {error}{hint}", file=sys.stderr)  # noqa: T201
        return 3


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
