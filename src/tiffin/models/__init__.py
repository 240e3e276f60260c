"""Saved models: their formats, loaders and addresses; and, for authors, the model store.

``tiffin.models.create``, ``get`` and so on are those of ``tiffin.service.models``, loaded when they are asked for.
"""

from __future__ import annotations

from typing import Any

_OF_THE_STORE = frozenset(
    {"BentoModel", "HuggingFaceModel", "Lineage", "Model", "Tag", "create", "delete", "export_model", "get",
     "import_model", "list", "load", "pull", "push", "save"}
)  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _OF_THE_STORE:
        from tiffin.service import models

        return getattr(models, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
