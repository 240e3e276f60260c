"""A cache of downloads on disk: what there is, which addresses it was found at, and who is at it.

    CACHE/
    ├── content/<sha256>/...     what was downloaded or unpacked; never changed once it is there
    ├── index/<sha256 of uri>    which content an address had, and the listing (sizes, ETags) it had then
    ├── locks/<sha256 of uri>    held while an address is fetched, so that it is downloaded once
    ├── locks/<sha256>.used      shared by who uses what an address or a content is, so that it is not removed
    ├── locks/keeping            held while content and index change together
    ├── arrivals/<sha256>/...    files that came, kept until all have, so that a fetch goes on where it was cut
    └── partial/<random>/...     what is unpacked or put together, renamed into content when whole; ``held`` in it
                                 is locked by whoever is at it

Processes in several containers may share one, so that a pid says nothing: locks tell who is there.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from tiffin.kits import locks
from tiffin.kits.files import write_atomic
from tiffin.models import remotes


class Index(msgspec.Struct, frozen=True):
    """What an address held: ``key`` changes with it, ``content`` is a directory, ``file`` the one file in it."""

    uri: str
    key: str
    content: str
    file: str


def known(cache: Path, uri: str, key: str) -> Path | None:
    """What an address held when its listing was ``key``."""
    index = read_index(cache / "index" / digest(uri))
    if index is None or index.key != key:
        return None
    home = cache / "content" / index.content
    path = home / index.file if index.file else home
    return path if path.exists() else None


def read_index(path: Path) -> Index | None:
    """What is noted of an address; ``None`` when nothing is, or it is not understood."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Index)
    except (OSError, msgspec.MsgspecError):
        return None


def keep(cache: Path, uri: str, key: str, directory: Path, file: str = "") -> Path:
    """Move a whole download to where its content belongs, and note it."""
    content = _content_hash(directory)
    home = cache / "content" / content
    home.parent.mkdir(parents=True, exist_ok=True)
    index = cache / "index" / digest(uri)
    index.parent.mkdir(parents=True, exist_ok=True)
    with keeping(cache):
        try:
            directory.rename(home)
        except OSError:
            if not home.is_dir():
                raise
            # The same content under another address, or fetched by another process: one copy is enough.
        before = read_index(index)
        if before is not None and before.content != content:
            # Somebody may still be about to use it: its age counts from now on.
            with contextlib.suppress(OSError):
                os.utime(cache / "content" / before.content)
        note = msgspec.json.encode(Index(uri=remotes.shown(uri), key=key, content=content, file=file))
        write_atomic(index, note)
    return home / file if file else home


def digest(uri: str) -> str:
    """The name an address has in a cache."""
    return hashlib.sha256(uri.encode()).hexdigest()


def new_directory(path: Path) -> Path:
    """Make a directory that is not there, and those above it."""
    path.mkdir(parents=True)
    return path


@contextlib.contextmanager
def partial(cache: Path) -> Iterator[Path]:
    """A directory that is gone afterwards; what processes that were killed left is removed first."""
    home = cache / "partial"
    home.mkdir(parents=True, exist_ok=True)
    for left in home.iterdir():
        with contextlib.suppress(OSError), locks.holding(left / "held", wait=False) as is_left:
            if is_left:
                shutil.rmtree(left, ignore_errors=True)
    with contextlib.ExitStack() as held:
        while True:
            path = Path(tempfile.mkdtemp(dir=home))
            # Between the two steps another process may take it for what somebody left.
            with contextlib.suppress(FileNotFoundError):
                held.enter_context(locks.holding(path / "held"))
                break
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def locked(cache: Path, uri: str) -> Iterator[None]:
    """One fetch of an address at a time, over processes; the system lets go when a process dies."""
    with locks.holding(_locks(cache) / digest(uri)):
        yield


@contextlib.contextmanager
def keeping(cache: Path) -> Iterator[None]:
    """What contents there are, and what addresses they have, is changed by one process at a time."""
    with locks.holding(_locks(cache) / "keeping"):
        yield


@contextlib.contextmanager
def using(cache: Path, name: str) -> Iterator[None]:
    """What an address or a content is called by stays while this is held; ``name`` is its digest."""
    with locks.holding(used(cache, name), shared=True):
        yield


def used(cache: Path, name: str) -> Path:
    """The file that is locked by who uses an address or a content; its directory is there."""
    return _locks(cache) / f"{name}.used"


def _locks(cache: Path) -> Path:
    home = cache / "locks"
    home.mkdir(parents=True, exist_ok=True)
    return home


def _content_hash(directory: Path) -> str:
    """Of the files' paths and bytes, in order."""
    whole = hashlib.sha256()
    for path in sorted(item for item in directory.rglob("*") if item.is_file()):
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        whole.update(f"{found}  {path.relative_to(directory).as_posix()}\n".encode())
    return whole.hexdigest()
