"""Blobs that lie anywhere on this machine, so that what is pushed need not be copied first."""

from __future__ import annotations

from pathlib import Path

from tiffin.oci.records import Descriptor, Manifest, digest_of, encode


class Gathered:
    """Blobs by digest: files where they are, and small ones written below ``directory``."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._files: dict[str, Path] = {}

    def path(self, digest: str) -> Path:
        """The file of a blob."""
        return self._files[digest]

    def write(
        self, data: bytes, media_type: str, annotations: dict[str, str] | None = None, *, artifact_type: str = ""
    ) -> Descriptor:
        """Keep bytes as a blob."""
        digest = digest_of(data)
        path = self._directory / digest.replace(":", "-")
        path.write_bytes(data)
        self._files[digest] = path
        return Descriptor(
            media_type=media_type,
            digest=digest,
            size=len(data),
            annotations=annotations or {},
            artifact_type=artifact_type,
        )

    def write_record(self, manifest: Manifest) -> Descriptor:
        """Keep a manifest as a blob, in canonical JSON."""
        return self.write(encode(manifest), manifest.media_type, artifact_type=manifest.artifact_type)

    def lend(
        self, file: Path, digest: str, size: int, media_type: str, annotations: dict[str, str] | None = None
    ) -> Descriptor:
        """A file whose digest is known already; the registry refuses it when that is not true any more."""
        self._files[digest] = file
        return Descriptor(media_type=media_type, digest=digest, size=size, annotations=annotations or {})
