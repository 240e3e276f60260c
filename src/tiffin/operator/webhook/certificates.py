"""An authority of one's own, and the certificate that it signs for the webhook. Pure but for randomness."""

from __future__ import annotations

import datetime
from typing import Any, NamedTuple

from tiffin.kube.manifests import Manifest

AUTHORITY_DAYS = 5 * 365
SERVING_DAYS = 90
LEFT = 1 / 3
"""The part of its life that a certificate has left when it is made anew."""
NAMES = ("ca.crt", "ca.key", "tls.crt", "tls.key")


class Pair(NamedTuple):
    """A certificate and its key, PEM."""

    certificate: bytes
    key: bytes


class Held(NamedTuple):
    """What the Secret holds. ``trusted`` are the authorities to trust, the newest first."""

    trusted: bytes
    authority: Pair
    serving: Pair


def made(host: str, now: datetime.datetime, before: Held | None = None) -> Held:
    """Certificates for a host name, those that are still good for long enough kept.

    An authority that gives way to a new one stays trusted, for a while not every API server knows the new one.
    """
    authority, trusted = (before.authority, before.trusted) if before else (None, b"")
    if authority is None or is_old(authority.certificate, now):
        former = trusted
        authority = _authority(now)
        trusted = authority.certificate + _first(former)
    serving = before.serving if before else None
    if serving is None or is_old(serving.certificate, now) or not _is_by(serving, authority, host):
        serving = _serving(host, authority, now)
    return Held(trusted, authority, serving)


def is_old(certificate: bytes, now: datetime.datetime) -> bool:
    """Whether little is left of its life, or it cannot be read."""
    from cryptography import x509

    try:
        found = x509.load_pem_x509_certificate(certificate)
    except ValueError:
        return True
    life = found.not_valid_after_utc - found.not_valid_before_utc
    return found.not_valid_after_utc - now < life * LEFT


def to_secret(held: Held) -> dict[str, bytes]:
    """By the keys of the Secret."""
    return dict(zip(NAMES, (held.trusted, held.authority.key, *held.serving), strict=True))


def from_secret(data: dict[str, bytes]) -> Held | None:
    """What a Secret holds; ``None`` when that is not all there, or not readable."""
    if not all(data.get(name) for name in NAMES):
        return None
    trusted, key, certificate, serving_key = (data[name] for name in NAMES)
    return Held(trusted, Pair(_first(trusted), key), Pair(certificate, serving_key))


def _first(bundle: bytes) -> bytes:
    end = b"-----END CERTIFICATE-----\n"
    return bundle.partition(end)[0] + end if end in bundle else b""


def _is_by(serving: Pair, authority: Pair, host: str) -> bool:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature

    try:
        found = x509.load_pem_x509_certificate(serving.certificate)
        found.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.certificate))
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    return host in names.get_values_for_type(x509.DNSName)


def _authority(now: datetime.datetime) -> Pair:
    from cryptography import x509

    key, pem = _key()
    builder = _begun("tiffin webhook authority", "tiffin webhook authority", key, now, AUTHORITY_DAYS)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    usage = _usage(x509, signs=True)
    return _signed(builder.add_extension(usage, critical=True), key, pem)


def _serving(host: str, authority: Pair, now: datetime.datetime) -> Pair:
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.x509.oid import ExtendedKeyUsageOID

    key, pem = _key()
    builder = _begun(host[:64], "tiffin webhook authority", key, now, SERVING_DAYS)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    builder = builder.add_extension(_usage(x509, signs=False), critical=True)
    signer = serialization.load_pem_private_key(authority.key, None)
    return _signed(builder, signer, pem)


def _key() -> tuple[Any, bytes]:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return key, pem


def _begun(subject: str, issuer: str, key: Any, now: datetime.datetime, days: int) -> Any:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    def name(text: str) -> Any:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    # Clocks of machines differ a little.
    begin = now - datetime.timedelta(hours=1)
    builder = x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name(issuer))
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    return builder.not_valid_before(begin).not_valid_after(begin + datetime.timedelta(days=days))


def _usage(x509: Any, *, signs: bool) -> Any:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _signed(builder: Any, key: Any, pem: bytes) -> Pair:
    from cryptography.hazmat.primitives import hashes, serialization

    found = builder.sign(key, hashes.SHA256())
    return Pair(found.public_bytes(serialization.Encoding.PEM), pem)


def registered(registration: Manifest) -> set[str]:
    """The authorities that a registration trusts, base64 as it has them."""
    return {
        str((one.get("clientConfig") or {}).get("caBundle") or "") for one in registration.get("webhooks") or ()
    }
