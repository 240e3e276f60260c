"""Images as one file: the tar of an OCI layout, and what ``docker save`` writes and ``docker load`` reads.

What is written is both: a layout whose ``manifest.json`` says the same in Docker's words. Nothing of an archive is
unpacked by the names it uses; a blob is kept under the digest that it has.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Literal

import msgspec

from tiffin.errors import ImageError, StorageError
from tiffin.oci.layout import REF_NAME, Layout
from tiffin.oci.records import (
    IMAGE_CONFIG,
    INDEX,
    LAYER_GZIP,
    MANIFEST,
    Descriptor,
    Index,
    Manifest,
    encode,
)

Form = Literal["oci", "docker"]
_LARGEST_RECORD = 32 << 20
_CHUNK = 1 << 20
_BLOB = re.compile(r"blobs/sha256/([0-9a-f]{64})")


# -- out


def export(layout: Layout, descriptor: Descriptor, file: Path, *, name: str, form: Form) -> None:
    """Write an image as one file, which appears whole or not at all; equal images are equal bytes.

    Args:
        layout: has the image.
        descriptor: its manifest, or an index of several platforms (``oci`` only).
        file: replaced when it exists.
        name: ``repository:tag``, kept in the archive.
        form: ``oci`` alone, or with what ``docker load`` of older engines needs.

    Raises:
        ImageError: a blob is missing or corrupted, or Docker's form has no room for several platforms.
        StorageError: the file cannot be written.
    """
    if form == "docker" and descriptor.media_type != MANIFEST:
        raise ImageError(
            "expected one platform for docker's archive, found an index of several",
            hint="write an OCI archive (--format oci), or choose one --platform",
        )
    records = {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "index.json": encode(_index(descriptor, name)),
    }
    if form == "docker":
        manifest = layout.read_manifest(descriptor)
        records["manifest.json"] = msgspec.json.encode(
            [
                {
                    "Config": _inside(manifest.config.digest),
                    "RepoTags": [name],
                    "Layers": [_inside(layer.digest) for layer in manifest.layers],
                }
            ]
        )
    blobs = sorted(layout.closure(descriptor), key=lambda one: one.digest)
    for blob in blobs:
        layout.verify(blob)
    try:
        with _replacing(file) as out, tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for path in ("blobs", "blobs/sha256"):
                archive.addfile(_header(path, 0, tarfile.DIRTYPE))
            for blob in blobs:
                with layout.path(blob.digest).open("rb") as source:
                    archive.addfile(_header(_inside(blob.digest), blob.size), source)
            for path, data in sorted(records.items()):
                archive.addfile(_header(path, len(data)), io.BytesIO(data))
    except OSError as error:
        raise StorageError(f"cannot write {file}: {error.strerror or error}") from error


def _index(descriptor: Descriptor, name: str) -> Index:
    # containerd reads the whole name, skopeo and podman the annotation of OCI.
    annotations = {REF_NAME: name, "io.containerd.image.name": name}
    named = msgspec.structs.replace(descriptor, annotations={**descriptor.annotations, **annotations})
    return Index(schema_version=2, media_type=INDEX, manifests=[named])


def _inside(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _header(path: str, size: int, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    header = tarfile.TarInfo(path)
    header.type, header.size = kind, size
    header.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    return header


@contextlib.contextmanager
def _replacing(file: Path) -> Iterator[IO[bytes]]:
    handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(handle, "wb") as out:
            yield out
        os.chmod(temporary, 0o644)
        os.replace(temporary, file)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


# -- in


def read(file: Path, layout: Layout, *, name: str = "") -> Descriptor:
    """Bring an image of an archive into a layout: that of ``name``, or the only one there is.

    Layers of Docker's that are not packed are packed with gzip.

    Raises:
        ImageError: it is no such archive, holds another image, or a blob is not what its digest says.
    """
    try:
        with tarfile.open(file) as archive:
            listed = {one.name.removeprefix("./"): one for one in archive if not one.isdir()}
            if "oci-layout" in listed:
                return _read_oci(archive, listed, layout, name, str(file))
            if "manifest.json" in listed:
                return _read_docker(archive, listed, layout, name, str(file))
    except (tarfile.TarError, EOFError, zlib.error, KeyError) as error:
        raise ImageError(f"expected the archive of an image: {error}", at=str(file)) from error
    except OSError as error:
        raise ImageError(f"cannot read it: {error.strerror or error}", at=str(file)) from error
    raise ImageError(
        "expected the archive of an image, found neither oci-layout nor manifest.json in it",
        hint="`docker save` and `skopeo copy ... oci-archive:FILE` write one",
        at=str(file),
    )


_Listed = dict[str, tarfile.TarInfo]


def _read_oci(archive: tarfile.TarFile, listed: _Listed, layout: Layout, name: str, at: str) -> Descriptor:
    # Blobs into a layout of their own first: what is not what it says it is never reaches the other.
    with tempfile.TemporaryDirectory(prefix=".import-", dir=_made(layout.root)) as place:
        held = Layout(Path(place))
        for path, one in listed.items():
            if (matched := _BLOB.fullmatch(path)) and one.isreg():
                with held.writing() as out:
                    shutil.copyfileobj(_opened(archive, one), out, _CHUNK)
                    out.flush()
                    kept = held.place(Path(out.name), "application/octet-stream", move=True)
                if kept.digest != f"sha256:{matched[1]}":
                    raise ImageError(
                        f"the blob sha256:{matched[1]} is corrupted: its content is {kept.digest}", at=at
                    )
        (held.root / "index.json").write_bytes(_record(archive, listed, "index.json", at))
        found = held.find(name)
        held.copy_to(layout, found)
    return msgspec.structs.replace(found, annotations={})


def _made(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


class _Saved(msgspec.Struct, frozen=True):
    """One image of docker's ``manifest.json``."""

    Config: str
    Layers: list[str]
    RepoTags: list[str] | None = None


