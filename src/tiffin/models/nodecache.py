"""Where a pod's downloads are kept: on its own volume while they come, or in a cache that a node's pods share.

Variables, which the operator writes from its settings:

- ``TIFFIN_MODEL_CACHE``: a directory of the node; without it nothing is kept.
- ``TIFFIN_MODEL_CACHE_BYTES``: what may be left in it after a delivery; without it there is no bound.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

from tiffin.errors import StorageError
from tiffin.models import contents, eviction, remotes

Say = Callable[[str], None]
_BESIDE_BYTES = 64 << 10
_PARTS = ("content", "index", "locks", "arrivals", "partial")


class PodCache:
    """On the volume itself, so that what was fetched is only renamed."""

    is_shared = False

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        """What is held is let go."""

    def hold(self, uri: str) -> None:
        """Keep what an address is, from before it is fetched until the end."""

    def hold_content(self, found: Path) -> None:
        """Keep what was fetched until the end."""

    def make_room(self, needed: int, on: Path) -> None:
        """Before ``needed`` bytes are written below ``on``."""

    def finish(self, uri: str, size: int) -> None:
        """After everything was let go, when an address was delivered: ``size`` bytes."""
        shutil.rmtree(self.directory, ignore_errors=True)


class NodeCache(PodCache):
    """One of the node, which others use at the same time. ``bound`` is in bytes."""

    is_shared = True

    def __init__(self, directory: Path, bound: int | None, say: Say) -> None:
        super().__init__(directory)
        self._bound = bound
        self._say = say
        self._held = contextlib.ExitStack()

    def __exit__(self, *details: object) -> None:
        self._held.close()

    def hold(self, uri: str) -> None:
        name = contents.digest(uri)
        self._held.enter_context(contents.using(self.directory, name))
        self._held.callback(_touch, self.directory / "index" / name)

    def hold_content(self, found: Path) -> None:
        name = found.relative_to(self.directory / "content").parts[0]
        self._held.enter_context(contents.using(self.directory, name))

    def make_room(self, needed: int, on: Path) -> None:
        """Remove what was not used for longest, where the cache is what fills the disk."""
        # Files take whole blocks, and directories and file systems some more.
        taken = needed + needed // 64 + _BESIDE_BYTES
        if on.stat().st_dev == self.directory.stat().st_dev:
            self._removing(lambda: eviction.make_room(self.directory, taken))

    def finish(self, uri: str, size: int) -> None:
        """Remove what is beyond the bound."""
        bound = self._bound
        if bound is None:
            return
        if size > bound:
            self._say(
                f"the node's cache keeps {amount(bound)}: {remotes.shown(uri)} has {amount(size)} and is not kept"
            )
        self._removing(lambda: eviction.keep_within(self.directory, bound))

    def _removing(self, remove: Callable[[], eviction.Removed]) -> None:
        try:
            removed = remove()
        except OSError as error:
            # The model is what the pod waits for.
            self._say(f"warning: nothing can be removed from the node's cache: {error}")
            return
        if removed.count:
            models = "1 model" if removed.count == 1 else f"{removed.count} models"
            self._say(f"the node's cache: removed {models}, {amount(removed.size)}")


def opened(uri: str, path: Path, environment: Mapping[str, str], say: Say) -> PodCache:
    """The cache to fetch an address through that is wanted at ``path``.

    The node's, where there is one that this user may write: a kubelet makes directories that only root may. What
    is on this machine already is not kept a second time.

    Raises:
        StorageError: the bound is no number.
    """
    own = PodCache(path / ".tiffin")
    shared = environment.get("TIFFIN_MODEL_CACHE", "")
    if not shared or remotes.scheme_of(uri) in ("", "file", "model"):
        return own
    written = environment.get("TIFFIN_MODEL_CACHE_BYTES", "")
    if written and not written.isdecimal():
        raise StorageError(f"expected bytes in TIFFIN_MODEL_CACHE_BYTES, found {written}")
    if wrong := _unusable(Path(shared)):
        say(f"warning: the node's cache is not used, and nothing is kept for other pods: {wrong}")
        return own
    return NodeCache(Path(shared), int(written) if written else None, say)


def _unusable(directory: Path) -> str:
    """Why this user cannot work in a cache; nothing when it can. The parts of it that are missing are made."""
    user = os.geteuid()
    try:
        for part in (directory, *(directory / name for name in _PARTS)):
            part.mkdir(parents=True, exist_ok=True)
            if not os.access(part, os.R_OK | os.W_OK | os.X_OK):
                wanted = f"`install -d -o {user} {directory}` on the node makes it so"
                return f"{part} is not writable for user {user}; {wanted}"
            # Files are for their owner alone to write.
            owner = part.stat().st_uid
            if part != directory and owner != user:
                return f"{part} is of user {owner}, and this is user {user}: pods share it that run as one user"
    except OSError as error:
        return f"{error.filename or directory}: {error.strerror}"
    return ""


def _touch(index: Path) -> None:
    with contextlib.suppress(OSError):
        os.utime(index)


def amount(size: int) -> str:
    """Bytes for people: ``1.2 GB``."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} bytes"
