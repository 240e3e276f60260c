"""What a base image has that the layers on top of it must fit: its Python, its C library, its accounts."""

from __future__ import annotations

import re
import tarfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO, BinaryIO

import msgspec

from tiffin.errors import ImageError, MissingExtra
from tiffin.image.platforms import Libc
from tiffin.oci.records import Descriptor

_PYTHON = re.compile(r"(?:.*/)?bin/python3\.(\d{1,2})")
_GLIBC_FILE = re.compile(r"(?:.*/)?libc-2\.(\d+)\.so")
_GLIBC = re.compile(rb"GNU C Library[^\n]*version (\d+)\.(\d+)")
_MUSL = re.compile(r"(?:.*/)?ld-musl-[a-z0-9_]+\.so\.1")
_TEXTS = ("etc/passwd", "etc/group", "etc/os-release", "usr/lib/os-release", "var/lib/dpkg/status")
_PACKAGES = re.compile(r"var/lib/dpkg/status\.d/[^/.]+")
_LARGEST = 64 << 20
_BEST = ("usr/local/bin/", "opt/", "usr/bin/", "bin/")
_ZSTD = b"\x28\xb5\x2f\xfd"


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What was found in the layers of a base.

    Attributes:
        pythons: where each version is (``{"3.11": "/usr/local/bin/python3.11"}``).
        libc: the C library; None when there is none.
        texts: accounts, release and package list, by path; as they are in the uppermost layer that has them.
        paths: the uppermost layer's word on ``lib``, ``bin`` and ``sbin``: where such a link leads.
    """

    pythons: dict[str, str] = {}
    libc: Libc | None = None
    texts: dict[str, str] = {}
    paths: dict[str, str] = {}

    @property
    def release(self) -> dict[str, str]:
        """``/etc/os-release`` as a table."""
        text = self.texts.get("etc/os-release") or self.texts.get("usr/lib/os-release", "")
        pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
        return {key.strip(): value.strip().strip("\"'") for key, _, value in pairs}


class _Seen:
    def __init__(self) -> None:
        self.pythons: set[str] = set()
        self.libcs: dict[str, Libc] = {}
        self.texts: dict[str, str] = {}
        self.paths: dict[str, str] = {}

    def take(self, archive: tarfile.TarFile, one: tarfile.TarInfo) -> None:
        path = one.name.removeprefix("./").strip("/")
        parent, _, name = path.rpartition("/")
        if name.startswith(".wh."):
            self._forget(parent if name == ".wh..wh..opq" else f"{parent}/{name[4:]}".strip("/"))
        elif _PYTHON.fullmatch(path):
            self.pythons.add(path)
        elif path in _TEXTS or _PACKAGES.fullmatch(path):
            if one.isreg():
                self.texts[path] = _content(archive, one).decode("utf-8", "replace")
        elif path in ("lib", "lib64", "bin", "sbin") and one.issym():
            self.paths[path] = one.linkname
        elif name == "libc.so.6" and one.isreg():
            if found := _GLIBC.search(_content(archive, one)):
                self.libcs[path] = Libc("glibc", int(found[1]), int(found[2]))
        elif matched := _GLIBC_FILE.fullmatch(path):
            self.libcs[path] = Libc("glibc", 2, int(matched[1]))
        elif _MUSL.fullmatch(path) and one.isreg():
            self.libcs[path] = Libc("musl", 1, 2 if b"\x001.2." in _content(archive, one) else 1)

    def _forget(self, path: str) -> None:
        """A layer takes away what layers below it have."""
        inside = f"{path}/" if path else ""

        def stays(held: str) -> bool:
            return held != path and not held.startswith(inside)

        self.pythons = {held for held in self.pythons if stays(held)}
        self.libcs = {held: value for held, value in self.libcs.items() if stays(held)}
        self.texts = {held: value for held, value in self.texts.items() if stays(held)}


def look(layers: Iterable[tuple[Descriptor, Path]]) -> Look:
    """Read the layers of a base, the lowest first.

    Raises:
        ImageError: a layer is no tar.
        MissingExtra: a layer is packed with zstd, and the library for it is not installed.
    """
    seen = _Seen()
    for descriptor, path in layers:
        try:
            with (
                path.open("rb") as file,
                opened(file) as stream,
                tarfile.open(fileobj=stream, mode="r|") as archive,
            ):
                for one in archive:
                    seen.take(archive, one)
        except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
            raise ImageError(f"cannot read the layer {descriptor.digest} of the base: {error}") from error
    pythons: dict[str, str] = {}
    for found in sorted(seen.pythons, key=_preference):
        pythons.setdefault(found.rpartition("python")[2], f"/{found}")
    libcs = list(seen.libcs.values())
    return Look(pythons=pythons, libc=libcs[0] if libcs else None, texts=seen.texts, paths=seen.paths)


def opened(file: BinaryIO) -> IO[bytes]:
    """A layer's tar, however it is packed."""
    magic = file.read(4)
    file.seek(0)
    if magic[:2] == b"\x1f\x8b":
        import gzip

        return gzip.GzipFile(fileobj=file)  # type: ignore[return-value]
    if magic == _ZSTD:
        try:
            import zstandard
        except ImportError as error:
            raise MissingExtra(
                "a layer of the base is packed with zstd, and zstandard is not installed",
                hint="pip install zstandard",
            ) from error
        return zstandard.ZstdDecompressor().stream_reader(file)  # type: ignore[no-any-return]
    return file


def _preference(path: str) -> tuple[int, str]:
    ranks = (rank for rank, start in enumerate(_BEST) if path.startswith(start))
    return next(ranks, len(_BEST)), path


def _content(archive: tarfile.TarFile, one: tarfile.TarInfo) -> bytes:
    if one.size > _LARGEST:
        raise ImageError(f"/{one.name} of the base has {one.size} bytes, which it cannot")
    stream = archive.extractfile(one)
    return stream.read() if stream is not None else b""
