"""``python -m tiffin.runtime --replica FILE``: run the replica a target has described.

--replica FILE        the spec.ReplicaSpec as a JSON file
--replica-json TEXT   the same, in place
--announce            say on stderr where it serves, once it is ready
--reload DIRECTORY    restart on every change below the directory
--zygote SOCKET       be no replica, but fork some when told to; with
--warm FORMAT         what is imported before: sklearn, xgboost, lightgbm or onnx
--own host,port       what the service's own options decide, beside its TLS; with --replica-json
--orders DIRECTORY    where the files of all orders are; no others are read
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from tiffin.errors import TiffinError
from tiffin.kits import logs
from tiffin.spec import ReplicaSpec

COULD_NOT_START = 3

Ready = Callable[[dict[str, float]], None]


def main(arguments: list[str]) -> int:
    """Run one replica; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tiffin.runtime", allow_abbrev=False)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--replica", type=Path)
    which.add_argument("--replica-json")
    which.add_argument("--zygote")
    parser.add_argument("--announce", action="store_true")
    parser.add_argument("--reload", type=Path)
    parser.add_argument("--warm", choices=("sklearn", "xgboost", "lightgbm", "onnx"), default="sklearn")
    parser.add_argument("--orders", default="/")
    parser.add_argument("--own", default=None, help="what the service itself decides: host, port, workers")
    options = parser.parse_args(arguments)
    if options.zygote is not None:
        _install_logs()
        from tiffin.runtime import zygote

        return zygote.run(options.zygote, options.warm, options.orders)
    if options.replica is not None:
        return run_file(options.replica, announce=options.announce, directory=options.reload)
    _install_logs()
    own = None if options.own is None else tuple(filter(None, options.own.split(",")))
    return _run(options.replica_json.encode(), announce=options.announce, directory=options.reload, own=own)


def run_file(
    file: Path, *, announce: bool = False, directory: Path | None = None, ready: Ready | None = None
) -> int:
    """Run the replica of a file; the exit code. ``ready`` gets the seconds of each phase of its start."""
    _install_logs()
    try:
        text = file.read_bytes()
    except OSError as error:
        _say(f"error: cannot read what the replica should be: {error}")
        return COULD_NOT_START
    return _run(text, announce=announce, directory=directory, ready=ready)


def _run(
    text: bytes,
    *,
    announce: bool,
    directory: Path | None,
    ready: Ready | None = None,
    own: tuple[str, ...] | None = None,
) -> int:
    try:
        spec = msgspec.json.decode(text, type=ReplicaSpec)
    except msgspec.DecodeError as error:
        _say(f"error: cannot read what the replica should be: {error}")
        return COULD_NOT_START
    os.environ.update(spec.component.environment)
    from tiffin.runtime import supervisor

    say = _announce if announce else _silent
    try:
        # `tiffin serve DIR` finds by looking what is served; an order of a target's says it, or its bundle does.
        if own is None and directory is None and getattr(spec.component.source, "target", None) == "":
            from tiffin.runtime import bundled_target

            spec = bundled_target.named(spec)
        if directory is not None:
            from tiffin.runtime import reload

            return reload.run(spec, directory, announce=say)
        if own is not None:
            from tiffin.runtime import service_start

            arguments = ["--announce"] if announce else []
            settled = supervisor.before_start(lambda: service_start.settled(spec, own, arguments))
            if settled is None:
                return 0
            spec = settled
        return supervisor.run(spec, announce=say, started=ready)
    except TiffinError as error:
        _say(f"error: {error}" + (f"\n\nhint: {error.hint}" if error.hint else ""))
        return COULD_NOT_START


def _install_logs() -> None:
    logs.install(os.environ.get("TIFFIN_LOG_LEVEL", "INFO").upper())


def _announce(address: str) -> None:
    _say(f"Serving at {address} (Ctrl-C stops it)")


def _silent(address: str) -> None:
    """A target asks for readiness itself."""


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