def _read_docker(archive: tarfile.TarFile, listed: _Listed, layout: Layout, name: str, at: str) -> Descriptor:
    try:
        saved = msgspec.json.decode(_record(archive, listed, "manifest.json", at), type=list[_Saved])
    except msgspec.DecodeError as error:
        raise ImageError(f"expected docker's list of images in manifest.json: {error}", at=at) from error
    matching = [one for one in saved if not name or name in (one.RepoTags or ())]
    if len(matching) != 1:
        there = ", ".join(tag for one in saved for tag in one.RepoTags or ()) or "none with a tag"
        raise ImageError(
            f"expected {f'the image {name!r}' if name else 'one image'} in the archive, found {len(matching)}"
            f" ({there})",
            hint="name one: docker-archive:FILE:NAME",
            at=at,
        )
    config = layout.write(_record(archive, listed, matching[0].Config, at), IMAGE_CONFIG)
    layers = [_layer(archive, listed, path, layout, at) for path in matching[0].Layers]
    return layout.write_record(Manifest(schema_version=2, media_type=MANIFEST, config=config, layers=layers))


def _layer(archive: tarfile.TarFile, listed: _Listed, path: str, layout: Layout, at: str) -> Descriptor:
    if path not in listed:
        raise ImageError(f"expected the layer {path}, found none", at=at)
    source = _opened(archive, listed[path])
    start = source.read(512)
    is_packed, is_tar = start[:2] == b"\x1f\x8b", start[257:262] == b"ustar"
    if not (is_packed or is_tar or not start.strip(b"\0")):
        raise ImageError(f"expected a layer at {path}, found something else", at=at)
    packer = None if is_packed else zlib.compressobj(6, zlib.DEFLATED, 31)
    with layout.writing() as out:
        while start:
            out.write(packer.compress(start) if packer else start)
            start = source.read(_CHUNK)
        if packer:
            out.write(packer.flush())
        out.flush()
        return layout.place(Path(out.name), LAYER_GZIP, move=True)


def _opened(archive: tarfile.TarFile, one: tarfile.TarInfo) -> IO[bytes]:
    # Older archives hold a layer that two images share once, and a link to it: tarfile follows it inside.
    found = archive.extractfile(one)
    if found is None:
        raise ImageError(f"expected a file in the archive at {one.name}, found something else")
    return found


def _record(archive: tarfile.TarFile, listed: _Listed, path: str, at: str) -> bytes:
    if path not in listed:
        raise ImageError(f"expected {path} in the archive, found none", at=at)
    if listed[path].size > _LARGEST_RECORD:
        raise ImageError(f"{path} has {listed[path].size} bytes, which no record has", at=at)
    return _opened(archive, listed[path]).read()
