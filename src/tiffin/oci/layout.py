"""An OCI image layout: a directory with blobs by digest, and an index that names some of them.

    <root>/oci-layout              {"imageLayoutVersion":"1.0.0"}
    <root>/index.json              what is named, by the annotation org.opencontainers.image.ref.name
    <root>/blobs/sha256/<hex>      content; the name is its sha256

A blob appears whole or not at all: it is written beside its place and renamed into it. What is read in one piece
is compared with its digest each time; ``verify`` does it for what is read as a file.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import msgspec

from tiffin.errors import ImageError, StorageError
from tiffin.oci.records import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    INDEX,
    MANIFEST,
    Descriptor,
    Index,
    Manifest,
    digest_of,
    encode,
)

REF_NAME = "org.opencontainers.image.ref.name"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_CHUNK = 1 << 20
_LARGEST_RECORD = 32 << 20
_Record = TypeVar("_Record", Manifest, Index)


class Layout:
    """A layout below ``root``; the directory is made when something is first written.

    Several processes may write at once: blobs are equal by name, and the index changes under a lock.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def exists(self) -> bool:
        """Whether there is a layout here."""
        return (self.root / "oci-layout").is_file()

    # -- blobs

    def path(self, digest: str) -> Path:
        """Where the blob of a digest is, or would be.

        Raises:
            ImageError: it is no sha256 digest.
        """
        if not _DIGEST.fullmatch(digest):
            raise ImageError(f"expected a digest sha256:<64 hexadecimal digits>, found {digest[:100]!r}")
        return self.root / "blobs" / "sha256" / digest.removeprefix("sha256:")

    def has(self, descriptor: Descriptor) -> bool:
        """Whether the blob is there with its size; its content is not read."""
        with contextlib.suppress(OSError):
            return self.path(descriptor.digest).stat().st_size == descriptor.size
        return False

    def blobs(self) -> list[Path]:
        """The files of all blobs, by digest."""
        return sorted((self.root / "blobs" / "sha256").glob("*"))

    def touch(self, descriptor: Descriptor) -> bool:
        """As ``has``, and the blob counts as used just now: pruning leaves it alone for a while."""
        with contextlib.suppress(OSError):
            os.utime(self.path(descriptor.digest))
        return self.has(descriptor)

    def write(self, data: bytes, media_type: str) -> Descriptor:
        """Keep bytes as a blob."""
        found = Descriptor(media_type=media_type, digest=digest_of(data), size=len(data))
        if not self.touch(found):
            with self.writing() as file:
                file.write(data)
                file.flush()
                self.adopt(Path(file.name), found)
        return found

    def write_record(self, record: Manifest | Index) -> Descriptor:
        """Keep a manifest or an index as a blob, in canonical JSON."""
        return self.write(encode(record), record.media_type)

    def place(self, file: Path, media_type: str, *, move: bool = False) -> Descriptor:
        """Keep a file as a blob; ``move`` takes it away when it lies on the same file system."""
        digest, size = _sha256_of(file)
        found = Descriptor(media_type=media_type, digest=digest, size=size)
        if self.touch(found):
            if move:
                file.unlink()
            return found
        if move:
            with contextlib.suppress(OSError):
                return self.adopt(file, found)
        with self.writing() as copy, file.open("rb") as source:
            shutil.copyfileobj(source, copy, _CHUNK)
            copy.flush()
            return self.adopt(Path(copy.name), found)

    def adopt(self, file: Path, descriptor: Descriptor) -> Descriptor:
        """Rename a file of the same file system, whose digest the caller has just computed, into its place."""
        place = self.path(descriptor.digest)
        self.make()
        os.chmod(file, 0o644)
        os.replace(file, place)
        return descriptor

    @contextlib.contextmanager
    def writing(self) -> Iterator[BinaryIO]:
        """A file on the file system of the layout to write a blob into; gone afterwards unless adopted."""
        self.make()
        handle, name = tempfile.mkstemp(prefix=".new-", dir=self.root / "blobs")
        try:
            # By name: io.BufferedWriter of a handle calls itself by its number.
            os.close(handle)
            with open(name, "wb") as file:
                yield file
        finally:
            with contextlib.suppress(OSError):
                os.unlink(name)

    def read(self, wanted: Descriptor | str) -> bytes:
        """The bytes of a record (up to 32 MiB), compared with the digest.

        Raises:
            ImageError: it is missing, is not what its digest says, or is too large to be a record.
        """
        digest = wanted if isinstance(wanted, str) else wanted.digest
        path = self.path(digest)
        try:
            if path.stat().st_size > _LARGEST_RECORD:
                raise ImageError(
                    f"expected a record of at most 32 MiB, found a blob of {path.stat().st_size} bytes"
                )
            data = path.read_bytes()
        except OSError as error:
            raise self._missing(digest) from error
        if digest_of(data) != digest:
            raise self._corrupt(digest, digest_of(data))
        return data

    def read_manifest(self, descriptor: Descriptor) -> Manifest:
        """The manifest of an image or artefact; raises ImageError."""
        return self._decode(descriptor, Manifest, "a manifest")

    def read_index(self, descriptor: Descriptor) -> Index:
        """An index that is a blob (several platforms); raises ImageError."""
        return self._decode(descriptor, Index, "an index")

    def verify(self, descriptor: Descriptor) -> None:
        """Read a blob and compare; raises ImageError naming the digest that is missing or differs."""
        try:
            found, size = _sha256_of(self.path(descriptor.digest))
        except OSError as error:
            raise self._missing(descriptor.digest) from error
        if found != descriptor.digest:
            raise self._corrupt(descriptor.digest, found)
        if size != descriptor.size:
            raise ImageError(
                f"expected {descriptor.size} bytes in the blob {descriptor.digest}, found {size}",
                at=str(self.root),
            )

    def verify_all(self, descriptor: Descriptor) -> None:
        """``verify`` for a manifest or index and everything it leads to."""
        for one in self.closure(descriptor):
            self.verify(one)

    # -- what belongs together

    def closure(self, descriptor: Descriptor) -> list[Descriptor]:
        """A descriptor and all it leads to, each once, what is needed before what needs it."""
        found: dict[str, Descriptor] = {}
        self._gather(descriptor, found, depth=0)
        return list(found.values())

    def copy_to(
        self, other: Layout, descriptor: Descriptor, *, progress: Callable[[Descriptor], None] | None = None
    ) -> None:
        """Copy a manifest or index and all it leads to; blobs the other has are left alone.

        A hard link where the file system allows it: blobs do not change. Each is verified before it is linked.
        """
        for one in self.closure(descriptor):
            if progress is not None:
                progress(one)
            if other.touch(one):
                continue
            self.verify(one)
            other.make()
            with contextlib.suppress(OSError):
                os.link(self.path(one.digest), other.path(one.digest))
                continue
            other.place(self.path(one.digest), one.media_type)

    # -- names

    def index(self) -> Index:
        """What the layout names; empty when there is no layout yet.

        Raises:
            ImageError: ``index.json`` is broken.
        """
        file = self.root / "index.json"
        try:
            return msgspec.json.decode(file.read_bytes(), type=Index)
        except FileNotFoundError:
            return Index(schema_version=2, media_type=INDEX, manifests=[])
        except (msgspec.DecodeError, OSError) as error:
            raise ImageError(f"expected the index of an OCI layout: {error}", at=str(file)) from error

    def names(self) -> dict[str, Descriptor]:
        """Every named descriptor, by its name."""
        return {n: d for d in self.index().manifests if (n := d.annotations.get(REF_NAME))}

    def find(self, name: str = "") -> Descriptor:
        """The descriptor of a name; without one the only one there is.

        Raises:
            ImageError: there is none, or several and no name.
        """
        if not self.exists:
            raise ImageError("expected an OCI layout, found none", at=str(self.root))
        held = self.index().manifests
        named = [d for d in held if d.annotations.get(REF_NAME) == name] if name else held
        if len(named) == 1:
            return named[0]
        there = ", ".join(sorted(self.names())) or f"{len(held)} without names"
        wanted = f"the image {name!r}" if name else "one image"
        raise ImageError(
            f"expected {wanted} in the layout, found {len(named)} ({there})",
            hint="name one: oci:DIR:NAME",
            at=str(self.root),
        )

    def tag(self, descriptor: Descriptor, name: str) -> Descriptor:
        """Give a manifest or index a name; what had the name before keeps its blobs and loses the name."""
        named = msgspec.structs.replace(descriptor, annotations={**descriptor.annotations, REF_NAME: name})
        with self._changing() as held:
            rest = [d for d in held if d.annotations.get(REF_NAME) != name and d != descriptor]
            held[:] = [*rest, named]
        return named

    def untag(self, name: str) -> bool:
        """Take a name away; whether it was there."""
        with self._changing() as held:
            rest = [d for d in held if d.annotations.get(REF_NAME) != name]
            was_there = len(rest) < len(held)
            held[:] = rest
        return was_there

    # -- inside

    @contextlib.contextmanager
    def _changing(self) -> Iterator[list[Descriptor]]:
        self.make()
        handle = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            before = self.index()
            held = list(before.manifests)
            yield held
            held.sort(key=lambda d: (d.annotations.get(REF_NAME, ""), d.digest))
            _replace(self.root / "index.json", encode(msgspec.structs.replace(before, manifests=held)))
        finally:
            os.close(handle)

    def make(self) -> None:
        """Make an empty layout where there is none; raises StorageError."""
        if (self.root / "index.json").exists():
            return
        try:
            (self.root / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
            if not (self.root / "index.json").exists():
                _replace(self.root / "index.json", encode(Index(schema_version=2, media_type=INDEX, manifests=[])))
            _replace(self.root / "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        except OSError as error:
            raise StorageError(f"cannot write an OCI layout to {self.root}: {error.strerror or error}") from error

    def _gather(self, descriptor: Descriptor, found: dict[str, Descriptor], depth: int) -> None:
        if descriptor.digest in found:
            return
        if depth > 4:
            raise ImageError("expected an index of images, found indexes nested more than four deep")
        if descriptor.media_type in (INDEX, DOCKER_LIST):
            for one in self.read_index(descriptor).manifests:
                self._gather(one, found, depth + 1)
        elif descriptor.media_type in (MANIFEST, DOCKER_MANIFEST):
            manifest = self.read_manifest(descriptor)
            for one in (manifest.config, *manifest.layers):
                found.setdefault(one.digest, one)
        found[descriptor.digest] = descriptor

    def _decode(self, descriptor: Descriptor, kind: type[_Record], what: str) -> _Record:
        try:
            record = msgspec.json.decode(self.read(descriptor), type=dict[str, Any])
            # image-spec lets it be left out; the descriptor has it then.
            record.setdefault("mediaType", descriptor.media_type)
            return msgspec.convert(record, kind)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise ImageError(
                f"expected {what} in the blob {descriptor.digest}: {error}", at=str(self.root)
            ) from error

    def _missing(self, digest: str) -> ImageError:
        return ImageError(f"expected the blob {digest}, found none", at=str(self.root))

    def _corrupt(self, digest: str, found: str) -> ImageError:
        return ImageError(
            f"the blob {digest} is corrupted: its content is {found}",
            hint="delete that file, and build or pull again",
            at=str(self.root),
        )


def _replace(path: Path, data: bytes) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _sha256_of(path: Path) -> tuple[str, int]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return f"sha256:{digest}", file.tell()
