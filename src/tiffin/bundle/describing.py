"""Ask a process of its own what a service says of itself: a build imports no author's code."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

import msgspec

from tiffin.errors import ServiceError
from tiffin.spec import ServiceDescription

SECONDS = 300.0
"""Importing a large framework from a cold disk takes a minute."""


class _Failure(msgspec.Struct):
    message: str
    hint: str | None = None
    traceback: str | None = None


def describe(target: str, directory: Path, environment: Mapping[str, str]) -> ServiceDescription:
    """The description of a service, for a build.

    Raises:
        ServiceError: it cannot be imported, or a signature cannot be served; with the traceback from the author's
            code on.
    """
    command = (
        sys.executable,
        "-m",
        "tiffin.service",
        "describe",
        target,
        "--directory",
        str(directory),
        "--for-build",
    )
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SECONDS,
            check=False,
            # Byte code beside the sources would be of no use to anybody.
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **environment},
        )
    except subprocess.TimeoutExpired as error:
        raise ServiceError(f"importing {target} in {directory} took longer than {SECONDS:.0f} s") from error
    try:
        if done.returncode == 0:
            return msgspec.json.decode(done.stdout, type=ServiceDescription)
        failure = msgspec.json.decode(done.stdout, type=_Failure)
    except msgspec.DecodeError as error:
        last = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise ServiceError(
            f"{target} in {directory} gave no description: {last or f'exit code {done.returncode}'}"
        ) from error
    trace = f"\n{textwrap.indent(failure.traceback, '    ')}" if failure.traceback else ""
    raise ServiceError(
        f"{failure.message}{trace}",
        hint=failure.hint or "mend it, or build from the sources alone: `tiffin build --no-import`",
    )
