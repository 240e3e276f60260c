"""Files by content: the record of one, and whether a directory still holds what was recorded."""

from __future__ import annotations

import hashlib
import itertools
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath

import msgspec

from tiffin.errors import AuthorError, BundleError

_CHUNK = 1 << 20


class File(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A file of a tree by its path (with ``/``): content's sha256, or where a symbolic link leads."""

    path: str
    sha256: str = ""
    size: int = 0
    executable: bool = False
    link: str = ""


def sha256_of(path: Path) -> tuple[str, int]:
    """The digest and size of a file."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return digest.hexdigest(), size


def copy(origin: Path, place: Path, progress: Callable[[int], None] | None = None) -> str:
    """Copy a file's content to a new place; the sha256 of what was copied. ``progress`` gets bytes as they go."""
    digest = hashlib.sha256()
    with origin.open("rb") as source, place.open("xb") as made:
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
            made.write(chunk)
            if progress is not None:
                progress(len(chunk))
    return digest.hexdigest()


def record(root: Path, path: str, error: type[AuthorError] = BundleError) -> File:
    """The record of one file below ``root``.

    Raises:
        AuthorError: it is neither a file nor a link, or cannot be read; of the class ``error``.
    """
    full = root / path
    mode = full.lstat().st_mode
    if stat.S_ISLNK(mode):
        return File(path=path, link=os.readlink(full))
    if not stat.S_ISREG(mode):
        raise error("expected a file, found a socket, pipe or device", at=str(full))
    try:
        digest, size = sha256_of(full)
    except OSError as failure:
        raise error(f"cannot read it: {failure.strerror}", at=str(full)) from failure
    return File(path=path, sha256=digest, size=size, executable=bool(mode & stat.S_IXUSR))


def walk(root: Path) -> Iterator[str]:
    """Every file and link below ``root`` by its path with ``/``; links are not followed."""
    for directory, directories, files in os.walk(root):
        here = Path(directory)
        links = [name for name in directories if (here / name).is_symlink()]
        directories[:] = [name for name in directories if name not in links]
        yield from ((here / name).relative_to(root).as_posix() for name in files + links)


def difference(root: Path, files: Iterable[File]) -> tuple[str, str] | None:
    """The first path at which a directory is not what was recorded, and how; None when it is."""
    expected = {file.path: file for file in files}
    for path in walk(root):
        file = expected.pop(path, None)
        if file is None:
            return path, "is not part of it"
        full = root / path
        is_link = full.is_symlink()
        if is_link != bool(file.link) or (is_link and os.readlink(full) != file.link):
            return path, "is not the link it was"
        if not is_link and sha256_of(full) != (file.sha256, file.size):
            return path, "has changed"
        if not is_link and bool(full.stat().st_mode & stat.S_IXUSR) != file.executable:
            return path, "has another mode"
    return (min(expected), "is missing") if expected else None


def check_paths(files: Iterable[File], error: type[AuthorError] = BundleError) -> None:
    """Raise when a recorded path, or a link, leads out of the tree or to nothing in it."""
    listed = list(files)
    for file in listed:
        parts = PurePosixPath(file.path).parts
        if not parts or ".." in parts or os.path.isabs(file.path) or "\\" in file.path or "\0" in file.path:
            raise error(f"expected a path inside the tree, found {file.path!r}")
    present = {file.path for file in listed}
    if len(present) != len(listed):
        raise error("expected every path once, found one twice")
    present |= {str(parent) for path in list(present) for parent in PurePosixPath(path).parents}
    for file in listed:
        if not file.link:
            continue
        leads_to = os.path.normpath(PurePosixPath(file.path).parent / file.link)
        # Behind a name that is itself a link, ".." would lead somewhere else than it reads.
        parts_of_link = list(itertools.dropwhile("..".__eq__, PurePosixPath(file.link).parts))
        if os.path.isabs(file.link) or ".." in parts_of_link or leads_to not in present:
            raise error(
                f"expected a link to something in the bundle, found one to {file.link}",
                hint="exclude it, or put the file itself there",
                at=file.path,
            )
    _check_loops({file.path: file.link for file in listed if file.link}, error)


def _check_loops(links: dict[str, str], error: type[AuthorError]) -> None:
    """A link that comes back to itself leads nowhere; one to a directory around it never ends."""
    for start in links:
        seen, here = {start}, start
        while here in links:
            here = os.path.normpath(PurePosixPath(here).parent / links[here])
            if here in seen or PurePosixPath(start).is_relative_to(here) or here == ".":
                raise error(
                    f"expected a link that leads to a file, found a loop through {here}",
                    hint="exclude it, or put the file itself there",
                    at=start,
                )
            seen.add(here)
