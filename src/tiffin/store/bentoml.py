"""BentoML's own store on this machine, read and never written: ``$BENTOML_HOME`` (``~/bentoml``).

models/<name>/<version>/model.yaml      beside the model's files
bentos/<name>/<version>/bento.yaml      beside src/, env/, apis/
{models,bentos}/<name>/latest           the newest version, one line
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from tiffin.errors import AuthorError, ModelError
from tiffin.store import files
from tiffin.store.manifest import Lineage, ModelManifest
from tiffin.store.models import StoredModel
from tiffin.store.tags import Tag

MODEL = "model.yaml"
BENTO = "bento.yaml"
_RECORDS = {"models": MODEL, "bentos": BENTO}


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A model or bento of BentoML's store, without its content: ``record`` is its YAML, ``size`` in bytes."""

    tag: str
    path: Path
    record: dict[str, Any]
    size: int

    @property
    def created(self) -> str:
        """When it was made, as it is written there."""
        return str(self.record.get("creation_time", ""))


def home(environment: Mapping[str, str] | None = None) -> Path:
    """Where BentoML keeps its things."""
    environment = os.environ if environment is None else environment
    return Path(environment.get("BENTOML_HOME") or Path.home() / "bentoml")


def find(kind: Literal["models", "bentos"], text: str, root: Path | None = None) -> Found | None:
    """A model or bento by ``name``, ``name:version`` or the beginning of a version; None when it is not there.

    Raises:
        AuthorError: its record cannot be read, or several versions begin like that.
    """
    try:
        tag = Tag.from_str(text)
    except ModelError:
        return None
    directory = (root or home()) / kind / tag.name
    path = _version(directory, tag, _RECORDS[kind])
    return _read(path, kind) if path is not None else None


def every(kind: Literal["models", "bentos"], root: Path | None = None) -> list[Found]:
    """All models or bentos, sorted by tag; what cannot be read is left out."""
    found = []
    for record in sorted(((root or home()) / kind).glob(f"*/*/{_RECORDS[kind]}")):
        try:
            found.append(_read(record.parent, kind))
        except (AuthorError, OSError):
            continue
    return found


def stored(found: Found) -> StoredModel:
    """A model with its digest: every file is read for it."""
    manifest = manifest_of(found.path, found.record)
    return StoredModel(
        tag=found.tag, digest=manifest.digest, manifest=manifest, path=found.path, created=found.created
    )


def manifest_of(directory: Path, record: Mapping[str, Any]) -> ModelManifest:
    """A model directory of BentoML's as Tiffin records models. ``model.yaml`` itself is none of its files.

    Raises:
        ModelError: the record is not what BentoML writes.
    """
    context = record.get("context") or {}
    listed = tuple(
        files.record(directory, path, ModelError) for path in sorted(files.walk(directory)) if path != MODEL
    )
    try:
        return msgspec.convert(
            {
                "module": record.get("module") or "",
                "labels": {str(k): str(v) for k, v in (record.get("labels") or {}).items()},
                "metadata": _plain(record.get("metadata") or {}),
                "frameworks": {str(k): str(v) for k, v in (context.get("framework_versions") or {}).items()},
                "python": str(context.get("python_version") or ""),
                "signatures": _plain(record.get("signatures") or {}),
                "options": _plain(record.get("options") or {}),
                "lineage": Lineage(source=f"bentoml/{context.get('bentoml_version') or 'unknown'}"),
                "files": listed,
            },
            ModelManifest,
        )
    except (msgspec.ValidationError, AttributeError, TypeError) as error:
        raise ModelError(f"expected a model record of BentoML: {error}", at=str(directory / MODEL)) from error


def read_record(file: Path) -> dict[str, Any]:
    """The mapping of a ``model.yaml`` or ``bento.yaml``.

    Raises:
        ModelError: it is no YAML, or no mapping.
    """
    import yaml

    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ModelError(f"cannot read it: {error}", at=str(file)) from error
    if not isinstance(found, dict):
        raise ModelError(f"expected a mapping, found {type(found).__name__}", at=str(file))
    return found


def tag_of(record: Mapping[str, Any], otherwise: Tag | None = None) -> Tag:
    """The tag a record says it has.

    Raises:
        ModelError: it says none, or what is none.
    """
    name, version = record.get("name"), record.get("version")
    if name and version:
        return Tag(str(name), str(version))
    if otherwise is None:
        raise ModelError("expected name and version in the record, found none")
    return otherwise


def _read(path: Path, kind: Literal["models", "bentos"]) -> Found:
    tag = Tag(path.parent.name, path.name)
    size = sum((path / name).lstat().st_size for name in files.walk(path))
    return Found(tag=str(tag), path=path, record=read_record(path / _RECORDS[kind]), size=size)


def _version(directory: Path, tag: Tag, record: str) -> Path | None:
    known = {p.parent.name: p.parent for p in directory.glob(f"*/{record}")}
    if tag.version in (None, "latest"):
        latest = directory / "latest"
        if latest.is_file() and (named := latest.read_text(encoding="utf-8").strip()) in known:
            return known[named]
        return max(known.values(), key=lambda path: (path / record).stat().st_mtime_ns, default=None)
    assert tag.version is not None
    if tag.version in known:
        return known[tag.version]
    begun = sorted(version for version in known if version.startswith(tag.version or ""))
    if len(begun) > 1:
        raise ModelError(
            f"expected the beginning of one version, found {len(begun)} for {tag}: {', '.join(begun)}"
        )
    return known[begun[0]] if begun else None


def _plain(value: Any) -> Any:
    """YAML has dates where JSON has text."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(item) for item in value]
    return value.isoformat() if isinstance(value, datetime) else value
