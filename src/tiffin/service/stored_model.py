"""A model of the store as authors hold it: its path, what is recorded of it, and the object that was saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tiffin.store.manifest import Lineage, ModelManifest
from tiffin.store.tags import Tag

CUSTOM_OBJECTS = "custom_objects.pkl"


class Model:
    """A model of a store, or one that is being made.

    Attributes:
        tag: Name and version; equals text too.
        path: The directory with its files.
        digest: sha256 of its manifest; empty while it is being made.
        info: What is recorded of it: ``labels``, ``metadata``, ``module``, ``lineage`` and more.
    """

    def __init__(self, tag: str, path: Path, manifest: ModelManifest, digest: str = "", created: str = "") -> None:
        self.tag = Tag.from_str(tag) if not tag.startswith("sha256:") else tag
        self.path = str(path)
        self.digest = digest
        self._manifest = manifest
        self._created = created
        self._custom_objects: dict[str, Any] | None = None

    @property
    def info(self) -> ModelInfo:
        """What is recorded of it."""
        return ModelInfo(self.tag, self._manifest, self._created)

    @property
    def labels(self) -> dict[str, str]:
        """Text by name."""
        return self._manifest.labels

    @property
    def metadata(self) -> dict[str, Any]:
        """JSON by name."""
        return self._manifest.metadata

    @property
    def lineage(self) -> Lineage:
        """Where it came from, as far as its author said."""
        return self._manifest.lineage

    @property
    def creation_time(self) -> str:
        """When it was stored, ISO 8601."""
        return self._created

    @property
    def custom_objects(self) -> dict[str, Any]:
        """Python objects that were saved beside it; a pickle, opened when this is first read."""
        if self._custom_objects is None:
            import pickle

            file = Path(self.path, CUSTOM_OBJECTS)
            # Only the author's own code reads this, of a model it names; replicas of saved models never do.
            self._custom_objects = pickle.loads(file.read_bytes()) if file.is_file() else {}
        return self._custom_objects

    def path_of(self, item: str) -> str:
        """The path of a file in the model."""
        return str(Path(self.path) / item.lstrip("/"))

    def load_model(self, *args: Any, **options: Any) -> Any:
        """The object that a framework's ``save_model`` stored.

        Raises:
            ModelError: it was stored without one.
        """
        from tiffin.service import frameworks

        return frameworks.of(self).load_model(self, *args, **options)

    def export(self, path: str) -> str:
        """Write it into an archive or directory; where it was written."""
        from tiffin.service import models

        return models.export_model(self.tag, path)

    def __repr__(self) -> str:
        return f'Model(tag="{self.tag}")'


class ModelInfo:
    """What is recorded of a model, under BentoML's names."""

    def __init__(self, tag: Any, manifest: ModelManifest, created: str) -> None:
        self.tag = tag
        self.name = getattr(tag, "name", "")
        self.version = getattr(tag, "version", "")
        self.module = manifest.module
        self.labels = manifest.labels
        self.metadata = manifest.metadata
        self.lineage = manifest.lineage
        self.options = _Options(manifest.options)
        self.signatures = manifest.signatures
        self.frameworks = manifest.frameworks
        self.python_version = manifest.python
        self.creation_time = created


class _Options(dict[str, Any]):
    """Read as a mapping or by attribute; what was not written is None."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self.get(name)
