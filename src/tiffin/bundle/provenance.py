"""Where the sources of a bundle come from: what git says of their directory, when it is in a repository."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Collection
from pathlib import Path

import tiffin
from tiffin.bundle.manifest import Provenance

_SECONDS = 30.0
_SHORT_FORM = re.compile(r"(?:[^@/]+@)?([^:/]+):(?!//)(.+)")
_URL = re.compile(r"(?:https?|ssh|git)://(?:[^@/]*@)?([^/:]+)(?::\d+)?/(.+)")


def of(root: Path, files: Collection[str], *, data: str, inputs: dict[str, str]) -> Provenance:
    """The provenance of a directory.

    ``files`` are the bundle's paths below ``root``: only they make it ``dirty``. Where the same repository is
    reached in several ways it has one name: no user, port or ending is kept, and no path of this machine.
    """
    found = Provenance(builder=f"tiffin/{tiffin.__version__}", data=data, inputs=inputs)
    commit = _git(root, "log", "-1", "--format=%H", "--", ".")
    if not commit:
        return found
    return Provenance(
        builder=found.builder,
        repository=repository(_git(root, "remote", "get-url", "origin")),
        commit=commit,
        dirty=_is_dirty(root, files),
        data=data,
        inputs=inputs,
    )


def repository(remote: str) -> str:
    """``https://host/path`` of a remote's address; empty for a directory of this machine."""
    match = _URL.fullmatch(remote) or _SHORT_FORM.fullmatch(remote)
    return f"https://{match[1].lower()}/{match[2].strip('/').removesuffix('.git')}" if match else ""


def _is_dirty(root: Path, files: Collection[str]) -> bool:
    """Whether a file of the bundle differs from the commit, or one of the commit is missing here."""
    prefix = _git(root, "rev-parse", "--show-prefix")
    status = _git(root, "status", "--porcelain=v1", "-z", "--untracked-files=all", "--no-renames", "--", ".")
    for entry in filter(None, status.split("\0")):
        path = entry[3:].removeprefix(prefix)
        if "D" in entry[:2] or path in files:
            return True
    return False


def _git(root: Path, *arguments: str) -> str:
    """What git prints, empty when there is no git, no repository, or it refuses."""
    try:
        done = subprocess.run(
            ("git", "-C", str(root), *arguments),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    # The status begins with a space that counts.
    return done.stdout.decode("utf-8", "surrogateescape").rstrip("\n") if done.returncode == 0 else ""
