"""BentoML's bentos as bundles: ``bento.yaml`` of specification 1 and 2, from its store or out of a ``.bento``."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from tiffin.bundle import locking, pinning, requirements, sbom
from tiffin.bundle.manifest import FORMAT, Bundle, Manifest, PinnedModel, Provenance, Recipe
from tiffin.bundle.plan import Plan
from tiffin.bundle.store import BundleStore
from tiffin.errors import BundleError
from tiffin.kits.paths import DataDirectory
from tiffin.spec import SpecWarning
from tiffin.store import bentoml, files
from tiffin.store.models import ModelStore
from tiffin.store.reference import Reference
from tiffin.store.tags import Tag

_REQUIREMENTS = ("env/python/requirements.in", "env/python/requirements.txt")
_LOCKS = ("env/python/requirements.lock.txt", "env/python/requirements.txt")


def get(tag: str, data: DataDirectory) -> Bundle:
    """The bundle of a tag, verified; where there is none, one is made of the bento of that tag.

    Raises:
        BundleError: there is neither, or it has been tampered with.
    """
    bundles = BundleStore(data.bundles)
    try:
        return bundles.get(tag)
    except BundleError as error:
        if not error.message.startswith("there is no bundle"):
            raise
        made = adopt(bundles, ModelStore(data.models), tag)
        if made is None:
            raise
        return bundles.get(made)


def adopt(bundles: BundleStore, models: ModelStore, text: str) -> str | None:
    """Make a bundle of a bento in BentoML's store on this machine; its tag, None when there is no such bento.

    Its models stay where they are; the bundle has their digests.
    """
    found = bentoml.find("bentos", text)
    if found is None:
        return None
    made = plan_of(found.path, found.record, models)
    return bundles.add(made, _reference(Tag.from_str(found.tag)))[0]


def plan_of(directory: Path, record: Mapping[str, Any], models: ModelStore) -> Plan:
    """What a bundle of a bento holds: its ``src`` as the sources, and what ``bento.yaml`` says of them.

    Raises:
        BundleError: it is no bento of a service that can be served, or lacks its sources.
        ModelError: a model it needs is neither in Tiffin's store nor in BentoML's.
    """
    place = directory / bentoml.BENTO
    source = directory / "src"
    target = record.get("service")
    if not isinstance(target, str) or ":" not in target:
        raise BundleError(f"expected service: module:Class, found {target!r}", at=str(place))
    if not source.is_dir():
        raise BundleError("expected the sources of a bento in src/, found none", at=str(directory))
    warnings = []
    if record.get("runners"):
        warnings.append(SpecWarning("runners", "belong to the services of BentoML 1.1, which Tiffin does not run"))
    listed = tuple(files.record(source, path) for path in sorted(files.walk(source)))
    files.check_paths(listed)
    text = _requirements(directory, record)
    lock = _lock(directory)
    pinned = tuple(sorted((_model(tag, models) for tag in _tags(record)), key=lambda model: model.tag))
    python = _python(record)
    builder = f"bentoml/{record.get('bentoml_version') or 'unknown'}"
    bill = sbom.document(
        name=target, builder=builder, python=python, packages=requirements.pinned(lock or text), models=pinned
    )
    readme = directory / "README.md"
    description = readme.read_text(encoding="utf-8", errors="replace") if readme.is_file() else ""
    schema = record.get("schema")
    given = record.get("args") or {}
    try:
        manifest = Manifest(
            format=FORMAT,
            kind="service",
            target=target,
            python=python,
            requirements=text,
            labels={str(k): str(v) for k, v in (record.get("labels") or {}).items()},
            environment=_environment(record),
            files=listed,
            recipe=_recipe(record, lock),
            models=pinned or msgspec.UNSET,
            schema=schema if isinstance(schema, dict) and schema else msgspec.UNSET,
            provenance=Provenance(builder=builder),
            sbom=hashlib.sha256(bill).hexdigest(),
            description=description or msgspec.UNSET,
            options=given or msgspec.UNSET,
        )
        manifest = msgspec.convert(msgspec.to_builtins(manifest), Manifest)
    except (msgspec.ValidationError, AttributeError, TypeError) as error:
        raise BundleError(f"expected the record of a bento: {error}", at=str(place)) from error
    return Plan(
        manifest=manifest,
        origins={file.path: source / file.path for file in listed},
        name=str(record.get("name") or "bento"),
        said_by=f"service in {bentoml.BENTO}",
        sbom=bill,
        root=source,
        warnings=tuple(warnings),
    )


def import_bento(bundles: BundleStore, models: ModelStore, directory: Path, tag: str = "") -> tuple[str, Plan]:
    """Store an unpacked ``.bento``: the models that it carries, then its bundle; the tag, and what was planned."""
    from tiffin.store import trees

    record = bentoml.read_record(directory / bentoml.BENTO)
    reference = _reference(Tag.from_str(tag) if tag else bentoml.tag_of(record))
    for found in sorted((directory / "models").glob(f"*/*/{bentoml.MODEL}")):
        trees.of_bentoml(models, found.parent)
    made = plan_of(directory, record, models)
    return bundles.add(made, reference, is_moving=False)[0], made


def _reference(tag: Tag) -> Reference:
    return Reference(tag.name, tag.version or "")


def _tags(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Tags and aliases of all models, those of its services too; models of the hub have no tag in the store."""
    entries = list(record.get("models") or ())
    for service in record.get("services") or ():
        entries += service.get("models") or ()
    found = {}
    for entry in entries:
        if isinstance(entry, str):
            found[entry] = ""
        elif isinstance(entry, dict) and entry.get("registry", "bentoml") == "bentoml":
            found[str(entry.get("tag"))] = str(entry.get("alias") or "")
    return sorted(found.items())


