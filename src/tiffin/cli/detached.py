"""``tiffin up -d``: the controller in a session of its own, and its start told as if it were in this one."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

import msgspec

from tiffin.cli import output
from tiffin.kits import paths
from tiffin.local.up import Report

LOOK_SECONDS = 0.1


def start(arguments: Sequence[str], ready: Callable[[Report], None]) -> int:
    """Start ``tiffin up`` with these arguments and return when it is ready: 0, or the code it ended with.

    What it says until then comes to stderr; all it ever says is in ``logs/up.log``.
    """
    log = paths.data_directory().make().logs / "up.log"
    reading, writing = os.pipe()
    with log.open("ab") as out, log.open("rb") as told, os.fdopen(reading, "rb") as pipe:
        told.seek(0, os.SEEK_END)
        process = subprocess.Popen(
            [sys.executable, "-m", "tiffin", "up", *arguments, "--report-fd", str(writing)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            pass_fds=(writing,),
            # It stays: its directory should not be in the way of whoever unmounts this one.
            cwd="/",
        )
        os.close(writing)
        try:
            report = _report(pipe, told)
        except KeyboardInterrupt:
            process.send_signal(signal.SIGTERM)
            process.wait()
            raise
        if report is None:
            code = process.wait()
            _relay(told)
            return code if code > 0 else 1
    ready(report)
    output.say(f"the controller runs in the background (pid {process.pid}); what it says is in {_short(log)}")
    return 0


def _report(pipe: IO[bytes], told: IO[bytes]) -> Report | None:
    """What it reports once it is ready; ``None`` when it ended before."""
    data = b""
    while True:
        found, _, _ = select.select([pipe], [], [], LOOK_SECONDS)
        _relay(told)
        if not found:
            continue
        chunk = os.read(pipe.fileno(), 65536)
        if not chunk:
            break
        data += chunk
    with contextlib.suppress(msgspec.DecodeError):
        return msgspec.json.decode(data, type=Report)
    return None


def _relay(told: IO[bytes]) -> None:
    text = told.read().decode("utf-8", "replace")
    if text:
        sys.stderr.write(text)
        sys.stderr.flush()


def _short(path: Path) -> str:
    home = str(Path.home())
    return str(path).replace(home, "~", 1) if str(path).startswith(f"{home}/") else str(path)
