"""Models in OCI registries, ``oci://host/repository[:tag][@sha256:...]``: ModelPacks, ModelKits, images."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from tiffin.errors import AuthorError, RegistryError, StorageError
from tiffin.oci import modelpack
from tiffin.oci.layout import Layout
from tiffin.oci.manifests import read_manifest
from tiffin.oci.moving import Transfer
from tiffin.oci.records import Manifest
from tiffin.oci.reference import Reference, parse
from tiffin.oci.registry import Registry
from tiffin.signing.statement import MEDIA_TYPE
from tiffin.store import artefact
from tiffin.store.manifest import FILES

SCHEMES = ("oci", "oci+native", "oci+fetch")
"""KServe's three ways to bring an image's model into a pod; here they are one."""


class Found(NamedTuple):
    """What an address leads to now. ``key`` changes with it, and with the signatures of it."""

    registry: Registry
    reference: Reference
    digest: str
    key: str


def resolve(uri: str, environment: Mapping[str, str]) -> Found:
    """Ask the registry what an address leads to.

    Raises:
        StorageError: the address is none.
        RegistryError: the registry refuses or does not answer, or there is nothing.
        MissingExtra: the extra ``oci`` is not installed.
    """
    try:
        reference = parse(uri.partition("://")[2])
    except AuthorError as error:
        raise StorageError(f"expected oci://host/repository:tag, found {uri}: {error.message}") from error
    registry = Registry(environment=environment)
    descriptor, _ = registry.resolve(reference)
    signed = ""
    # A registry may allow nobody to list signatures; who requires one will say that there is none.
    with contextlib.suppress(RegistryError):
        signed = ",".join(
            sorted(one.digest for one in _referrers().listed(registry, reference, descriptor.digest))
        )
    return Found(registry, reference, descriptor.digest, f"{descriptor.digest} {signed}")


def _referrers() -> ModuleType:
    """Imported when a registry is asked: it needs the extra ``oci``."""
    from tiffin.oci import referrers

    return referrers


def download(
    found: Found,
    into: Path,
    *,
    arrivals: Path,
    progress: Callable[[int, int], None],
    room: Callable[[int], None],
) -> None:
    """Fetch the model's files, and signatures of it, into an empty directory.

    Args:
        found: what.
        into: gets the files; a signature is ``<key>.sig`` among them.
        arrivals: where layers are kept on their way, so that an interrupted fetch goes on.
        progress: called with the bytes that are there and how many there will be; from several threads.
        room: called before layers are fetched with the bytes they need, and the files that are made of them.

    Raises:
        RegistryError: it is no model, or its bytes are others.
        StorageError: a layer is damaged, or holds what would land outside.
    """
    where = str(found.reference)
    layout = Layout(arrivals / found.digest.partition(":")[2])
    done: dict[str, Transfer] = {}
    last = (-1, -1)

    def report(transfer: Transfer) -> None:
        nonlocal last
        done[transfer.digest] = transfer
        known = list(done.values())
        now = (sum(one.done for one in known), sum(one.total for one in known))
        # All wait before the first one runs: only then is it known how many bytes there are.
        if now != last and transfer.state != "waiting":
            last = now
            progress(*now)

    def check(manifest: Manifest) -> None:
        modelpack.check(manifest, where)
        missing = sum(layer.size for layer in manifest.layers if not layout.path(layer.digest).exists())
        room(missing + sum(layer.size for layer in manifest.layers))

    at = found.reference.at(found.digest)
    summary = found.registry.pull(at, layout, progress=report, check=check)
    data = layout.path(summary.descriptor.digest).read_bytes()
    manifest = read_manifest(data, summary.descriptor.media_type, where)
    tree = into.parent / "tree"
    # What Tiffin pushed has links as they were; what only its stores need is left behind.
    if artefact.restore(manifest, layout, tree, where=where) is None:
        os.rename(tree, into)
    else:
        os.rename(tree / FILES, into)
    _signatures(found, summary.descriptor.digest, into)
    shutil.rmtree(layout.root, ignore_errors=True)


def _signatures(found: Found, digest: str, into: Path) -> None:
    with contextlib.suppress(RegistryError):
        attached = _referrers().attached(found.registry, found.reference, digest, MEDIA_TYPE)
        for number, data in enumerate(attached):
            path = into / f"registry-{number}.sig"
            if not path.exists():
                path.write_bytes(data)
