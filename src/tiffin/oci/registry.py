"""Registries: push and pull what blobs on disk hold. The extra ``oci`` brings the client.

Blobs go several at a time, those that are there already not at all; a transfer that was interrupted goes on where
it was. Nothing is kept whose digest is not what was asked for.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

from tiffin.errors import MissingExtra, RegistryError
from tiffin.kits.files import write_atomic
from tiffin.oci import credentials as login
from tiffin.oci import moving, records
from tiffin.oci.manifests import INDEXES, MANIFESTS, checked, choose, peek, read_index, read_manifest
from tiffin.oci.moving import Progress, State
from tiffin.oci.records import Descriptor, Manifest, Platform
from tiffin.oci.reference import Reference, parse

if TYPE_CHECKING:
    from tiffin.oci.connection import Connection

MOST_MANIFEST = 16 << 20
"""Bytes of a manifest; registries allow 4 MiB."""


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What a push or pull did: ``descriptor`` of the top, bytes that travelled, bytes that were there."""

    reference: Reference
    descriptor: Descriptor
    moved: int = 0
    kept: int = 0


class Blobs(Protocol):
    """Where blobs are on disk, such as ``layout.Layout``."""

    def path(self, digest: str) -> Path:
        """The file of a blob, or where it belongs."""


class Registry:
    """A registry as one user sees it.

    Args:
        insecure: ask in plain HTTP; what is on this machine is always asked so, and the hosts in the variable
            ``TIFFIN_REGISTRY_INSECURE``.
        environment: where credentials and settings are; the process's own when None.
        notes: a directory that remembers interrupted uploads, for the next process.
    """

    def __init__(
        self,
        *,
        insecure: bool = False,
        environment: Mapping[str, str] | None = None,
        notes: Path | None = None,
    ) -> None:
        self._insecure = insecure
        self._environment = os.environ if environment is None else environment
        self._notes = notes

    def push(
        self,
        blobs: Blobs,
        descriptor: Descriptor,
        reference: Reference | str,
        *,
        progress: Progress | None = None,
        sources: Iterable[str] = (),
    ) -> Summary:
        """Bring a manifest or index, and all it needs, to a registry; blocking.

        Args:
            blobs: where they are.
            descriptor: the manifest, or an index of several.
            reference: where to; a digest in it must be the descriptor's.
            progress: called as bytes leave.
            sources: other repositories of the same registry that may have some of the blobs.

        Raises:
            RegistryError: the registry refuses or does not answer.
            MissingExtra: the extra ``oci`` is not installed.
        """
        reference = parse(reference) if isinstance(reference, str) else reference
        if reference.digest and reference.digest != descriptor.digest:
            raise RegistryError(
                f"expected to push {reference.digest}, found {descriptor.digest}",
                hint="leave the digest out: it is that of the content",
            )
        connection = self.connect(reference)
        wanted: dict[str, Descriptor] = {}
        manifests = _manifests(blobs, descriptor, wanted)
        done = moving.Count()

        def one(blob: Descriptor, report: Callable[[int], None], stop: threading.Event) -> State:
            from tiffin.oci import uploads

            return uploads.upload(
                connection,
                blob,
                blobs.path(blob.digest),
                report=report,
                stop=stop,
                sources=tuple(sources),
                notes=self._notes,
            )

        moving.each(wanted.values(), one, progress or moving.quiet, done)
        for manifest, data in manifests:
            self.put(connection, manifest.digest, manifest.media_type, data)
        if not reference.digest:
            self.put(connection, reference.wanted, descriptor.media_type, manifests[-1][1])
        return Summary(reference=reference, descriptor=descriptor, moved=done.moved, kept=done.kept)

    def pull(
        self,
        reference: Reference | str,
        blobs: Blobs,
        *,
        progress: Progress | None = None,
        platform: Platform | Literal["all"] | None = None,
        check: Callable[[Manifest], None] | None = None,
        want: Callable[[Descriptor], bool] | None = None,
    ) -> Summary:
        """Fetch a manifest and what it needs; blocking.

        Args:
            reference: what.
            blobs: where blobs belong; those that are there are not fetched.
            progress: called as bytes arrive.
            platform: which image of an index; None is ``linux`` on this machine's processor, ``"all"`` the index.
            check: called with a manifest before its blobs are fetched; raises when it is not what is wanted.
            want: which blobs are fetched; all when None.

        Returns:
            The descriptor of the manifest (of the index for ``"all"``); it is among the blobs.

        Raises:
            RegistryError: there is no such thing, it is for another platform, or its bytes are others.
            MissingExtra: the extra ``oci`` is not installed.
        """
        reference = parse(reference) if isinstance(reference, str) else reference
        connection = self.connect(reference)
        descriptor, data = self.get(connection, reference.wanted)
        wanted: dict[str, Descriptor] = {}
        found = [(descriptor, data)]
        if descriptor.media_type in INDEXES:
            index = read_index(data, descriptor.media_type, str(reference))
            if platform == "all":
                for one in index.manifests:
                    found.insert(0, self.get(connection, one.digest))
            else:
                chosen = choose(index, platform, reference)
                descriptor, data = self.get(connection, chosen.digest)
                found = [(descriptor, data)]
        for one, content in found:
            if one.media_type not in INDEXES:
                manifest = read_manifest(content, one.media_type, str(reference))
                if check is not None:
                    check(manifest)
                for blob in (manifest.config, *manifest.layers):
                    if want is None or want(blob):
                        wanted[blob.digest] = blob
        done = moving.Count()

        def fetch(blob: Descriptor, report: Callable[[int], None], stop: threading.Event) -> State:
            from tiffin.oci import downloads

            target = blobs.path(checked(blob, reference).digest)
            if target.exists():
                report(blob.size)
                return "exists"
            partial = target.with_name(f".{target.name}.partial")
            downloads.download(connection, blob, target, partial=partial, report=report, stop=stop)
            return "downloaded"

        moving.each(wanted.values(), fetch, progress or moving.quiet, done)
        for one, content in found:
            place = blobs.path(one.digest)
            place.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(place, content, mode=0o644)
        return Summary(reference=reference, descriptor=descriptor, moved=done.moved, kept=done.kept)

    def resolve(self, reference: Reference | str) -> tuple[Descriptor, bytes]:
        """The manifest or index a reference leads to now, without what it needs; raises as ``pull``."""
        reference = parse(reference) if isinstance(reference, str) else reference
        return self.get(self.connect(reference), reference.wanted)

    def connect(self, reference: Reference) -> Connection:
        """A connection to the registry of a reference, as this user; raises MissingExtra."""
        try:
            with _without("rfc3987_syntax"):
                from tiffin.oci.connection import Connection
        except ImportError as error:
            raise MissingExtra(
                f"asking a registry needs the package oras: {error}", hint="pip install 'tiffin[oci]'"
            ) from error
        found = login.find(reference.registry, reference.repository, self._environment)
        plain = {one.strip() for one in self._environment.get("TIFFIN_REGISTRY_INSECURE", "").split(",")}
        is_plain = self._insecure or reference.is_loopback or reference.registry in plain
        return Connection(reference, found, plain=is_plain)

    def put(self, connection: Connection, name: str, media_type: str, data: bytes) -> Any:
        """Store a manifest under a tag or its digest; raises RegistryError."""
        reference = connection.reference.at(name)
        answer = connection.ask(
            "PUT",
            f"{reference.repository}/manifests/{name}",
            expect=(201, 202),
            headers={"Content-Type": media_type},
            data=data,
            what=f"the manifest {reference}",
        )
        said = answer.headers.get("Docker-Content-Digest", "")
        if said.startswith("sha256:") and said != records.digest_of(data):
            raise RegistryError(
                f"{reference.registry} stored {said} when it was given {records.digest_of(data)}",
                hint="it changes what it is given, so that nothing can be checked by its digest: use another",
            )
        return answer

    def get(self, connection: Connection, name: str) -> tuple[Descriptor, bytes]:
        """The manifest or index of a tag or digest, compared with its digest; raises RegistryError."""
        reference = connection.reference.at(name)
        answer = connection.ask(
            "GET",
            f"{reference.repository}/manifests/{name}",
            headers={"Accept": ", ".join((*MANIFESTS, *INDEXES))},
            stream=True,
            what=str(reference),
        )
        with answer:
            data = b"".join(_limited(answer.iter_content(1 << 16), str(reference)))
        digest = records.digest_of(data)
        expected = reference.digest or answer.headers.get("Docker-Content-Digest", "")
        if expected.startswith("sha256:") and expected != digest:
            raise RegistryError(
                f"{reference.registry} gave another manifest for {reference}: expected {expected}, found {digest}",
                hint="ask who runs the registry to check its storage",
            )
        media_type = answer.headers.get("Content-Type", "").partition(";")[0].strip()
        written = peek(data).get("mediaType")
        media_type = written if isinstance(written, str) and written else media_type
        if media_type not in (*MANIFESTS, *INDEXES):
            raise RegistryError(
                f"expected a manifest of OCI or Docker at {reference}, found the media type {media_type!r}",
                hint="what is there was pushed by another program, or is of an older format: push it again",
            )
        return Descriptor(media_type=media_type, digest=digest, size=len(data)), data


