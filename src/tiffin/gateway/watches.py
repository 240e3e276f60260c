"""Which clusters have a file of endpoints of their own.

Envoy opens an inotify instance for every file it watches, and aborts when the system has no more; often 128 is all
that a user may have. A cluster without a file is told anew as a whole when its endpoints change, which loses no
call either, but waits until all its replicas have answered a health check.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

MOST = 512
WITHOUT_LIMIT = 512
PROC = Path("/proc")


class Watches:
    """Gives out a limited number of files: who has one keeps it."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._given: set[str] = set()

    def keep(self, names: Iterable[str]) -> None:
        """These have one already."""
        self._given = set(names)

    def give(self, names: Iterable[str]) -> frozenset[str]:
        """Which of these have a file; one that is not among them needs none any more."""
        wanted = list(dict.fromkeys(names))
        self._given.intersection_update(wanted)
        for name in wanted:
            if len(self._given) >= self._most:
                break
            self._given.add(name)
        return frozenset(self._given)


def affordable(proc: Path = PROC) -> int:
    """How many files Envoy may watch: half of the instances this user has left, and never more than ``MOST``."""
    try:
        limit = int((proc / "sys/fs/inotify/max_user_instances").read_text())
    except (OSError, ValueError):
        return WITHOUT_LIMIT
    return max(0, min(MOST, (limit - _used(proc)) // 2))


def _used(proc: Path) -> int:
    """The inotify instances of this user's processes, as far as they can be seen."""
    count = 0
    user = os.getuid()
    for process in proc.glob("[0-9]*"):
        try:
            if process.stat().st_uid == user:
                count += sum(os.readlink(entry) == "anon_inode:inotify" for entry in (process / "fd").iterdir())
        except OSError:
            continue
    return count