def _model(wanted: tuple[str, str], models: ModelStore) -> PinnedModel:
    tag, alias = wanted
    model, source = pinning.located(models, tag)
    return PinnedModel(tag=model.tag, digest=model.digest, size=model.size, alias=alias, source=source)


def _python(record: Mapping[str, Any]) -> str:
    image = record.get("image") or {}
    docker = record.get("docker") or {}
    written = str(image.get("python_version") or docker.get("python_version") or "")
    parts = written.split(".")
    return ".".join(parts[:2]) if len(parts) > 1 else ".".join(platform.python_version_tuple()[:2])


def _requirements(directory: Path, record: Mapping[str, Any]) -> str:
    image = record.get("image") or {}
    if text := image.get("python_requirements"):
        return str(text)
    for name in _REQUIREMENTS:
        if (directory / name).is_file():
            return (directory / name).read_text(encoding="utf-8")
    packages = (record.get("python") or {}).get("packages") or ()
    return "".join(f"{package}\n" for package in packages)


def _lock(directory: Path) -> str:
    """BentoML's lock, where it has hashes."""
    for name in _LOCKS:
        if (directory / name).is_file():
            text = (directory / name).read_text(encoding="utf-8")
            if requirements.is_lock(text):
                return locking.canonical(text)
    return ""


def _environment(record: Mapping[str, Any]) -> dict[str, str]:
    return {
        str(entry["name"]): str(entry["value"])
        for entry in record.get("envs") or ()
        if entry.get("value") is not None and entry.get("stage", "all") != "build"
    }


def _recipe(record: Mapping[str, Any], lock: str) -> Recipe:
    image = record.get("image") or {}
    docker = record.get("docker") or {}
    return Recipe(
        locked=lock,
        base_image=str(image.get("base_image") or docker.get("base_image") or ""),
        distro=str(docker.get("distro") or ""),
        system_packages=tuple(docker.get("system_packages") or ()),
        commands=tuple(image.get("commands") or ()),
        post_commands=tuple(image.get("post_commands") or ()),
        build_include=tuple(image.get("build_include") or ()),
    )
