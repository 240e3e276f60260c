"""Container engines that build from a Dockerfile, by their command lines."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tiffin.errors import ImageError, ProcessError

_BUILD = {
    "docker": ("docker", "build"),
    "buildx": ("docker", "buildx", "build"),
    "podman": ("podman", "build"),
    "buildah": ("buildah", "build"),
    "nerdctl": ("nerdctl", "build"),
}
_PACKAGES = {"docker": "docker.io", "buildx": "docker-buildx"}


def check(engine: str) -> None:
    """Raise ProcessError when the engine is not installed."""
    if engine not in _BUILD:
        raise ImageError(f"expected one of {', '.join(_BUILD)} to build with, found {engine!r}")
    program = _BUILD[engine][0]
    if shutil.which(program) is None:
        raise ProcessError(
            f"{program} is not installed",
            hint=f"apt-get install {_PACKAGES.get(engine, program)}; or leave --builder out: no engine is needed",
        )


def build_command(
    engine: str, directory: Path, names: Sequence[str], *, platforms: Sequence[str], options: Sequence[str]
) -> list[str]:
    """The command line of a build. Pure.

    ``options`` are ``key=value`` or ``key``, and go on as ``--key=value`` and ``--key``.
    """
    command = [*_BUILD[engine], *(word for name in names for word in ("--tag", name))]
    if platforms:
        command += ["--platform", ",".join(platforms)]
    for option in options:
        key = option.partition("=")[0]
        if not key or key.startswith("-") or not key.replace("-", "").replace("_", "").isalnum():
            raise ImageError(f"expected an option as key=value, found {option!r}", at="--opt")
        command.append(f"--{option.replace('_', '-', key.count('_'))}")
    return [*command, str(directory)]


def run(command: Sequence[str]) -> None:
    """Run an engine with its output on stderr; raises ProcessError when it fails."""
    done = subprocess.run(list(command), check=False, stdout=2)
    if done.returncode != 0:
        raise ProcessError(
            f"`{' '.join(command[:3])} ...` ended with exit code {done.returncode}",
            hint="what it said is above",
        )


def push_command(engine: str, name: str) -> list[str]:
    """The command line of a push."""
    return [_BUILD[engine][0], "push", name]


def save_command(engine: str, name: str, file: Path) -> list[str]:
    """The command line that writes an image to a file."""
    if engine == "buildah":
        return ["buildah", "push", name, f"docker-archive:{file}:{name}"]
    return [_BUILD[engine][0], "save", "--output", str(file), name]
