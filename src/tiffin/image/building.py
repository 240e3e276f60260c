"""From a bundle to an image: a base and layers for each platform, then the records that bind them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec

import tiffin
from tiffin.bundle import Bundle
from tiffin.bundle.manifest import PinnedModel, Recipe
from tiffin.errors import ImageError
from tiffin.image import base as bases
from tiffin.image import bytecode, config, contents, packages, platforms, system
from tiffin.image.base import Base, Fetch
from tiffin.image.layers import Layer, Workshop
from tiffin.oci.records import (
    IMAGE_CONFIG,
    INDEX,
    MANIFEST,
    Descriptor,
    Index,
    Manifest,
    Platform,
)
from tiffin.store.models import ModelStore, StoredModel

_DISTRIBUTIONS = {"debian": "slim", "alpine": "alpine"}
_ANNOTATED = ("created", "revision", "source", "title", "description", "base.name", "base.digest")


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What to make.

    Attributes:
        base: as ``bases.resolve`` reads it; empty is that of the bundle, else Python's own slim image.
        platforms: one image for each; several make an index.
        python: version; empty is that of the bundle.
        byte_code: compile modules where an interpreter of the version is here.
    """

    base: str = ""
    platforms: tuple[Platform, ...] = ()
    python: str = ""
    byte_code: bool = True


class Made(NamedTuple):
    """An image in the workshop's layout, and the layers of each platform, the base's first."""

    descriptor: Descriptor
    base: str
    images: dict[Platform, tuple[Descriptor, list[Layer], Base]]
    warnings: list[str]


def build(bundle: Bundle, models: ModelStore, wanted: Wanted, workshop: Workshop, *, fetch: Fetch) -> Made:
    """Make the image; nothing is named, so that nobody sees it before it is whole.

    Raises:
        ImageError: it cannot be made; the text says of which part, and for which platform.
        StorageError: a registry or the package index does not answer.
        ModelError: a model of the bundle is not in the store.
    """
    recipe = recipe_of(bundle)
    _check_recipe(recipe)
    python = platforms.python(wanted.python or bundle.manifest.python)
    name = wanted.base or base_of(recipe, python)
    several = wanted.platforms or (platforms.here(),)
    held = models_of(bundle, models)
    images: dict[Platform, tuple[Descriptor, list[Layer], Base]] = {}
    warnings: list[str] = []
    for platform in several:
        base = bases.resolve(name, platform, workshop, fetch=fetch)
        check_base(base, python)
        job = _Job(bundle, base, python, platform, workshop)
        layers, said = _layers(job, held, byte_code=wanted.byte_code)
        images[platform] = (_manifest(job, layers), layers, base)
        warnings += said
    if len(images) == 1:
        descriptor = next(iter(images.values()))[0]
    else:
        manifests = [
            msgspec.structs.replace(found, platform=platform) for platform, (found, _, _) in images.items()
        ]
        descriptor = workshop.layout.write_record(Index(schema_version=2, media_type=INDEX, manifests=manifests))
    return Made(descriptor, name, images, list(dict.fromkeys(warnings)))


def base_of(recipe: Recipe, python: str) -> str:
    """The base of a bundle that was told none: its recipe's, else Python's own image of its distribution."""
    if recipe.base_image:
        return recipe.base_image
    if recipe.distro and recipe.distro not in _DISTRIBUTIONS:
        raise ImageError(
            f"expected the distribution debian or alpine, found {recipe.distro!r}",
            hint="name the image itself: --base, or docker.base_image in the bentofile",
        )
    return f"python:{python}-{_DISTRIBUTIONS[recipe.distro or 'debian']}"


def check_base(base: Base, python: str) -> None:
    """Refuse a base that the packages would not run on; raises ImageError."""
    if python not in base.look.pythons:
        there = ", ".join(sorted(base.look.pythons)) or "no Python at all"
        raise ImageError(
            f"expected Python {python} in the base {base.name}, found {there}",
            hint="choose another --base, or another --python that the bundle's packages have wheels for",
        )
    if base.look.libc is None:
        raise ImageError(
            f"expected glibc or musl in the base {base.name}, found neither",
            hint="choose another --base, such as python:3.11-slim",
        )


def _check_recipe(recipe: Recipe) -> None:
    commands = [*recipe.commands, *recipe.post_commands]
    if commands:
        raise ImageError(
            f"the bundle wants `{commands[0]}` to be run while its image is made, which needs a container",
            hint="`tiffin image --builder docker` (or podman, buildah, nerdctl) runs it in one",
        )


def recipe_of(bundle: Bundle) -> Recipe:
    """What stands around the sources of a bundle; empty for one of format 1."""
    recipe = bundle.manifest.recipe
    return recipe if isinstance(recipe, Recipe) else Recipe()


def models_of(bundle: Bundle, models: ModelStore) -> list[StoredModel]:
    """The models of a bundle, verified; raises ModelError."""
    return [models.get(f"sha256:{one.digest}") for one in _pinned(bundle)]


def _pinned(bundle: Bundle) -> tuple[PinnedModel, ...]:
    models = bundle.manifest.models
    return models if isinstance(models, tuple) else ()


class _Job(NamedTuple):
    """One image: a bundle for one platform on one base."""

    bundle: Bundle
    base: Base
    python: str
    platform: Platform
    workshop: Workshop


def _layers(job: _Job, models: Sequence[StoredModel], *, byte_code: bool) -> tuple[list[Layer], list[str]]:
    bundle, base, python, platform, workshop = job
    libc, texts = base.look.libc, base.look.texts
    assert libc is not None  # check_base
    made: list[Layer] = []
    warnings: list[str] = []
    with tempfile.TemporaryDirectory(prefix="tiffin-image-") as directory:
        place = Path(directory)
        if names := recipe_of(bundle).system_packages:
            layer, said = system.layer(names, base, platform, workshop, place / "system")
            made.append(layer)
            warnings += said
        accounts = [texts.get("etc/passwd"), texts.get("etc/group")]
        made.append(
            workshop.layer(
                "environment",
                ["environment", python, base.look.pythons[python], accounts],
                lambda: contents.environment(base, python),
            )
        )
        target = packages.Target(python, platforms.tags(platform, libc))
        if byte_code and bytecode.interpreter(python) is None:
            warnings.append(f"no Python {python} is here to compile modules with: containers start more slowly")
        made += packages.layers(workshop, bundle, target, place, compile_modules=byte_code)
        for one in models:
            made.append(workshop.layer(f"model {one.tag}", ["model", one.digest], partial(contents.model, one)))
        tags = [(one.tag, one.digest) for one in _pinned(bundle)]
        inputs = ["source", bundle.digest, tags, msgspec.to_builtins(contents.start(bundle))]
        made.append(workshop.layer("source", inputs, lambda: contents.sources(bundle, tags)))
    return made, warnings


def _manifest(job: _Job, layers: Sequence[Layer]) -> Descriptor:
    record = config.record(
        job.bundle,
        job.base,
        layers,
        platform=job.platform,
        python=job.python,
        start=contents.start(job.bundle),
        version=tiffin.__version__,
        mtime=job.workshop.mtime,
    )
    layout = job.workshop.layout
    written = layout.write(msgspec.json.encode(record, order="deterministic"), IMAGE_CONFIG)
    labels = record["config"]["Labels"]
    names = [f"org.opencontainers.image.{name}" for name in _ANNOTATED]
    return layout.write_record(
        Manifest(
            schema_version=2,
            media_type=MANIFEST,
            config=written,
            layers=[*job.base.layers, *(layer.descriptor for layer in layers)],
            annotations={name: labels[name] for name in names if name in labels},
        )
    )
