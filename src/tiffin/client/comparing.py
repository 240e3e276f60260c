"""Documents as their authors wrote them, and as a controller has them: what ``tiffin diff`` compares. Pure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from tiffin.dialects import bases, documents
from tiffin.errors import TiffinError
from tiffin.plan.objects import Compared, Object
from tiffin.spec import Deployment

_ADDED = frozenset(
    ("resourceVersion", "generation", "creationTimestamp", "uid", "managedFields", "selfLink", "namespace")
)


def compared(key: str, spec: Deployment, live: Object | None) -> Compared:
    """A deployment of a file beside the one that is desired now.

    Documents are compared as they are written where both sides have one; else what they mean.
    """
    document = _document(spec)
    if live is None:
        return Compared(key=key, after=_written(document or _plain(spec)), file=spec.file)
    is_written = document is not None and live.document
    return Compared(
        key=key,
        before=_written(live.document if is_written else _plain(live.spec)),
        after=_written(document if is_written else _plain(spec)),
        file=spec.file,
    )


def _written(document: dict[str, Any] | None) -> dict[str, Any] | None:
    """What its author wrote: without what is added when it is shown, and the namespace, which its key has."""
    if document is None:
        return None
    found = {name: value for name, value in bases.without(document).items() if name != "status"}
    if isinstance(metadata := found.get("metadata"), dict):
        found["metadata"] = {name: value for name, value in metadata.items() if name not in _ADDED}
    return found


def _plain(spec: Deployment) -> dict[str, Any]:
    """Without what says where it was written, and what is no part of what is desired."""
    bare = msgspec.structs.replace(spec, file="", document=0, warnings=())
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(bare))
    return found


def _document(spec: Deployment) -> dict[str, Any] | None:
    """The document the deployment was written in; ``None`` for what is no document, such as a saved model."""
    path = Path(spec.file)
    if path.suffix not in (".yaml", ".yml", ".json") or not path.is_file():
        return None
    try:
        found = documents.parse(path.read_text(encoding="utf-8-sig"), str(path))
    except (TiffinError, OSError, ValueError):
        return None
    value = found[spec.document].value if spec.document < len(found) else None
    return value if isinstance(value, dict) and value.get("kind") != "List" and "apiVersion" in value else None
