"""``kserve.model_repository``: the models of a server by name."""

from __future__ import annotations

import os
from typing import Any

MODEL_MOUNT_DIRS = "/mnt/models"


class ModelRepository:
    """Models by name; ``models_dir`` holds one directory for each."""

    def __init__(self, models_dir: str = MODEL_MOUNT_DIRS) -> None:
        self.models: dict[str, Any] = {}
        self.models_dir = models_dir

    def load_models(self) -> None:
        """``load_model`` for each directory of ``models_dir``."""
        for name in sorted(os.listdir(self.models_dir)):
            if os.path.isdir(os.path.join(self.models_dir, name)):
                self.load_model(name)

    def set_models_dir(self, models_dir: str) -> None:
        """Another directory."""
        self.models_dir = models_dir

    def get_model(self, name: str) -> Any:
        """The model; None when there is none of that name."""
        return self.models.get(name)

    def get_models(self) -> dict[str, Any]:
        """All of them."""
        return self.models

    async def is_model_ready(self, name: str) -> bool:
        """Whether it is there and healthy."""
        model = self.get_model(name)
        return model is not None and bool(await model.healthy())

    def update(self, model: Any, name: str | None = None) -> None:
        """Add or replace a model."""
        self.models[name or model.name] = model

    def load(self, name: str) -> Any:
        """Overridden by repositories that load by name."""

    def load_model(self, name: str) -> Any:
        """Overridden by repositories that load by name."""

    def unload(self, name: str) -> None:
        """Stop and drop a model; raises KeyError when there is none of that name."""
        if name not in self.models:
            raise KeyError(f"model with name {name} does not exist")
        self.models.pop(name).stop()
