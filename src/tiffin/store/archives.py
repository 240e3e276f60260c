"""Archives of trees: written the same for the same tree, and unpacked so that nothing lands outside.

The ending says the format: ``.tiffin``, ``.bento`` and the like are tar.xz; ``.tar``, ``.tar.gz``, ``.tar.xz``,
``.tar.bz2`` and ``.zip`` are themselves; anything else is a directory.
"""

from __future__ import annotations

import errno
import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

from tiffin.errors import AuthorError, DiskFull
from tiffin.store import files

OWN = (".tiffin", ".tiffinmodel", ".bento", ".bentomodel")
_TAR = {".tar": "", ".tar.gz": "gz", ".tgz": "gz", ".gz": "gz", ".tar.xz": "xz", ".xz": "xz",
        ".tar.bz2": "bz2", ".bz2": "bz2", **dict.fromkeys(OWN, "xz")}  # fmt: skip
MAX_BYTES = 256 << 30
MAX_MEMBERS = 200_000
MAX_RATIO = 2_000
"""What is packed here compresses by less; an archive that grows by more is made to fill a disk."""
_RATIO_COUNTS_FROM = 256 << 20
_CHUNK = 1 << 20
_EPOCH = (1980, 1, 1, 0, 0, 0)
_DAMAGE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, OSError)


def is_archive(name: str) -> bool:
    """Whether a name has the ending of an archive."""
    return _compression(name) is not None or name.lower().endswith(".zip")


def pack(tree: Path, out: Path) -> None:
    """Write a tree into an archive, or copy it to a directory that does not exist yet.

    Members are sorted; times, owners and the bits of modes beside "executable" are left out. The archive appears
    under its name when it is whole.
    """
    if not is_archive(out.name):
        shutil.copytree(tree, out, symlinks=True)
        return
    unfinished = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        if out.name.lower().endswith(".zip"):
            _pack_zip(tree, unfinished)
        else:
            _pack_tar(tree, unfinished, _compression(out.name) or "")
        os.replace(unfinished, out)
    finally:
        unfinished.unlink(missing_ok=True)


def unpack(archive: Path, into: Path, error: type[AuthorError]) -> None:
    """Write an archive's files below ``into``, which is made.

    Raises:
        AuthorError: it is damaged or grows too large, or holds a device, an absolute path, or a path or link that
            leads out; of the class ``error``, and the member is named.
        DiskFull: there is no room.
    """
    into.mkdir(parents=True)
    room = min(MAX_BYTES, max(_RATIO_COUNTS_FROM, archive.stat().st_size * MAX_RATIO))
    members = _zip_members if zipfile.is_zipfile(archive) else _tar_members
    links: list[tuple[Path, str, str]] = []
    try:
        for count, (name, link, is_executable, source) in enumerate(members(archive, error)):
            if count >= MAX_MEMBERS:
                raise error(f"{archive.name} holds more than {MAX_MEMBERS} files")
            place = into.joinpath(*_parts(archive, name, error))
            place.parent.mkdir(parents=True, exist_ok=True)
            if link:
                links.append((place, name, link))
                continue
            assert source is not None
            room -= _write(archive, source, place, room, error)
            place.chmod(0o755 if is_executable else 0o644)
    except _DAMAGE as failure:
        if isinstance(failure, OSError) and failure.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(f"there is no room to unpack {archive.name}", hint="make room on the disk") from failure
        if isinstance(failure, FileExistsError | NotADirectoryError | IsADirectoryError):
            raise error(f"{archive.name} holds two things of one name: {failure.filename}") from failure
        raise error(
            f"{archive.name} cannot be unpacked: {failure}", hint="it may be cut off: copy or export it again"
        ) from failure
    # Links come last: nothing is ever written through one.
    for place, name, link in links:
        target = os.path.normpath(PurePosixPath(name).parent / link)
        if os.path.isabs(link) or target.startswith("..") or "\\" in link:
            raise error(f"{archive.name} holds a link that leads out of it: {name} -> {link}")
        if os.path.lexists(place):
            raise error(f"{archive.name} holds two things of one name: {name}")
        place.symlink_to(link)


