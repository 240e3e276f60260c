"""What must hold before a target opens or imports anything of a deployment."""

from __future__ import annotations

import msgspec


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """Signatures that are required.

    ``keys`` are public keys of which one must have signed each artefact: paths of PEM files, or PEM itself. None
    with ``require_signature`` means those of the platform.
    """

    require_signature: bool = False
    keys: tuple[str, ...] = ()


def is_pem(key: str) -> bool:
    """Whether a key is written out, and is no path."""
    return key.lstrip().startswith("-----BEGIN")