@contextlib.contextmanager
def _without(module: str) -> Iterator[None]:
    """While ``oras`` is imported: jsonschema, which it brings, compiles a grammar for seconds with this."""
    is_hidden = module not in sys.modules
    if is_hidden:
        sys.modules[module] = None  # type: ignore[assignment]  # how Python marks what cannot be imported
    try:
        yield
    finally:
        if is_hidden:
            sys.modules.pop(module, None)


def _manifests(
    blobs: Blobs, descriptor: Descriptor, wanted: dict[str, Descriptor]
) -> list[tuple[Descriptor, bytes]]:
    """Manifests in the order they are pushed, the top one last; ``wanted`` gets their blobs."""
    data = blobs.path(descriptor.digest).read_bytes()
    if descriptor.media_type in INDEXES:
        below = [
            found
            for one in read_index(data, descriptor.media_type, descriptor.digest).manifests
            for found in _manifests(blobs, one, wanted)
        ]
        return [*below, (descriptor, data)]
    manifest = read_manifest(data, descriptor.media_type, descriptor.digest)
    for blob in (manifest.config, *manifest.layers):
        wanted[blob.digest] = blob
    return [(descriptor, data)]


def _limited(chunks: Iterable[bytes], where: str) -> Iterable[bytes]:
    total = 0
    for chunk in chunks:
        total += len(chunk)
        if total > MOST_MANIFEST:
            raise RegistryError(f"the manifest of {where} has more than {MOST_MANIFEST:,} bytes")
        yield chunk
