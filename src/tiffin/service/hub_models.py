"""``HuggingFaceModel``: a class attribute that names a model of the Hugging Face hub."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from tiffin.errors import MissingExtra, StorageError
from tiffin.spec.description import ModelDescription


class HuggingFaceModel:
    """A model of the hub; read on an instance it is the path of a directory with its files, as text.

    Args:
        model_id: ``organisation/name``.
        revision: a branch, tag or commit. A build notes the commit, and its bundle is served with that.
        endpoint: another hub; ``$HF_ENDPOINT``, else huggingface.co.
        include: patterns of the files that are wanted; all when empty.
        exclude: patterns of those that are not.
    """

    def __init__(
        self,
        model_id: str,
        revision: str = "main",
        endpoint: str | None = None,
        include: Sequence[str] | None = None,
        exclude: Sequence[str] | None = None,
    ) -> None:
        self.model_id = str(model_id)
        self.revision = revision
        self.endpoint = endpoint
        self.include = tuple(include or ())
        self.exclude = tuple(exclude or ())
        self._path: str | None = None

    def describe(self) -> ModelDescription:
        """What a build is told of it."""
        return ModelDescription(
            source="huggingface",
            name=self.model_id,
            revision=self.revision,
            endpoint=self.endpoint or "",
            include=self.include,
            exclude=self.exclude,
        )

    @property
    def commit_hash(self) -> str:
        """The commit the bundle was built with, else what the revision leads to now."""
        return self._pinned() or str(
            _hub().HfApi(endpoint=self._endpoint()).model_info(self.model_id, revision=self.revision).sha
        )

    def resolve(self) -> str:
        """Download what is not here yet; the directory.

        Raises:
            MissingExtra: huggingface_hub is not installed.
            StorageError: the hub cannot be reached, or has no such model.
        """
        if self._path is None:
            hub = _hub()
            try:
                self._path = str(
                    hub.snapshot_download(
                        self.model_id,
                        revision=self._pinned() or self.revision,
                        endpoint=self._endpoint(),
                        allow_patterns=list(self.include) or None,
                        ignore_patterns=list(self.exclude) or None,
                    )
                )
            except Exception as error:
                raise StorageError(
                    f"{self.model_id} at {self._pinned() or self.revision} cannot be had from the hub: "
                    f"{type(error).__name__}: {str(error).partition(chr(10))[0]}",
                    hint="check the name and the network; HF_TOKEN opens private models, HF_ENDPOINT is a mirror",
                ) from error
        return self._path

    def __get__(self, instance: object | None, owner: type) -> Any:
        """The reference on the class, the path on an instance."""
        return self if instance is None else self.resolve()

    def __str__(self) -> str:
        return f"{self.model_id}:{self.revision}"

    def _endpoint(self) -> str | None:
        return self.endpoint or os.environ.get("HF_ENDPOINT") or None

    def _pinned(self) -> str:
        from tiffin.service import models

        for one in models.pins():
            if one.source == "huggingface" and one.tag.rpartition("@")[0] == self.model_id:
                return one.digest
        return ""


def _hub() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise MissingExtra("huggingface_hub is not installed", hint="pip install 'tiffin[huggingface]'") from error
    return huggingface_hub
