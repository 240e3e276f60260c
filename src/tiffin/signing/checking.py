"""Checking what is on disk against its signatures: by whom, and whether it is still what was signed."""

from __future__ import annotations

import contextlib
import io
import os
import re
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tiffin.errors import SignatureError
from tiffin.signing import statement
from tiffin.signing.keys import PublicKey
from tiffin.signing.making import has_links, model_signing
from tiffin.signing.statement import Signature

_GIT = (".git", ".github", ".gitattributes", ".gitignore")


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """What was found to be true: the signature file, and the fingerprint (or identity) it is by."""

    signature: Path
    by: str


def beside(path: Path) -> list[Path]:
    """The signatures beside a model: ``PATH.sig``, next to a file ``model.sig``, in a directory ``*.sig``."""
    candidates = [path.with_name(f"{path.name}.sig")]
    if path.is_dir():
        candidates += sorted(path.glob("*.sig"))
    else:
        candidates += [path.with_suffix(".sig"), path.with_name("model.sig")]
    return [one for one in dict.fromkeys(candidates) if one != path and statement.is_signature(one)]


def check(path: Path, signatures: Sequence[Path], trusted: Sequence[PublicKey], *, what: str) -> Verified:
    """Find one signature by a trusted key that is of exactly these files.

    Args:
        path: a file or directory.
        signatures: files that may be signatures of it.
        trusted: the keys that count.
        what: how ``path`` is called in messages.

    Raises:
        SignatureError: there is none; it says what is wrong with the nearest, with its file and key.
        MissingExtra: ``model-signing`` is not installed.
    """
    if not signatures:
        raise SignatureError(
            f"{what} is not signed: a signature by {_listed(trusted)} is required",
            hint="sign it: tiffin sign WHAT --key key.pem",
        )
    problems: list[SignatureError] = []
    strangers: list[Signature] = []
    for one in signatures:
        try:
            found = statement.read(one)
            keys = [key for key in trusted if not found.is_keyless and found.hint in ("", key.fingerprint)]
            if not keys:
                strangers.append(found)
                continue
        except SignatureError as error:
            problems.append(error)
            continue
        for key in keys:
            try:
                _by_key(path, found, key, signatures, what)
            except SignatureError as error:
                problems.append(error)
            else:
                return Verified(signature=one, by=key.fingerprint)
    if problems:
        raise problems[0]
    first = strangers[0]
    raise SignatureError(
        f"{what} is signed by {first.by} ({first.path.name}), and required is {_listed(trusted)}",
        hint="add its public key where signatures are required if it is to be trusted, or sign it again",
    )


def check_keyless(
    path: Path, signature: Path, *, identity: str, issuer: str, staging: bool = False, what: str
) -> Verified:
    """As ``check``, by who logged in at sigstore: ``identity`` (an e-mail) as ``issuer`` confirms it.

    The first time it needs the network, for sigstore's roots of trust.
    """
    found = statement.read(signature)
    if not found.is_keyless:
        raise SignatureError(f"{what} is signed by {found.by}, not by a certificate", hint="check it with --key")
    sigstore = model_signing("_signing.sign_sigstore")
    try:
        verifier = sigstore.Verifier(identity=identity, oidc_issuer=issuer, use_staging=staging)
    except Exception as error:
        raise SignatureError(
            f"sigstore's roots of trust cannot be had: {type(error).__name__}: {error}", hint="check the network"
        ) from error
    _compare(path, found, verifier, sigstore, [signature], what, f"{identity} ({issuer})")
    return Verified(signature=signature, by=identity)


def _by_key(path: Path, found: Signature, key: PublicKey, beside: Iterable[Path], what: str) -> None:
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        file.write(key.pem)
        file.flush()
        verifier = model_signing("_signing.sign_ec_key").Verifier(Path(file.name))
    _compare(path, found, verifier, model_signing("_signing.sign_sigstore_pb"), beside, what, f"the key {key}")