def _compression(name: str) -> str | None:
    lower = name.lower()
    endings = sorted((ending for ending in _TAR if lower.endswith(ending)), key=len)
    return _TAR[endings[-1]] if endings else None


def _parts(archive: Path, name: str, error: type[AuthorError]) -> tuple[str, ...]:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\\" in name or "\0" in name:
        raise error(f"{archive.name} holds a file that would land outside of its directory: {name!r}")
    return path.parts


_Member = tuple[str, str, bool, IO[bytes] | None]
"""Name, where a link leads, whether it is executable, and what reads it."""


def _tar_members(archive: Path, error: type[AuthorError]) -> Iterator[_Member]:
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.isdir():
                _parts_of_directory(archive, member.name, error)
            elif member.issym():
                yield member.name, member.linkname, False, None
            elif member.isreg():
                yield member.name, "", bool(member.mode & stat.S_IXUSR), tar.extractfile(member)
            else:
                kind = "hard link" if member.islnk() else "device or pipe"
                raise error(f"{archive.name} holds a {kind}, {member.name!r}, which is not unpacked")


def _parts_of_directory(archive: Path, name: str, error: type[AuthorError]) -> None:
    if PurePosixPath(name).parts:
        _parts(archive, name, error)


def _zip_members(archive: Path, error: type[AuthorError]) -> Iterator[_Member]:
    with zipfile.ZipFile(archive) as packed:
        for member in packed.infolist():
            mode = member.external_attr >> 16
            if member.is_dir():
                _parts(archive, member.filename, error)
            elif stat.S_ISLNK(mode):
                with packed.open(member) as source:
                    yield member.filename, source.read(4096).decode("utf-8", "replace"), False, None
            elif mode and stat.S_IFMT(mode) and not stat.S_ISREG(mode):
                raise error(f"{archive.name} holds a device or pipe, {member.filename!r}, which is not unpacked")
            else:
                yield member.filename, "", bool(mode & stat.S_IXUSR), packed.open(member)


def _write(archive: Path, source: IO[bytes], place: Path, room: int, error: type[AuthorError]) -> int:
    written = 0
    with source, place.open("xb") as out:
        while chunk := source.read(_CHUNK):
            written += len(chunk)
            if written > room:
                raise error(
                    f"{archive.name} grows too large when unpacked ({place.name})",
                    hint="when you trust it, unpack it yourself and import the directory",
                )
            out.write(chunk)
    return written


def _pack_tar(tree: Path, out: Path, compression: str) -> None:
    # gzip writes a time and a name into its head, which tarfile fills in.
    options: dict[str, Any] = {"preset": 6} if compression == "xz" else {}
    if compression == "gz":
        import gzip

        with (
            out.open("wb") as file,
            gzip.GzipFile("", "wb", 6, file, mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
        ):
            _add_all(tree, tar)
        return
    with tarfile.open(out, f"w:{compression}", format=tarfile.PAX_FORMAT, **options) as tar:  # type: ignore[call-overload]
        _add_all(tree, tar)


def _add_all(tree: Path, tar: tarfile.TarFile) -> None:
    for name in sorted(files.walk(tree)):
        full = tree / name
        member = tarfile.TarInfo(name)
        if full.is_symlink():
            member.type, member.linkname, member.mode = tarfile.SYMTYPE, os.readlink(full), 0o777
            tar.addfile(member)
            continue
        state = full.stat()
        member.size, member.mode = state.st_size, 0o755 if state.st_mode & stat.S_IXUSR else 0o644
        with full.open("rb") as source:
            tar.addfile(member, source)


def _pack_zip(tree: Path, out: Path) -> None:
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as packed:
        for name in sorted(files.walk(tree)):
            full = tree / name
            member = zipfile.ZipInfo(name, _EPOCH)
            member.create_system = 3
            member.compress_type = zipfile.ZIP_DEFLATED
            if full.is_symlink():
                member.external_attr = (stat.S_IFLNK | 0o777) << 16
                packed.writestr(member, os.readlink(full))
                continue
            mode = 0o755 if full.stat().st_mode & stat.S_IXUSR else 0o644
            member.external_attr = (stat.S_IFREG | mode) << 16
            with full.open("rb") as source, packed.open(member, "w", force_zip64=True) as target:
                shutil.copyfileobj(source, target, _CHUNK)
