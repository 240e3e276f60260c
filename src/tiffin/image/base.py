"""The image that a bundle's layers go on top of, wherever it comes from."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from tiffin.errors import ImageError, StorageError
from tiffin.image import bytecode, host, looking, members, platforms
from tiffin.image.layers import Layer, Workshop, saving
from tiffin.image.looking import Look
from tiffin.oci import archives
from tiffin.oci.layout import Layout
from tiffin.oci.records import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    INDEX,
    LAYER,
    LAYER_GZIP,
    LAYER_ZSTD,
    MANIFEST,
    Descriptor,
    Manifest,
    Platform,
)

SCRATCH = "scratch-from-host"
_ARCHIVES = ("docker-archive", "oci-archive")
_DOCKER_LAYERS = {
    "application/vnd.docker.image.rootfs.diff.tar.gzip": LAYER_GZIP,
    "application/vnd.docker.image.rootfs.diff.tar": LAYER,
    "application/vnd.docker.image.rootfs.diff.tar.zstd": LAYER_ZSTD,
}

Fetch = Callable[[str, Layout, Platform], Descriptor]
"""Pulls a reference for one platform into a layout; the manifest."""


class Base(msgspec.Struct, frozen=True, kw_only=True):
    """A base in the workshop.

    Attributes:
        name: as it was asked for.
        origin: its reference; empty for a file of this machine, whose place says nothing elsewhere.
        digest: of its manifest; empty when it was made here.
        layers: blobs, the lowest first.
        diff_ids: sha256 of each layer's tar.
        config: the ``config`` of the image's record: its variables, user and so on.
        history: that of the record.
        look: what was found in it.
    """

    name: str
    origin: str = ""
    digest: str
    layers: list[Descriptor]
    diff_ids: list[str]
    config: dict[str, Any]
    history: list[dict[str, Any]]
    look: Look

    @property
    def variables(self) -> dict[str, str]:
        """The variables it sets."""
        pairs = (str(line).partition("=") for line in self.config.get("Env") or ())
        return {name: value for name, _, value in pairs}


def resolve(text: str, platform: Platform, workshop: Workshop, *, fetch: Fetch) -> Base:
    """The base that ``--base`` names: a reference, ``oci:DIR[:NAME]``, ``oci-archive:FILE[:NAME]``,
    ``docker-archive:FILE[:NAME]`` or ``scratch-from-host``.

    Raises:
        ImageError: it is not there, is broken, or is for another platform.
        StorageError: the registry cannot be reached.
    """
    if text == SCRATCH:
        return _scratch(platform, workshop)
    kind, _, rest = text.partition(":")
    if kind == "oci":
        path, name = _split(rest)
        layout = Layout(path)
        found = _choose(layout, layout.find(name), platform, text)
        layout.copy_to(workshop.layout, found)
    elif kind in _ARCHIVES:
        path, name = _split(rest)
        found = _choose(workshop.layout, _archive(path, name, workshop), platform, text)
    else:
        workshop.layout.make()
        found = fetch(text, workshop.layout, platform)
    return _read(text, found, platform, workshop)


def _split(text: str) -> tuple[Path, str]:
    """``DIR:NAME:TAG`` is the layout in DIR and the image NAME:TAG; a path is taken as long as it exists."""
    if Path(text).exists():
        return Path(text), ""
    path, _, name = text.partition(":")
    if not path or not Path(path).exists():
        raise ImageError(f"expected a base at {path or text!r}, found nothing there", at="--base")
    return Path(path), name


def _archive(path: Path, name: str, workshop: Workshop) -> Descriptor:
    """Brought in once: an archive that has not changed since is not read again."""
    state = path.stat()
    key = workshop.key("archive", [str(path.resolve()), state.st_size, state.st_mtime_ns, name])
    held = workshop.recall(key, Descriptor)
    if held is not None and all(workshop.layout.touch(one) for one in _closure(workshop.layout, held)):
        return held
    workshop.say(f"reading {path}")
    with saving(workshop.root):
        found = archives.read(path, workshop.layout, name=name)
    workshop.remember(key, found)
    return found


def _closure(layout: Layout, descriptor: Descriptor) -> list[Descriptor]:
    return layout.closure(descriptor) if layout.has(descriptor) else [descriptor]


def _choose(layout: Layout, found: Descriptor, platform: Platform, name: str) -> Descriptor:
    if found.media_type not in (INDEX, DOCKER_LIST):
        return found
    held = layout.read_index(found).manifests
    for one in held:
        if one.platform and (one.platform.os, one.platform.architecture) == (platform.os, platform.architecture):
            return one
    there = ", ".join(str(one.platform) for one in held if one.platform) or "none"
    raise ImageError(f"the base {name} is not there for {platform}; it is for {there}", at="--platform")


def _read(name: str, found: Descriptor, platform: Platform, workshop: Workshop) -> Base:
    layout = workshop.layout
    if found.media_type not in (MANIFEST, DOCKER_MANIFEST):
        raise ImageError(f"expected an image as the base, found {found.media_type}", at=name)
    manifest = layout.read_manifest(found)
    config = _config(layout, manifest, name)
    if config.get("architecture") != platform.architecture or config.get("os", "linux") != platform.os:
        raise ImageError(
            f"the base {name} is for {config.get('os')}/{config.get('architecture')}, expected {platform}",
            hint="choose another --base, or another --platform",
        )
    key = workshop.key("look", [manifest.config.digest, [layer.digest for layer in manifest.layers]])
    look = workshop.recall(key, Look)
    if look is None:
        workshop.say(f"reading the base {name}")
        for layer in manifest.layers:
            layout.verify(layer)
        look = looking.look((layer, layout.path(layer.digest)) for layer in manifest.layers)
        workshop.remember(key, look)
    diff_ids = config.get("rootfs", {}).get("diff_ids") or []
    if len(diff_ids) != len(manifest.layers):
        raise ImageError(f"the base {name} has {len(manifest.layers)} layers and {len(diff_ids)} diff_ids")
    return Base(
        name=name,
        origin="" if name.partition(":")[0] in ("oci", *_ARCHIVES) else name,
        digest=found.digest,
        layers=[_as_oci(layer, name) for layer in manifest.layers],
        diff_ids=diff_ids,
        config=config.get("config") or {},
        history=config.get("history") or [],
        look=look,
    )


def _config(layout: Layout, manifest: Manifest, name: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(layout.read(manifest.config), type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise ImageError(f"expected the record of an image as the base: {error}", at=name) from error


def _as_oci(layer: Descriptor, name: str) -> Descriptor:
    """The same blob under OCI's media type: a manifest of OCI may not name Docker's."""
    media_type = _DOCKER_LAYERS.get(layer.media_type, layer.media_type)
    if media_type not in (LAYER, LAYER_GZIP, LAYER_ZSTD):
        raise ImageError(f"the base {name} has a layer of {layer.media_type}, which no image of OCI holds")
    return Descriptor(media_type=media_type, digest=layer.digest, size=layer.size)


def _scratch(platform: Platform, workshop: Workshop) -> Base:
    if platform != platforms.here():
        raise ImageError(
            f"{SCRATCH} is of this machine, which is {platforms.here()}, and cannot be {platform}",
            hint="name a base that is for it: --base python:3.11-slim",
        )
    version = host.python()
    program = bytecode.interpreter(version)
    with tempfile.TemporaryDirectory(prefix="tiffin-base-") as place:

        def make() -> list[members.Member]:
            workshop.say(f"making a base of this machine's Python {version}")
            found = host.gather()
            return found + (bytecode.compiled(found, program, Path(place, "pyc")) if program else [])

        layer: Layer = workshop.layer(f"base: {SCRATCH}, Python {version}", ["scratch", host.inputs()], make)
    key = workshop.key("look", [layer.descriptor.digest])
    look = workshop.recall(key, Look)
    if look is None:
        look = looking.look([(layer.descriptor, workshop.layout.path(layer.descriptor.digest))])
        workshop.remember(key, look)
    if look.libc is None:
        raise StorageError("this machine's C library cannot be recognised", hint="name a base: --base")
    return Base(
        name=SCRATCH,
        origin=SCRATCH,
        digest="",
        layers=[layer.descriptor],
        diff_ids=[layer.diff_id],
        config={"Env": [f"{name}={value}" for name, value in host.environment().items()]},
        history=[{"created_by": f"tiffin image: {layer.title}"}],
        look=look,
    )
