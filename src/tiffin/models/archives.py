"""Unpacking ``.tar``, ``.tar.gz``, ``.tgz`` and ``.zip`` so that nothing lands outside of its directory."""

from __future__ import annotations

import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from tiffin.errors import StorageError

ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")

MAX_BYTES = 64 << 30
MAX_FILES = 100_000
MAX_RATIO = 1_000
"""A small archive that grows by more than this is made to fill the disk; weights compress by less than 10."""
_RATIO_COUNTS_FROM = 64 << 20

_CHUNK = 1 << 20

DAMAGE = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError),
    *(RuntimeError, NotImplementedError),  # zipfile, for passwords and unknown compressions
)

Open = Callable[[], IO[bytes] | None]


def is_archive(name: str) -> bool:
    """By the name; what is in it is seen when it is opened."""
    return name.lower().endswith(ENDINGS)


def unpack(archive: Path, into: Path, *, max_bytes: int = MAX_BYTES) -> None:
    """Write the archive's files below ``into``, which exists and is empty.

    Raises:
        StorageError: it is damaged, larger than ``max_bytes`` when unpacked, or holds links, devices, or names
            that lead out of the directory.
    """
    members = _zip_members if archive.name.lower().endswith(".zip") else _tar_members
    room = min(max_bytes, max(_RATIO_COUNTS_FROM, archive.stat().st_size * MAX_RATIO))
    try:
        for count, (name, open_member) in enumerate(members(archive)):
            if count >= MAX_FILES:
                raise StorageError(f"{archive.name} holds more than {MAX_FILES} files")
            target = _place(archive, into, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            room -= _write(archive, open_member, target, room)
    except DAMAGE as error:
        raise StorageError(
            f"{archive.name} cannot be unpacked: {error}", hint="it may be cut off or encrypted: make it again"
        ) from error
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise StorageError(f"{archive.name} holds two things of one name: {error.filename}") from error


def _tar_members(archive: Path) -> Iterator[tuple[str, Open]]:
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.isdir():
                continue
            if not member.isreg():
                kind = "link" if member.issym() or member.islnk() else "device"
                raise StorageError(
                    f"{archive.name} holds a {kind}, {member.name!r}, which is not unpacked",
                    hint="pack the files themselves: tar --dereference --hard-dereference",
                )
            yield member.name, lambda member=member: tar.extractfile(member)  # type: ignore[misc]


def _zip_members(archive: Path) -> Iterator[tuple[str, Open]]:
    with zipfile.ZipFile(archive) as packed:
        for member in packed.infolist():
            if member.is_dir():
                continue
            mode = member.external_attr >> 16
            if mode and not stat.S_ISREG(mode) and stat.S_IFMT(mode):
                raise StorageError(
                    f"{archive.name} holds a link or device, {member.filename!r}, which is not unpacked"
                )
            yield member.filename, lambda member=member: packed.open(member)  # type: ignore[misc]


def _place(archive: Path, into: Path, name: str) -> Path:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name or ":" in path.parts[0]:
        raise StorageError(f"{archive.name} holds a file that would land outside of its directory: {name!r}")
    return into.joinpath(*path.parts)


def _write(archive: Path, open_member: Open, target: Path, room: int) -> int:
    written = 0
    source = open_member()
    if source is None:
        raise StorageError(f"{archive.name} holds something that is no file: {target.name!r}")
    with source, target.open("xb") as out:
        while chunk := source.read(_CHUNK):
            written += len(chunk)
            if written > room:
                raise StorageError(
                    f"{archive.name} grows too large when unpacked",
                    hint="unpack it yourself and name the directory, when you trust it",
                )
            out.write(chunk)
    return written


def free_bytes(path: Path) -> int:
    """Room left on the disk of ``path``."""
    return shutil.disk_usage(path).free
