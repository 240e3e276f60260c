"""What leaves the cache of a node, so that the rest fits: pure choice first, then the directories.

Several processes, in containers that know nothing of each other, use the cache meanwhile. Whoever delivers holds
``contents.using`` for the address and the content; what is held is passed over, and who comes while something is
being removed waits until it is gone.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from tiffin.kits import locks
from tiffin.models import archives, contents

YOUNG_SECONDS = 3600.0
"""A content that no address has may be about to be used by who just asked for it."""
STALE_SECONDS = 7 * 86400.0
"""What came of a download that nobody took up again for so long is of no use."""


class Entry(msgspec.Struct, frozen=True):
    """A content: its bytes, when it was used last (seconds since 1970), whether any address has it."""

    content: str
    size: int
    last_used: float
    is_named: bool = True
    is_in_use: bool = False


class Removed(msgspec.Struct, frozen=True):
    """How many contents were removed, and the bytes they had."""

    count: int = 0
    size: int = 0


def victims(entries: Iterable[Entry], bound: int, *, now: float, largest: float = math.inf) -> list[Entry]:
    """Which to remove, in this order, until those that are left have at most ``bound`` bytes together.

    Those that no address has go first, then those of more than ``largest`` bytes, which would push out all
    others; then what was not used for longest. What is in use stays, so that more than ``bound`` may be left.
    """
    entries = list(entries)
    left = sum(entry.size for entry in entries)
    chosen = []
    for entry in sorted(entries, key=lambda one: (one.is_named, one.size <= largest, one.last_used, one.content)):
        if left <= bound:
            break
        if can_go(entry, now):
            chosen.append(entry)
            left -= entry.size
    return chosen


def can_go(entry: Entry, now: float) -> bool:
    """Whether nobody uses it, or is about to."""
    return not entry.is_in_use and (entry.is_named or now - entry.last_used > YOUNG_SECONDS)


def keep_within(cache: Path, bound: int) -> Removed:
    """Remove what nobody uses until what is kept has at most ``bound`` bytes; and what is of no use to anybody.

    Raises:
        OSError: the cache cannot be read or written.
    """
    with _alone(cache):
        _tidy(cache)
        return _removed(cache, lambda entries: victims(entries, bound, now=time.time(), largest=bound))


def make_room(cache: Path, needed: int) -> Removed:
    """Remove what was not used for longest until the cache's disk has ``needed`` bytes free.

    Nothing goes where it would be in vain, as all of it together is too little.

    Raises:
        OSError: the cache cannot be read or written.
    """
    if archives.free_bytes(cache) >= needed:
        return Removed()
    with _alone(cache):
        # Who held the lock before may have made room.
        missing = needed - archives.free_bytes(cache)
        entries = _entries(cache)
        bound = sum(entry.size for entry in entries) - missing
        if missing <= 0 or missing > sum(entry.size for entry in entries if can_go(entry, time.time())):
            return Removed()
        return _removed(cache, lambda entries: victims(entries, bound, now=time.time()))


def _alone(cache: Path) -> contextlib.AbstractContextManager[bool]:
    home = cache / "locks"
    home.mkdir(parents=True, exist_ok=True)
    return locks.holding(home / "eviction")


def _removed(cache: Path, choose: Callable[[Sequence[Entry]], list[Entry]]) -> Removed:
    entries = {entry.content: entry for entry in _entries(cache)}
    gone = Removed()
    while chosen := choose(list(entries.values())):
        first = chosen[0]
        if _remove(cache, first):
            del entries[first.content]
            gone = Removed(gone.count + 1, gone.size + first.size)
        else:
            entries[first.content] = msgspec.structs.replace(first, is_in_use=True)
    return gone


def _remove(cache: Path, entry: Entry) -> bool:
    """Whether it is gone; nothing happens when somebody uses it, or did since the entry was made."""
    home = cache / "content" / entry.content
    # Nobody is at it there, so that it goes also when this process does not come to it. No directory is made:
    # a full disk may have no room for one.
    aside = cache / "partial" / entry.content
    shutil.rmtree(aside, ignore_errors=True)
    with contents.keeping(cache), contextlib.ExitStack() as held:
        addresses = _addresses(cache).get(entry.content, [])
        files = [contents.used(cache, name) for name in (entry.content, *(one.name for one in addresses))]
        for file in files:
            if not held.enter_context(locks.holding(file, wait=False)):
                return False
        if _last_used(home, addresses) != entry.last_used:
            return False
        home.rename(aside)
        for one in (*addresses, *files):
            one.unlink(missing_ok=True)
    # Who waited for it goes on meanwhile, and fetches it anew.
    shutil.rmtree(aside, ignore_errors=True)
    return True


def _entries(cache: Path) -> list[Entry]:
    addresses = _addresses(cache)
    found = []
    for home in _listed(cache / "content"):
        with contextlib.suppress(FileNotFoundError):
            named = addresses.get(home.name, [])
            last_used = _last_used(home, named)
            found.append(Entry(home.name, size_of(home), last_used, is_named=bool(named)))
    return found


def _addresses(cache: Path) -> dict[str, list[Path]]:
    """The index files that name each content."""
    found: dict[str, list[Path]] = {}
    for path in _listed(cache / "index"):
        index = None if path.name.startswith(".") else contents.read_index(path)
        if index is not None:
            found.setdefault(index.content, []).append(path)
    return found


def _last_used(home: Path, addresses: Sequence[Path]) -> float:
    return max(path.stat().st_mtime for path in addresses or (home,))


def size_of(path: Path) -> int:
    """The bytes of the files below a directory."""
    return sum(one.stat().st_size for one in path.rglob("*") if one.is_file())


def _listed(directory: Path) -> list[Path]:
    return list(directory.iterdir()) if directory.is_dir() else []


def _tidy(cache: Path) -> None:
    """Addresses whose content is gone, and what came of downloads that nobody went on with."""
    with contents.keeping(cache):
        for content, addresses in _addresses(cache).items():
            if not (cache / "content" / content).exists():
                for one in addresses:
                    one.unlink(missing_ok=True)
    for arrived in _listed(cache / "arrivals"):
        with contextlib.suppress(FileNotFoundError):
            newest = max(one.stat().st_mtime for one in (arrived, *arrived.rglob("*")))
            if time.time() - newest <= STALE_SECONDS:
                continue
            with locks.holding(contents.used(cache, arrived.name), wait=False) as is_free:
                if is_free:
                    shutil.rmtree(arrived, ignore_errors=True)
                    os.unlink(contents.used(cache, arrived.name))
