"""Files as a cluster takes them: each document is applied as it stands, once Tiffin's readers have read it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tiffin.dialects import documents, live, resources, sources
from tiffin.dialects.documents import Document
from tiffin.dialects.resources import Resources
from tiffin.errors import SpecError
from tiffin.plan.objects import Source
from tiffin.spec import Deployment

_SUFFIXES = (".yaml", ".yml", ".json")


def read(given: Sequence[Source]) -> list[Document]:
    """All documents of the sources, in their order; raises SpecError for what is no manifest."""
    found = [document for source in given for document in _of(source)]
    if not found:
        raise SpecError("expected a document, found none")
    return found


def _of(source: Source) -> list[Document]:
    if source.text:
        return documents.parse(source.text, source.file)
    path = Path(source.path)
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in _SUFFIXES and file.is_file())
        if not files:
            raise SpecError("expected a directory with manifests, found none", place=str(path))
        return [document for file in files for document in documents.parse(_text(file), str(file))]
    if path.suffix not in _SUFFIXES:
        raise SpecError(
            f"expected a manifest (YAML or JSON), found {path.name}",
            hint="`tiffin deploy` builds what a service or a model needs, and applies it",
            place=str(path),
        )
    return documents.parse(_text(path), str(path))


def _text(path: Path) -> str:
    data = path.read_bytes()
    if len(data) > documents.MAX_BYTES:
        raise SpecError(f"expected at most {documents.MAX_BYTES:,} bytes, found {len(data):,}", place=str(path))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecError(f"expected UTF-8 text: {error.reason}", place=str(path)) from None


def checked(found: Sequence[Document], namespace: str) -> dict[int, Deployment]:
    """The deployments among them, by their place; raises SpecError for the first that cannot be served."""
    known = Resources()
    for item in found:
        version, kind = sources.kind_of(item)
        if (version, kind) in resources.KINDS:
            known |= live.read_resource(placed(item.value, namespace))
    return {
        number: live.read_object(placed(item.value, namespace), resources=known)
        for number, item in enumerate(found)
        if sources.kind_of(item) in sources.FRONTS
    }


def placed(value: dict[str, Any], namespace: str) -> dict[str, Any]:
    """The object in a namespace: its own, or the one asked for."""
    metadata = value.get("metadata")
    if not isinstance(metadata, dict) or metadata.get("namespace"):
        return value
    return {**value, "metadata": {**metadata, "namespace": namespace}}
