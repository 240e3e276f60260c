"""Keys of elliptic curves, as ``openssl`` writes them, and the fingerprint that names one."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec

from tiffin.errors import MissingExtra, SignatureError

CURVES = ("secp256r1", "secp384r1", "secp521r1")
_MAKE = "make one: openssl ecparam -name prime256v1 -genkey -noout -out key.pem; openssl ec -in key.pem -pubout"


class PublicKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key that signatures are checked with. ``fingerprint`` is the sha256 of ``pem``, in hexadecimal."""

    name: str
    pem: bytes
    fingerprint: str

    def __str__(self) -> str:
        return f"{self.fingerprint[:16]} ({self.name})"


def read(text: str) -> PublicKey:
    """A public key: the path of a PEM file, or the PEM itself.

    Raises:
        SignatureError: it cannot be read, or is no public key of a curve that is known.
        MissingExtra: ``cryptography`` is not installed.
    """
    serialization = _serialization()
    name = "given in the file" if text.lstrip().startswith("-----BEGIN") else text
    data = text.encode() if name != text else _file(text)
    if b"PRIVATE KEY" in data:
        raise SignatureError(
            f"expected a public key in {name}, found a private one",
            hint=f"openssl ec -in {name} -pubout; and keep the private one where it is",
        )
    try:
        key = serialization.load_pem_public_key(data)
    except (ValueError, TypeError) as error:
        raise SignatureError(
            f"expected a public key in PEM in {name}, found something else", hint=_MAKE
        ) from error
    _known_curve(key, name)
    pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return PublicKey(name=name, pem=pem, fingerprint=hashlib.sha256(pem).hexdigest())


def fingerprint_of_private(path: Path, password: str = "") -> str:
    """The fingerprint of the public half of a private key; raises as ``read``."""
    serialization = _serialization()
    data = _file(str(path))
    if b"PRIVATE KEY" not in data:
        raise SignatureError(f"expected a private key in {path}, found something else", hint=_MAKE)
    try:
        key = serialization.load_pem_private_key(data, password.encode() or None)
    except TypeError as error:
        wrong = "is encrypted, and no password is given" if not password else "is not encrypted"
        raise SignatureError(f"the key {path} {wrong}", hint="TIFFIN_SIGN_PASSWORD holds its password") from error
    except ValueError as error:
        raise SignatureError(
            f"the key {path} cannot be read: {'the password is wrong' if password else 'it is no PEM'}", hint=_MAKE
        ) from error
    public = key.public_key()
    _known_curve(public, str(path))
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(pem).hexdigest()


def _file(path: str) -> bytes:
    try:
        with Path(path).expanduser().open("rb") as file:
            return file.read(1 << 16)
    except OSError as error:
        raise SignatureError(f"the key {path} cannot be read: {error.strerror or error}") from error


def _known_curve(key: Any, name: str) -> None:
    curve = getattr(getattr(key, "curve", None), "name", type(key).__name__)
    if curve not in CURVES:
        raise SignatureError(
            f"expected a key of the curve P-256, P-384 or P-521 in {name}, found {curve}", hint=_MAKE
        )


def _serialization() -> Any:
    try:
        from cryptography.hazmat.primitives import serialization
    except ImportError as error:
        raise MissingExtra("signatures need cryptography", hint="pip install 'tiffin[sign]'") from error
    return serialization
