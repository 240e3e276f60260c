"""Wheels for another platform, fetched by pip and never built here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tiffin.errors import ImageError, MissingExtra, StorageError
from tiffin.image import wheels
from tiffin.image.wheels import Wheel

_OFFLINE = re.compile(
    r"NewConnectionError|Could not fetch URL|Temporary failure in name resolution|ConnectTimeout|ReadTimeout"
    r"|Connection refused|Max retries exceeded|ProxyError"
)
_NONE_FOUND = re.compile(r"No matching distribution found for (\S+)")
_VERSIONS = re.compile(r"\(from versions: ([^)]*)\)")
_HASHES = re.compile(r"^\s+(\S+) from \S+", re.MULTILINE)
_UNPINNED = re.compile(r"^\s+(\S+) from", re.MULTILINE)
_CONFLICT = re.compile(r"^\s+(.+ depends on .+|The user requested .+)$", re.MULTILINE)
_LINES = 8


def pip() -> list[str]:
    """The command line of a pip: this environment's, uv's or the machine's.

    Raises:
        MissingExtra: there is none.
    """
    candidates = [[sys.executable, "-m", "pip"]]
    if uv := shutil.which("uv"):
        candidates.append([uv, "tool", "run", "--quiet", "pip"])
    if python := shutil.which("python3"):
        candidates.append([python, "-m", "pip"])
    for command in candidates:
        done = subprocess.run([*command, "--version"], capture_output=True, check=False)
        if done.returncode == 0:
            return command
    raise MissingExtra("pip is not installed, and fetches the wheels of an image", hint="python -m ensurepip")


class Asked(NamedTuple):
    """What wheels are for.

    ``root`` is where relative paths in requirements start from; ``locked_for`` the platform that a lock was made
    for (``x86_64-manylinux_2_36``), where it is known.
    """

    python: str
    tags: Sequence[str]
    root: Path | None = None
    locked_for: str = ""


def download(
    requirements: str,
    directory: Path,
    asked: Asked,
    *,
    hashed: bool = False,
    dependencies: bool = True,
    constraints: Mapping[str, str] | None = None,
    links: Path | None = None,
    also: Path | None = None,
    where: str = "requirements",
) -> list[Wheel]:
    """Fetch the wheels of requirements for a platform into ``directory``.

    Args:
        requirements: text as pip reads it.
        directory: is created.
        asked: what for.
        hashed: each line is pinned and has its hashes.
        dependencies: what they need is fetched too.
        constraints: versions to keep to, by name.
        links: a directory with further wheels.
        also: another one.
        where: what the requirements are of, for messages.

    Raises:
        ImageError: a package has no wheel for the platform, differs from its hash, or clashes with another.
        StorageError: the index cannot be reached.
    """
    if not requirements.strip():
        return []
    directory.mkdir(parents=True, exist_ok=True)
    listed = directory.parent / f"{directory.name}.txt"
    listed.write_text(requirements, encoding="utf-8")
    command = [*pip(), "download", "--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    command += ["--only-binary", ":all:", "--implementation", "cp", "--python-version", asked.python]
    command += [f"--platform={tag}" for tag in asked.tags] + [
        "--dest",
        str(directory),
        "--requirement",
        str(listed),
    ]
    if hashed:
        command += ["--require-hashes"]
    if not dependencies:
        command += ["--no-deps"]
    if constraints:
        pins = directory.parent / f"{directory.name}-constraints.txt"
        pins.write_text("".join(f"{name}=={version}\n" for name, version in sorted(constraints.items())))
        command += ["--constraint", str(pins)]
    for place in (links, also):
        if place is not None:
            command += ["--find-links", str(place)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        cwd=asked.root,
        env={**os.environ, "PYTHONWARNINGS": "ignore", "NO_COLOR": "1"},
    )
    if done.returncode != 0:
        raise refusal(done.stdout + done.stderr, asked, where=where)
    return sorted(
        (wheels.read(path) for path in directory.glob("*.whl")), key=lambda wheel: (wheel.name, wheel.version)
    )


def refusal(said: str, asked: Asked, *, where: str) -> ImageError | StorageError:
    """What pip's words mean for who makes an image. Pure."""
    target = f"Python {asked.python} on {asked.tags[0]}"
    if "DO NOT MATCH THE HASHES" in said:
        names = ", ".join(dict.fromkeys(match.rstrip(":") for match in _HASHES.findall(said)))
        locked_for = asked.locked_for.partition("-")[0]
        if locked_for and not asked.tags[0].endswith(f"_{locked_for}"):
            return ImageError(
                f"the bundle was locked for {asked.locked_for}, and has no hash of {names or 'packages'}"
                f" for {target}",
                hint="install uv and build the bundle again: its locks have the hashes of all platforms",
                at=where,
            )
        return ImageError(
            f"{names or 'a package'} is not what was locked: its sha256 differs",
            hint="find out who changed the package, and why, before you build the bundle again",
            at=where,
        )
    if "In --require-hashes mode" in said:
        names = ", ".join(dict.fromkeys(_UNPINNED.findall(said)))
        return ImageError(
            f"expected each locked requirement with its hashes, found none for {names or 'some'}",
            hint="build the bundle again",
            at=where,
        )
    if _OFFLINE.search(said) and "(from versions: none)" in said:
        return StorageError(
            f"the package index does not answer: {_last(said)}",
            hint="set PIP_INDEX_URL, or PIP_FIND_LINKS to a directory of wheels and PIP_NO_INDEX=1",
            at=where,
        )
    if missing := _NONE_FOUND.findall(said):
        versions = _VERSIONS.search(said)
        there = f"; it has {versions[1]}" if versions and versions[1] != "none" else ""
        return ImageError(
            f"there is no wheel of {missing[0]} for {target}{there}",
            hint="choose a version that has one, another --platform or --python, or `--builder docker`,"
            " which compiles in a container",
            at=where,
        )
    if "conflicting dependencies" in said or "ResolutionImpossible" in said:
        clash = "; ".join(line.strip() for line in _CONFLICT.findall(said)[:4])
        return ImageError(
            f"the requirements cannot be met together: {clash or _last(said)}",
            hint="loosen one of them; Tiffin's own are in its metadata (`pip show tiffin`)",
            at=where,
        )
    return ImageError(f"pip cannot fetch the requirements: {_last(said)}", at=where)


def _last(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip().startswith("ERROR")]
    lines = lines or [line.strip() for line in said.splitlines() if line.strip()]
    return " ".join(line.removeprefix("ERROR:").strip() for line in lines[-_LINES:])[:600]
