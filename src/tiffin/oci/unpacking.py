"""Layers to files: tars as images and model artefacts have them, so that nothing lands outside of a directory."""

from __future__ import annotations

import gzip
import shutil
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO

from tiffin.errors import DiskFull, MissingExtra, StorageError

MOST_FILES = 100_000
_CHUNK = 1 << 20
_ZSTD = b"\x28\xb5\x2f\xfd"
_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"
_DAMAGE = (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile)


def opened(file: BinaryIO, what: str) -> IO[bytes]:
    """The tar in a layer, however it is packed; raises MissingExtra for zstd where nothing reads it."""
    magic = file.read(4)
    file.seek(0)
    if magic[:2] == b"\x1f\x8b":
        return gzip.GzipFile(fileobj=file)  # type: ignore[return-value]
    if magic == _ZSTD:
        try:
            import zstandard
        except ImportError as error:
            raise MissingExtra(
                f"{what} is packed with zstd, and zstandard is not installed", hint="pip install zstandard"
            ) from error
        return zstandard.ZstdDecompressor().stream_reader(file)  # type: ignore[no-any-return]
    return file


def unpack(layers: Iterable[tuple[str, Path]], into: Path, *, below: str = "", most_bytes: int) -> int:
    """Write the files of layers, the lowest first, below ``into``; a later layer replaces and takes away.

    Args:
        layers: what each is called in messages, and its file.
        into: a directory that exists.
        below: only what is in this directory of the layers, without it.
        most_bytes: of all files together.

    Returns:
        How many files were written.

    Raises:
        StorageError: a layer is damaged, larger than allowed, or holds links or names that lead out.
        DiskFull: there is no room.
    """
    count, room = 0, most_bytes
    for what, path in layers:
        try:
            with (
                path.open("rb") as file,
                opened(file, what) as stream,
                tarfile.open(fileobj=stream, mode="r|") as archive,
            ):
                for member, relative in _members(archive, what, below):
                    if relative.name.startswith(_WHITEOUT):
                        _take_away(into, relative)
                        continue
                    count += 1
                    if count > MOST_FILES:
                        raise StorageError(f"{what} holds more than {MOST_FILES:,} files")
                    room -= member.size
                    if room < 0:
                        raise StorageError(
                            f"the files of {what} have more than {most_bytes:,} bytes, which is all the room",
                            hint="make room on the disk",
                        )
                    _write(archive, member, into / relative, what)
        except _DAMAGE as error:
            raise StorageError(f"{what} cannot be unpacked: {error}", hint="push it again") from error
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise StorageError(f"{what} holds two things of one name: {error.filename}") from error
    return count


def _members(archive: tarfile.TarFile, what: str, below: str) -> Iterator[tuple[tarfile.TarInfo, PurePosixPath]]:
    for member in archive:
        path = PurePosixPath(member.name.lstrip("/") if below else member.name)
        if path.is_absolute() or ".." in path.parts or "\\" in member.name:
            raise StorageError(f"{what} holds a file that would land outside of its directory: {member.name!r}")
        if below:
            if not path.is_relative_to(below):
                continue
            path = path.relative_to(below)
        if member.isdir() or not path.parts:
            continue
        if not member.isreg():
            kind = "link" if member.issym() or member.islnk() else "device"
            raise StorageError(
                f"{what} holds a {kind}, {member.name!r}, which is not unpacked",
                hint="pack the files themselves instead of links to them",
            )
        yield member, path


def _take_away(into: Path, path: PurePosixPath) -> None:
    where = into / path.parent if path.name == _OPAQUE else into / path.parent / path.name[len(_WHITEOUT) :]
    if where.is_dir():
        shutil.rmtree(where)
        if path.name == _OPAQUE:
            where.mkdir()
    else:
        where.unlink(missing_ok=True)


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path, what: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    source = archive.extractfile(member)
    assert source is not None
    target.unlink(missing_ok=True)
    try:
        with target.open("xb") as file:
            shutil.copyfileobj(source, file, _CHUNK)
    except OSError as error:
        if isinstance(error, FileExistsError):
            raise
        raise DiskFull(f"{error.strerror} while {what} is unpacked", hint="make room on the disk") from error
    target.chmod(0o755 if member.mode & 0o100 else 0o644)