def _compare(
    path: Path, found: Signature, verifier: Any, form: Any, signatures: Iterable[Path], what: str, whose: str
) -> None:
    """The signature is by ``whose``, and of what is at ``path``; raises SignatureError."""
    try:
        # The library prints warnings to standard output, which is for data.
        with contextlib.redirect_stdout(io.StringIO()):
            signed = verifier.verify(form.Signature.read(found.path))
    except Exception as error:
        said = f": {error}" if str(error) else ""
        raise SignatureError(
            f"the signature {found.path.name} of {what} is not by {whose}, as it says: it was changed"
            f" ({type(error).__name__}{said})",
            hint=_TAMPERED,
        ) from error
    inside = [one.relative_to(path) for one in signatures if path.is_dir() and one.is_relative_to(path)]
    try:
        there = _as_signed(path, found, inside).hash(path)
    except (OSError, ValueError) as error:
        raise SignatureError(f"{what} cannot be read to be compared with {found.path.name}: {error}") from error
    if wrong := _difference(_digests(signed), _digests(there)):
        name, how = wrong
        name = path.name if name == "." else name
        raise SignatureError(
            f"{what} is not what was signed: {name} {how} the signature {found.path.name} by {whose}",
            hint=_TAMPERED,
        )
    left_out = _left_out(path, found, inside)
    if left_out:
        raise SignatureError(
            f"the signature {found.path.name} of {what} leaves {left_out} out, so that it may be anything",
            hint="sign it again with all of its files, or delete what is not signed",
        )


def _digests(manifest: Any) -> dict[str, tuple[str, bytes]]:
    """How each file (or shard of one) hashes, by its path."""
    return {
        str(one.identifier): (one.digest.algorithm, one.digest.digest_value)
        for one in manifest.resource_descriptors()
    }


def _difference(
    signed: dict[str, tuple[str, bytes]], there: dict[str, tuple[str, bytes]]
) -> tuple[str, str] | None:
    """The first file that differs, and how."""
    for name in sorted(signed.keys() | there.keys()):
        if name not in there:
            return name, "is missing, which is part of"
        if name not in signed:
            return name, "is no part of"
        if signed[name] != there[name]:
            return name, "has changed since"
    return None


_TAMPERED = "fetch it again from who signed it, or sign it again once you have looked at the change"


def _as_signed(path: Path, found: Signature, inside: Sequence[Path]) -> Any:
    hashing = model_signing("hashing")
    written = found.serialization
    ignored = [Path(str(one)) for one in written.get("ignore_paths", ())]
    config = hashing.Config()
    if written.get("method") == "shards":
        config.use_shard_serialization(
            hashing_algorithm=written.get("hash_type"), shard_size=written.get("shard_size"), ignore_paths=ignored
        )
    elif written.get("method") == "files":
        config.use_file_serialization(hashing_algorithm=written.get("hash_type"), ignore_paths=ignored)
    else:
        raise SignatureError(
            f"the signature {found.path.name} hashes files in a way that is not known: {written.get('method')!r}"
        )
    config.set_ignored_paths(paths=[*ignored, *inside], ignore_git_paths=False)
    return config.set_allow_symlinks(has_links(path))


def _left_out(path: Path, found: Signature, inside: Sequence[Path]) -> str:
    """The first file that is there and that the signature says nothing of."""
    if not path.is_dir():
        return ""
    ignored = {str(one) for one in found.serialization.get("ignore_paths", ())}
    covered = {re.sub(r":[0-9]+:[0-9]+$", "", name) for name in found.files}
    for directory, directories, files in os.walk(path, followlinks=True):
        if Path(directory) == path:
            # What the library leaves out unless told otherwise: no model is in there.
            directories[:] = [name for name in directories if name not in _GIT or name not in ignored]
            files = [name for name in files if name not in _GIT or name not in ignored]
        for name in sorted(files):
            relative = (Path(directory) / name).relative_to(path)
            if str(relative.as_posix()) not in covered and relative not in inside:
                return str(relative)
    return ""


def _listed(keys: Sequence[PublicKey]) -> str:
    return " or ".join(f"the key {key}" for key in keys) or "a key (none is named)"
