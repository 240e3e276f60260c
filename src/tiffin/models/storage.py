"""From an artefact's address to a local path: used in place, or downloaded once and kept by content.

A second fetch lists the address again: unchanged means no download, changed means new content next to the old.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import threading
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from tiffin.errors import ModelError, StorageError
from tiffin.models import archives, contents, registries, remotes, transfers

log = logging.getLogger(__name__)


class Progress(msgspec.Struct, frozen=True):
    """How far a download is, in bytes; ``total`` is None when the server does not say."""

    uri: str
    done: int
    total: int | None


def fetch(
    uri: str,
    *,
    base: Path,
    cache: Path,
    progress: Callable[[Progress], None] | None = None,
    credentials: Mapping[str, str] | None = None,
    room: Callable[[int], None] | None = None,
) -> Path:
    """The local file or directory that ``uri`` names; blocking.

    Args:
        uri: a path (relative ones start from ``base``), ``file://``, ``https://``, ``s3://``, ``gs://``, ``hf://``,
            ``model://name:version`` of the model store beside the cache, or another scheme fsspec knows. Archives
            are unpacked.
        base: an absolute directory.
        cache: where downloads are kept; made when needed. Local files are used in place.
        progress: called as bytes arrive, from a thread of the downloader's.
        credentials: variables that stand above the environment's (``AWS_ACCESS_KEY_ID``, ``HF_TOKEN`` ...), for
            this fetch alone; never shown.
        room: called before a download with the bytes that it needs in the cache, where they are known.

    Raises:
        StorageError: it does not exist, cannot be reached or read, or the disk is full.
        MissingExtra: the package for its scheme is not installed.
    """
    remotes.refuse_unsupported(uri)
    scheme = remotes.scheme_of(uri)
    with remotes.told(uri):
        if scheme in ("", "file"):
            return _local(uri, _local_path(uri, base), cache)
        if scheme == "model":
            return _stored(uri, cache.parent / "models")
        environment = {**os.environ, **(credentials or {})}
        with contents.locked(cache, uri):
            if scheme in registries.SCHEMES:
                return _artefact(uri, cache, progress or _quiet, environment, room or _plenty)
            return _remote(uri, cache, progress or _quiet, environment, room or _plenty)


def copied(path: Path, beside: Sequence[Path], *, cache: Path) -> tuple[Path, list[Path]]:
    """A copy of a local file or directory that never changes, and of files that lie beside it.

    Returns:
        The copy, and the others in their order; those inside of ``path`` are where they are in the copy.

    Raises:
        StorageError: it cannot be read, or the disk is full.
    """
    with remotes.told(str(path)), contents.partial(cache) as partial:
        whole = contents.new_directory(partial / "copy")
        inside = [one.relative_to(path) for one in beside if path.is_dir() and one.is_relative_to(path)]
        if path.is_dir():
            shutil.copytree(path, whole / "content", symlinks=False, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            contents.new_directory(whole / "content")
            shutil.copy2(path, whole / "content" / path.name)
        outside = [one for one in beside if not (path.is_dir() and one.is_relative_to(path))]
        for number, one in enumerate(outside):
            shutil.copy2(one, contents.new_directory(whole / "beside" / str(number)) / one.name)
        kept = contents.keep(cache, f"copy of {path}", "", whole)
    content = kept / "content" if path.is_dir() else kept / "content" / path.name
    return content, [
        *(kept / "content" / one for one in inside),
        *(kept / "beside" / str(number) / one.name for number, one in enumerate(outside)),
    ]


def _stored(uri: str, root: Path) -> Path:
    """The files of a stored model, compared with its manifest first; of BentoML's store, as they are."""
    from tiffin.store import bentoml
    from tiffin.store.models import ModelStore

    name = uri.partition("://")[2].strip("/")
    try:
        path = ModelStore(root).get(name).path
    except ModelError as error:
        found = bentoml.find("models", name)
        if found is None or not error.message.startswith("there is no model"):
            raise
        path = found.path
    # What frameworks' save_model wrote is one file of this name; its author's other objects lie beside it.
    saved = [file for file in path.glob("saved_model.*") if file.is_file()]
    return saved[0] if len(saved) == 1 else path


def _quiet(progress: Progress) -> None:
    """Nobody looks."""


def _plenty(needed: int) -> None:
    """Nobody makes room."""


def _local_path(uri: str, base: Path) -> Path:
    if remotes.scheme_of(uri) != "file":
        return base / Path(uri).expanduser()
    parts = urllib.parse.urlsplit(uri)
    if parts.netloc not in ("", "localhost"):
        raise StorageError(
            f"expected file:///absolute/path, found {uri}",
            hint=f"for a relative path leave file:// out: {uri[7:]}",
        )
    return Path(urllib.parse.unquote(parts.path))


