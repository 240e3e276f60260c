"""What speaks of an artefact without being a part of it, such as a signature: OCI's referrers.

A registry that knows them is asked for them; in one that does not, a tag ``sha256-<digest>`` leads to their list,
as the distribution spec has it for such registries.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec

from tiffin.errors import RegistryError
from tiffin.oci import records
from tiffin.oci.connection import Connection
from tiffin.oci.gathering import Gathered
from tiffin.oci.manifests import read_index, read_manifest
from tiffin.oci.records import Descriptor, Index, Manifest
from tiffin.oci.reference import Reference
from tiffin.oci.registry import Registry

_MOST_BYTES = 64 << 20


def attach(
    registry: Registry, reference: Reference, subject: Descriptor, data: bytes, media_type: str, title: str
) -> None:
    """Push ``data`` as an artefact that speaks of ``subject``; once, however often it is called.

    Raises:
        RegistryError: the registry refuses.
    """
    with tempfile.TemporaryDirectory(prefix="tiffin-attach-") as directory:
        blobs = Gathered(Path(directory))
        made = Manifest(
            schema_version=2,
            media_type=records.MANIFEST,
            artifact_type=media_type,
            config=blobs.write(b"{}", records.EMPTY),
            layers=[blobs.write(data, media_type, {"org.opencontainers.image.title": title})],
            subject=Descriptor(media_type=subject.media_type, digest=subject.digest, size=subject.size),
        )
        top = blobs.write_record(made)
        registry.push(blobs, top, reference.at(top.digest))
    connection = registry.connect(reference)
    if _native(connection, subject.digest) is None:
        there = _by_tag(connection, subject.digest)
        if all(one.digest != top.digest for one in there):
            index = Index(schema_version=2, media_type=records.INDEX, manifests=[*there, top])
            registry.put(connection, _tag(subject.digest), records.INDEX, records.encode(index))


def attached(registry: Registry, reference: Reference, subject: str, media_type: str) -> list[bytes]:
    """The contents of that type which speak of the digest ``subject``.

    Raises:
        RegistryError: the registry refuses, or gives something else than its digest says.
    """
    connection = registry.connect(reference)
    found = []
    for one in listed(registry, reference, subject):
        if one.artifact_type not in ("", media_type):
            continue
        descriptor, data = registry.get(connection, one.digest)
        manifest = read_manifest(data, descriptor.media_type, str(reference.at(one.digest)))
        if manifest.subject is None or manifest.subject.digest != subject:
            continue
        found += [_content(connection, layer) for layer in manifest.layers if layer.media_type == media_type]
    return found


def listed(registry: Registry, reference: Reference, subject: str) -> list[Descriptor]:
    """The manifests of what speaks of the digest ``subject``, of any type; raises RegistryError."""
    connection = registry.connect(reference)
    native = _native(connection, subject)
    return _by_tag(connection, subject) if native is None else native


def _native(connection: Connection, digest: str) -> list[Descriptor] | None:
    """What the registry lists itself; None when it knows no referrers."""
    repository = connection.reference.repository
    answer = connection.ask(
        "GET",
        f"{repository}/referrers/{digest}",
        expect=(200, 404, 405),
        headers={"Accept": records.INDEX},
        what=f"what speaks of {digest}",
    )
    if answer.status_code != 200 or not answer.headers.get("Content-Type", "").startswith(records.INDEX):
        return None
    return read_index(answer.content, records.INDEX, f"referrers of {digest}").manifests


def _by_tag(connection: Connection, digest: str) -> list[Descriptor]:
    answer = connection.ask(
        "GET",
        f"{connection.reference.repository}/manifests/{_tag(digest)}",
        expect=(200, 404),
        headers={"Accept": records.INDEX},
        what=f"what speaks of {digest}",
    )
    if answer.status_code == 404:
        return []
    return [
        msgspec.structs.replace(one, platform=None)
        for one in read_index(answer.content, records.INDEX, _tag(digest)).manifests
    ]


def _tag(digest: str) -> str:
    return digest.replace(":", "-")


def _content(connection: Connection, layer: Descriptor) -> bytes:
    if layer.size > _MOST_BYTES:
        raise RegistryError(f"{layer.digest} at {connection.reference} has {layer.size:,} bytes, for a signature")
    url = f"{connection.reference.repository}/blobs/{layer.digest}"
    answer = connection.ask("GET", url, what=f"the blob {layer.digest} of {connection.reference}")
    data: bytes = answer.content
    if records.digest_of(data) != layer.digest:
        raise RegistryError(f"{connection.reference.registry} gave other bytes for {layer.digest}")
    return data
