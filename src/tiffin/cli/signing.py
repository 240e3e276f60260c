"""``tiffin sign`` and ``tiffin verify``: signatures of bundles, models, files and directories."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from tiffin.cli import output

if TYPE_CHECKING:
    from tiffin.signing.kept import Signatures

IsModel = Annotated[bool, typer.Option("--model", help="The tag is a model's.")]
Staging = Annotated[bool, typer.Option("--staging", help="Use sigstore's instance for tests.", hidden=True)]


class _What(NamedTuple):
    """What is signed: its name, the path of its files, and where its signatures are kept, if in a store."""

    name: str
    path: Path
    kept: Signatures | None = None
    digest: str = ""


def sign(
    what: Annotated[str, typer.Argument(metavar="TAG|PATH", help="A bundle or model here, a file or directory.")],
    key: Annotated[
        Path | None, typer.Option("--key", help="A private key in PEM, of P-256, P-384 or P-521.", metavar="FILE")
    ] = None,
    keyless: Annotated[
        bool, typer.Option("--keyless", help="Log in at sigstore instead; needs the network.")
    ] = False,
    token: Annotated[
        str, typer.Option("--identity-token", help="Who signs, for --keyless without a browser.")
    ] = "",
    signature: Annotated[
        Path | None, typer.Option("--signature", help="Write it here instead of beside.", metavar="FILE")
    ] = None,
    is_model: IsModel = False,
    staging: Staging = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Sign a bundle, a model, or files, in the format of sigstore's model-signing.

    The signature of a bundle or model is kept in the store, is no part of its digest, and travels with push and
    pull. That of a PATH is PATH.sig. TIFFIN_SIGN_PASSWORD holds the password of a key that has one.
    """
    from tiffin.errors import SpecError
    from tiffin.signing import keys, making

    if (key is None) == (not keyless):
        raise SpecError(
            "expected --key FILE or --keyless", hint="docs: guides/signatures.md says how to make a key"
        )
    found = _find(what, is_model=is_model)
    password = os.environ.get("TIFFIN_SIGN_PASSWORD", "")
    fingerprint = keys.fingerprint_of_private(key, password) if key is not None else ""
    out = signature or _place(found, fingerprint)
    others = _others(found, out)
    if key is not None:
        making.sign(found.path, key, out, password=password, leave_out=others)
    else:
        making.sign_keyless(found.path, out, token=token, staging=staging, leave_out=others)
    if as_json:
        output.data({"signed": found.name, "signature": str(out), "key": fingerprint})
        return
    print(f"signed {found.name} with {f'the key {fingerprint[:16]}' if fingerprint else 'a certificate'}")
    output.say(f"the signature is {out}")


def verify(
    what: Annotated[str, typer.Argument(metavar="TAG|PATH", help="A bundle or model here, a file or directory.")],
    key: Annotated[
        list[str] | None,
        typer.Option("--key", help="A public key in PEM that is trusted; may be repeated.", metavar="FILE"),
    ] = None,
    identity: Annotated[str, typer.Option("--identity", help="Who signed with --keyless: an e-mail or URL.")] = "",
    issuer: Annotated[str, typer.Option("--issuer", help="Who confirms that identity, for --keyless.")] = "",
    signature: Annotated[
        Path | None, typer.Option("--signature", help="The signature; found beside otherwise.", metavar="FILE")
    ] = None,
    is_model: IsModel = False,
    staging: Staging = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check that a trusted key signed a bundle, a model, or files, and that nothing changed since."""
    from tiffin.errors import SignatureError, SpecError
    from tiffin.signing import checking, keys

    if bool(key) == bool(identity or issuer) or bool(identity) != bool(issuer):
        raise SpecError("expected --key FILE, or --identity with --issuer")
    trusted = [keys.read(one) for one in key or ()]
    found = _find(what, is_model=is_model)
    signatures = [signature] if signature else _signatures(found)
    if identity and not signatures:
        raise SignatureError(f"{found.name} is not signed", hint="sign it: tiffin sign WHAT --keyless")
    if identity:
        done = checking.check_keyless(
            found.path, signatures[0], identity=identity, issuer=issuer, staging=staging, what=found.name
        )
    else:
        done = checking.check(found.path, signatures, trusted, what=found.name)
    if as_json:
        output.data({"verified": found.name, "signature": str(done.signature), "by": done.by})
        return
    print(f"verified {found.name}: signed by {done.by[:16] if key else done.by}, nothing changed since")


def _find(text: str, *, is_model: bool) -> _What:
    """A path that exists and is no tag; else a bundle, else a model. Files of a store are compared first."""
    from tiffin.bundle import BundleStore
    from tiffin.errors import BundleError, ModelError
    from tiffin.kits import paths
    from tiffin.signing.kept import Signatures
    from tiffin.store.models import ModelStore

    if not is_model and Path(text).exists():
        return _What(text, Path(text))
    data = paths.data_directory()
    bundles, models = BundleStore(data.bundles), ModelStore(data.models)
    if not is_model:
        try:
            bundles.find(text)
        except BundleError as error:
            try:
                models.find(text)
            except ModelError:
                raise error from None
        else:
            bundle = bundles.get(text)
            return _What(f"the bundle {text}", bundle.path, Signatures(data.bundles), bundle.digest)
    model = models.get(text)
    return _What(f"the model {model.tag}", model.path, Signatures(data.models), model.digest)


def _place(found: _What, fingerprint: str) -> Path:
    if found.kept is not None:
        return found.kept.place(found.digest, fingerprint)
    return found.path.with_name(f"{found.path.resolve().name}.sig")


def _signatures(found: _What) -> list[Path]:
    from tiffin.signing import checking

    return found.kept.of(found.digest) if found.kept is not None else checking.beside(found.path)


def _others(found: _What, out: Path) -> list[Path]:
    """Signatures inside of what is signed: each leaves the others out."""
    return [one for one in _signatures(found) if one != out] if found.kept is None else []