def _local(uri: str, path: Path, cache: Path) -> Path:
    if not path.exists():
        wrong = f"there is no file or directory {path}"
        hint = "a path in a file starts from that file's directory"
        if path.is_absolute() and str(path).startswith("/mnt/"):
            hint = "this is a path inside of a container: name the place on this machine"
        raise StorageError(wrong, hint=hint)
    if not os.access(path, os.R_OK):
        raise StorageError(f"there is no permission to read {path}", hint=f"chmod u+r {path}")
    archive = path if path.is_file() and archives.is_archive(path.name) else _lone_archive(path)
    if archive is None:
        return path
    found = archive.stat()
    key = f"{found.st_size}-{found.st_mtime_ns}-{found.st_ino}"
    with contents.locked(cache, str(archive.resolve())):
        known = contents.known(cache, str(archive.resolve()), key)
        if known is not None:
            return known
        with contents.partial(cache) as partial:
            unpacked = contents.new_directory(partial / "unpacked")
            archives.unpack(archive, unpacked, max_bytes=archives.free_bytes(cache))
            return contents.keep(cache, str(archive.resolve()), key, unpacked)


def _lone_archive(path: Path) -> Path | None:
    """A directory with nothing but one archive in it stands for what is packed there."""
    if not path.is_dir():
        return None
    inside = [item for item in path.iterdir() if not item.name.startswith(".")]
    return inside[0] if len(inside) == 1 and inside[0].is_file() and archives.is_archive(inside[0].name) else None


def _remote(
    uri: str,
    cache: Path,
    progress: Callable[[Progress], None],
    environment: Mapping[str, str],
    room: Callable[[int], None],
) -> Path:
    filesystem = remotes.open_filesystem(uri, environment)
    listed = remotes.entries(filesystem, uri, environment)
    key = _listing_key(listed)
    if key and (known := contents.known(cache, uri, key)) is not None:
        log.debug("%s has not changed", remotes.shown(uri))
        return known
    sizes = [entry.size for entry in listed]
    total = None if None in sizes else sum(size for size in sizes if size is not None)
    if total is not None:
        arrived = transfers.arrived(uri, cache / "arrivals", key)
        room(total - arrived)
        free = archives.free_bytes(cache)
        if total - arrived > free:
            there = f", of which {arrived:,} arrived before" if arrived else ""
            raise StorageError(
                f"{remotes.shown(uri)} has {total:,} bytes{there}, and {free:,} are free in {cache}",
                hint="make room, or set another cache",
            )
    with contents.partial(cache) as partial:
        directory = contents.new_directory(partial / "download")
        transfers.download(
            filesystem,
            uri,
            listed,
            directory,
            arrivals=cache / "arrivals",
            key=key,
            report=_report(uri, total, progress),
        )
        if len(listed) == 1 and archives.is_archive(listed[0].path):
            unpacked = contents.new_directory(partial / "unpacked")
            archives.unpack(directory / listed[0].path, unpacked, max_bytes=archives.free_bytes(cache))
            return contents.keep(cache, uri, key, unpacked)
        is_file = len(listed) == 1 and listed[0].path == remotes.name_of(uri)
        return contents.keep(cache, uri, key, directory, listed[0].path if is_file else "")


def _artefact(
    uri: str,
    cache: Path,
    progress: Callable[[Progress], None],
    environment: Mapping[str, str],
    room: Callable[[int], None],
) -> Path:
    """What a registry has; its digest says whether it changed."""
    found = registries.resolve(uri, environment)
    if (known := contents.known(cache, uri, found.key)) is not None:
        log.debug("%s has not changed", remotes.shown(uri))
        return known
    shown = remotes.shown(uri)
    with contents.partial(cache) as partial:
        directory = contents.new_directory(partial / "download")
        registries.download(
            found,
            directory,
            arrivals=cache / "arrivals",
            progress=lambda done, total: progress(Progress(shown, done, total)),
            room=room,
        )
        return contents.keep(cache, uri, found.key, directory)


def _report(uri: str, total: int | None, progress: Callable[[Progress], None]) -> Callable[[int], None]:
    """Adds up what comes over all files, from several threads."""
    lock, done = threading.Lock(), 0

    def arrived(count: int) -> None:
        nonlocal done
        with lock:
            done += count
            progress(Progress(remotes.shown(uri), done, total))

    arrived(0)
    return arrived


def _listing_key(listed: list[remotes.Entry]) -> str:
    """Changes when the remote content does; empty when the server gives nothing to tell by."""
    if not all(entry.tag for entry in listed):
        return ""
    text = "\n".join(f"{entry.path}\t{entry.size}\t{entry.tag}" for entry in listed)
    return hashlib.sha256(text.encode()).hexdigest()
