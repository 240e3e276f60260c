"""Manifests and indexes as registries give them, and what is chosen from an index. Pure."""

from __future__ import annotations

import platform as machine
from typing import Any, TypeVar

import msgspec

from tiffin.errors import RegistryError
from tiffin.oci import records
from tiffin.oci.records import Descriptor, Index, Manifest, Platform
from tiffin.oci.reference import Reference

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
INDEXES = (records.INDEX, DOCKER_INDEX)
MANIFESTS = (records.MANIFEST, DOCKER_MANIFEST)
TITLE = "org.opencontainers.image.title"
FILE_PATH = "org.cncf.model.filepath"

_Record = TypeVar("_Record", Index, Manifest)


def name_of(blob: Descriptor) -> str:
    """What to call a blob in a list: its title, else what its media type says."""
    title = blob.annotations.get(TITLE) or blob.annotations.get(FILE_PATH)
    return title or blob.media_type.rpartition("/")[2].removeprefix("vnd.")


def read_manifest(data: bytes, media_type: str, where: str) -> Manifest:
    """A manifest as OCI or Docker writes it, where the media type and empty fields may be left out.

    Raises:
        RegistryError: it is none.
    """
    return _read(data, media_type, where, Manifest)


def read_index(data: bytes, media_type: str, where: str) -> Index:
    """An index, as ``read_manifest``."""
    return _read(data, media_type, where, Index)


def _read(data: bytes, media_type: str, where: str, kind: type[_Record]) -> _Record:
    try:
        return msgspec.convert({"mediaType": media_type, **_without_nulls(peek(data))}, kind)
    except msgspec.ValidationError as error:
        raise RegistryError(f"the manifest of {where} is not one: {error}") from error


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def peek(data: bytes) -> dict[str, Any]:
    """A JSON object; empty when it is none."""
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except msgspec.MsgspecError:
        return {}


def choose(index: Index, platform: Platform | None, reference: Reference) -> Descriptor:
    """The image of an index for a platform; the only one where none says what it is for."""
    images = [one for one in index.manifests if one.platform is None or one.platform.os != "unknown"]
    if len(images) == 1 and images[0].platform is None:
        return images[0]
    wanted = platform or _here()
    for one in images:
        if one.platform is not None and _suits(one.platform, wanted):
            return one
    there = ", ".join(sorted({str(one.platform) for one in images if one.platform})) or "none"
    raise RegistryError(
        f"{reference} has nothing for {wanted}", hint=f"it has: {there}; choose one with --platform"
    )


def _suits(has: Platform, wanted: Platform) -> bool:
    same = (has.os, has.architecture) == (wanted.os, wanted.architecture)
    return same and (not wanted.variant or has.variant in ("", wanted.variant))


def _here() -> Platform:
    here = machine.machine().lower()
    names = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
    return Platform(architecture=names.get(here, here))


def checked(blob: Descriptor, reference: Reference) -> Descriptor:
    """A descriptor whose digest may become a path."""
    algorithm, _, value = blob.digest.partition(":")
    if algorithm != "sha256" or len(value) != 64 or not all(digit in "0123456789abcdef" for digit in value):
        raise RegistryError(
            f"expected a digest of sha256 in the manifest of {reference}, found {blob.digest[:80]!r}"
        )
    return blob
