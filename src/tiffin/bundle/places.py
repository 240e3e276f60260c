"""Where bundles and models go and what they are called there; what is told of it. Pure."""

from __future__ import annotations

from typing import Literal

import msgspec

from tiffin.errors import AuthorError
from tiffin.oci.records import Descriptor
from tiffin.oci.reference import Reference, has_host, parse
from tiffin.oci.registry import Summary


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """What went where. ``digest`` is the bundle's or model's own, ``manifest`` that of the registry's record.

    ``moved`` are the bytes that travelled, ``kept`` those that were there already. ``models`` are the tags (or
    digests) of a bundle's models, ``signatures`` how many went with it. ``notes`` say what one might not expect.
    """

    kind: Literal["bundle", "model"]
    tag: str
    digest: str
    reference: str
    manifest: str
    moved: int
    kept: int
    models: tuple[str, ...] = ()
    signatures: int = 0
    notes: tuple[str, ...] = ()


def tag_of(reference: Reference, descriptor: Descriptor) -> str:
    """What is called here what a registry calls ``host/team/name:tag``: ``name:tag``."""
    name = reference.repository.rpartition("/")[2]
    return f"{name}:{reference.tag or (descriptor.digest[7:19] if reference.digest else 'latest')}"


def reference_for(tag: str, reference: str, registry: str) -> Reference:
    """Where a tag is pushed: ``reference``, else the tag itself where it has a host, else below ``registry``.

    Raises:
        AuthorError: no registry is said.
    """
    if reference:
        found = parse(reference)
    elif has_host(tag):
        found = parse(tag)
    elif registry:
        found = parse(f"{registry}/{tag}")
    else:
        raise AuthorError(
            f"which registry {tag} is for is not said",
            hint=f"name it: tiffin push {tag} registry.example.com/team/{tag}, or set TIFFIN_REGISTRY",
        )
    if found.tag or found.digest:
        return found
    version = tag.rpartition(":")[2] if ":" in tag.rpartition("/")[2] else "latest"
    return msgspec.structs.replace(found, tag=version)


def moved(
    kind: Literal["bundle", "model"],
    tag: str,
    digest: str,
    done: Summary,
    *,
    models: tuple[str, ...] = (),
    signatures: int = 0,
    notes: tuple[str, ...] = (),
) -> Moved:
    """What a push or pull of the registry's client did, in these words."""
    return Moved(
        kind=kind,
        tag=tag,
        digest=f"sha256:{digest}",
        reference=str(done.reference),
        manifest=done.descriptor.digest,
        moved=done.moved,
        kept=done.kept,
        models=models,
        signatures=signatures,
        notes=notes,
    )
