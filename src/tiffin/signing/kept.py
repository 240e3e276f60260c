"""Signatures beside what they are of, outside of its digest: ``<root>/signatures/<digest>/<key>.sig``."""

from __future__ import annotations

import shutil
from pathlib import Path

from tiffin.kits.files import write_atomic
from tiffin.kits.paths import make_directory
from tiffin.signing import statement


class Signatures:
    """The signatures of one store, by the digest (in hexadecimal) of what they are of."""

    def __init__(self, store: Path) -> None:
        self.root = store / "signatures"

    def digests(self) -> list[str]:
        """What there are signatures of, in hexadecimal, sorted."""
        return sorted(path.name for path in self.root.glob("*") if path.is_dir())

    def of(self, digest: str) -> list[Path]:
        """The signature files of a digest, sorted."""
        return sorted((self.root / digest).glob("*.sig"))

    def place(self, digest: str, key: str) -> Path:
        """Where the signature by a key (its fingerprint) belongs; its directory is made."""
        return make_directory(self.root / digest) / f"{key[:16] or 'keyless'}.sig"

    def add(self, digest: str, data: bytes) -> Path:
        """Keep a signature that came from elsewhere; one by the same key is replaced.

        Raises:
            SignatureError: it is none.
        """
        directory = make_directory(self.root / digest)
        incoming = directory / ".incoming"
        write_atomic(incoming, data)
        try:
            found = statement.read(incoming)
        finally:
            incoming.unlink(missing_ok=True)
        key = "".join(letter for letter in found.hint[:16] if letter in "0123456789abcdef")
        path = self.place(digest, key)
        write_atomic(path, data, mode=0o644)
        return path

    def drop(self, digest: str) -> None:
        """Forget the signatures of what is gone."""
        shutil.rmtree(self.root / digest, ignore_errors=True)
