"""What a signature says, read without trusting it: whose it is, and which files it is of. Pure."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import Any

import msgspec

from tiffin.errors import SignatureError

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
MOST_BYTES = 64 << 20
PREDICATE = "https://model_signing/signature/"


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """A signature file.

    ``hint`` is the fingerprint of the key it says it is by; empty when it is by a certificate (``is_keyless``).
    ``files`` are the paths it covers (shards of one file have a suffix), ``serialization`` how they were hashed.
    """

    path: Path
    hint: str
    is_keyless: bool
    files: tuple[str, ...]
    serialization: dict[str, Any]

    @property
    def by(self) -> str:
        """Whose it says it is, for messages."""
        return "a certificate" if self.is_keyless else f"the key {self.hint[:16] or 'without a name'}"


def read(path: Path) -> Signature:
    """Read a signature file.

    Raises:
        SignatureError: it is none, with what is wrong.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise SignatureError(f"the signature {path} cannot be read: {error.strerror or error}") from error
    if len(data) > MOST_BYTES:
        raise SignatureError(f"the signature {path} has more than {MOST_BYTES:,} bytes")
    try:
        return _parsed(path, msgspec.json.decode(data))
    except (msgspec.DecodeError, KeyError, TypeError, ValueError, AttributeError, binascii.Error) as error:
        raise SignatureError(
            f"expected a signature of model-signing in {path}, found something else",
            hint="sign it again: tiffin sign",
        ) from error


def is_signature(path: Path) -> bool:
    """Whether a file can be one, by its first bytes."""
    try:
        with path.open("rb") as file:
            return b"sigstore.bundle" in file.read(4096)
    except OSError:
        return False


def _parsed(path: Path, found: dict[str, Any]) -> Signature:
    material = found["verificationMaterial"]
    payload = msgspec.json.decode(base64.b64decode(found["dsseEnvelope"]["payload"], validate=True))
    if not str(payload["predicateType"]).startswith(PREDICATE):
        raise ValueError(payload["predicateType"])
    predicate = payload["predicate"]
    return Signature(
        path=path,
        hint=str((material.get("publicKey") or {}).get("hint") or ""),
        is_keyless=not material.get("publicKey"),
        files=tuple(str(one["name"]) for one in predicate["resources"]),
        serialization=dict(predicate["serialization"]),
    )
