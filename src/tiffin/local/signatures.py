"""Required signatures: checked when an artefact is on this disk, and before anything opens or imports it.

A deployment asks for it by its policy, the platform for all deployments by ``TIFFIN_REQUIRE_SIGNATURE``: public
keys (files, with ``:`` between them), of which one must have signed. What lies outside of Tiffin's own directory
is copied there first, so that what was checked is what starts, now and after a restart.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from tiffin.errors import SignatureError, StorageError
from tiffin.kits.paths import DataDirectory
from tiffin.models import remotes, storage
from tiffin.signing import checking, keys
from tiffin.signing.kept import Signatures
from tiffin.signing.keys import PublicKey
from tiffin.spec import Component, ContainerSource, ModelSource
from tiffin.spec.deployment import Artefact

VARIABLE = "TIFFIN_REQUIRE_SIGNATURE"


class Required(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks for a signature, and the keys of which one must have made it."""

    by: str
    keys: tuple[PublicKey, ...]


def required(components: Sequence[Component], environment: Mapping[str, str] | None = None) -> list[Required]:
    """What these components must meet, each by itself; empty when nothing is required.

    Raises:
        SignatureError: a key cannot be read, or none is named.
    """
    environment = os.environ if environment is None else environment
    platform = [one for one in environment.get(VARIABLE, "").split(os.pathsep) if one]
    found = [Required(by=VARIABLE, keys=tuple(keys.read(one) for one in platform))] if platform else []
    for policy in dict.fromkeys(component.policy for component in components):
        if policy.require_signature and policy.keys:
            found.append(Required(by="policy", keys=tuple(keys.read(one) for one in policy.keys)))
        elif policy.require_signature and not platform:
            raise SignatureError(
                "policy.requireSignature is true, and the platform has no keys of its own",
                hint=f"name them there: {{keys: [team.pub]}}, or start the controller with {VARIABLE}=team.pub",
            )
    return found


def checked(
    component: Component, path: Path, data: DataDirectory, required: Sequence[Required]
) -> tuple[Component, Path]:
    """The component and its artefact, which are as they were signed; perhaps a copy of it.

    Raises:
        SignatureError: a signature is missing, by another key, or of something else; it names the file and key.
        StorageError: the copy cannot be made.
    """
    source = component.source
    if isinstance(source, ContainerSource):
        if not source.bundle:
            raise SignatureError(
                f"a signature is required, and those of images ({source.image}) are not checked here",
                hint=f"make a bundle of it and sign that: tiffin build -t {source.image} DIR; tiffin sign",
            )
        mounts = {
            place: Artefact(uri=str(_one(Path(mount.uri), mount.uri, data, required, {})))
            for place, mount in source.mounts.items()
        }
        component = msgspec.structs.replace(component, source=msgspec.structs.replace(source, mounts=mounts))
        return component, _one(path, source.image, data, required, {})
    credentials = source.credentials if isinstance(source, ModelSource) else {}
    return component, _one(path, source.artefact.uri, data, required, credentials)


def _one(
    path: Path, uri: str, data: DataDirectory, required: Sequence[Required], credentials: Mapping[str, str]
) -> Path:
    what = remotes.shown(uri)
    if digest := _inside(path, data.bundles):
        _bundle(digest, data, required)
        return path
    if digest := _inside(path, data.models):
        _all(path, Signatures(data.models).of(digest), required, what)
        return path
    signatures = checking.beside(path)
    if remotes.scheme_of(uri) not in ("", "file") and path.is_file():
        signatures += _remote(uri, data, credentials)
    if not path.resolve().is_relative_to(data.cache.resolve()):
        path, signatures = storage.copied(path, signatures, cache=data.cache)
    _all(path, signatures, required, what)
    return path


def _bundle(digest: str, data: DataDirectory, required: Sequence[Required]) -> None:
    """A bundle is signed as a whole. Its manifest has the digests of its models, which are compared here."""
    from tiffin.bundle.store import BundleStore
    from tiffin.store.models import ModelStore

    bundle = BundleStore(data.bundles).get(f"sha256:{digest}")
    name = f"the bundle {bundle.tags[0] if bundle.tags else digest[:12]}"
    _all(bundle.path, Signatures(data.bundles).of(digest), required, name)
    models = () if isinstance(bundle.manifest.models, msgspec.UnsetType) else bundle.manifest.models
    for model in models:
        if model.source:
            raise SignatureError(
                f"{name} needs the model {model.tag} of {model.source}, which its signature says nothing of",
                hint="import the model to the store and build the bundle again",
            )
        ModelStore(data.models).get(f"sha256:{model.digest.removeprefix('sha256:')}")


def _all(path: Path, signatures: Sequence[Path], required: Sequence[Required], what: str) -> None:
    for one in required:
        checking.check(path, signatures, one.keys, what=what)


def _inside(path: Path, store: Path) -> str:
    """The digest of what a path is a part of in a store; empty when it is not there."""
    content = (store / "content").resolve()
    found = path.resolve()
    return found.relative_to(content).parts[0] if found.is_relative_to(content) and found != content else ""


def _remote(uri: str, data: DataDirectory, credentials: Mapping[str, str]) -> list[Path]:
    """The signature at ``URI.sig``, or ``model.sig`` next to it."""
    head, _, _ = uri.rpartition("/")
    for candidate in (f"{uri}.sig", f"{head}/model.sig"):
        try:
            return [storage.fetch(candidate, base=Path("/"), cache=data.cache, credentials=dict(credentials))]
        except StorageError:
            continue
    return []
