"""Making signatures."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tiffin.errors import MissingExtra, SignatureError
from tiffin.signing import keys


def sign(path: Path, key: Path, out: Path, *, password: str = "", leave_out: Iterable[Path] = ()) -> str:
    """Sign a file or directory with a private key; ``out`` is written whole or not at all.

    Args:
        path: what is signed: every file below it, git's own ones too.
        key: a private key in PEM, of P-256, P-384 or P-521.
        out: the signature; left out of what is signed when it lies inside.
        password: of the key.
        leave_out: other files inside that are signatures.

    Returns:
        The fingerprint of the key.

    Raises:
        SignatureError: the key or what is signed cannot be read.
        MissingExtra: ``model-signing`` is not installed.
    """
    fingerprint = keys.fingerprint_of_private(key, password)
    ec_key = model_signing("_signing.sign_ec_key")
    try:
        signer = ec_key.Signer(key.expanduser(), password.encode() if password else None)
    except (ValueError, TypeError, OSError) as error:
        raise SignatureError(f"the key {key} cannot be used: {error}") from error
    _write(path, signer, out, leave_out)
    return fingerprint


def sign_keyless(
    path: Path, out: Path, *, token: str = "", staging: bool = False, leave_out: Iterable[Path] = ()
) -> None:
    """Sign with a certificate that sigstore's public service gives to who logs in; needs the network.

    Args:
        path: what is signed.
        out: the signature.
        token: an identity token; a browser is opened, or the machine's own is used, when empty.
        staging: ask sigstore's instance for tests.
        leave_out: other files inside that are signatures.

    Raises:
        SignatureError: the service cannot be reached, or refuses.
        MissingExtra: ``model-signing`` is not installed.
    """
    sigstore = model_signing("_signing.sign_sigstore")
    try:
        signer = sigstore.Signer(identity_token=token or None, use_staging=staging)
        _write(path, signer, out, leave_out)
    except SignatureError:
        raise
    except Exception as error:
        raise SignatureError(
            f"nobody signed {path}: sigstore said {type(error).__name__}: {error}",
            hint="check the network, or sign with a key of your own: --key key.pem",
        ) from error


def config_of(path: Path, leave_out: Iterable[Path]) -> Any:
    """How a path is hashed: all of its files, those that links lead to as well, without signatures."""
    hashing = model_signing("hashing")
    inside = [one.relative_to(path) for one in leave_out if path.is_dir() and one.is_relative_to(path)]
    # Python writes it beside what it imports, and it differs from machine to machine.
    inside += [one.relative_to(path) for one in sorted(path.rglob("__pycache__")) if one.is_dir()]
    # Files of git would be left out by default: what is not looked at could be anything.
    found = hashing.Config().use_file_serialization(ignore_paths=inside)
    found.set_ignored_paths(paths=inside, ignore_git_paths=False)
    return found.set_allow_symlinks(has_links(path))


def _write(path: Path, signer: Any, out: Path, leave_out: Iterable[Path]) -> None:
    signing = model_signing("_signing.signing")
    if not path.exists():
        raise SignatureError(f"expected a file or directory to sign, found nothing at {path}")
    try:
        manifest = config_of(path, (out, *leave_out)).hash(path)
        signature = signer.sign(signing.Payload(manifest))
        handle, temporary = tempfile.mkstemp(dir=out.parent, prefix=f".{out.name}.")
        os.close(handle)
        try:
            signature.write(Path(temporary))
            os.chmod(temporary, 0o644)
            os.replace(temporary, out)
        finally:
            Path(temporary).unlink(missing_ok=True)
    except OSError as error:
        raise SignatureError(f"cannot sign {path}: {error.strerror or error}") from error


def has_links(path: Path) -> bool:
    """Whether a link is anywhere below a path."""
    return path.is_dir() and any(
        (Path(directory) / name).is_symlink()
        for directory, directories, files in os.walk(path)
        for name in (*directories, *files)
    )


def model_signing(module: str) -> Any:
    """A module of the package ``model_signing``; raises MissingExtra."""
    import importlib

    try:
        return importlib.import_module(f"model_signing.{module}")
    except ImportError as error:
        raise MissingExtra(
            f"signatures need the package model-signing: {error}", hint="pip install 'tiffin[sign]'"
        ) from error
