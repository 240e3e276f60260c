"""Boosters of LightGBM, from its text files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import numpy.typing as npt

from tiffin.errors import ModelError, PredictError
from tiffin.models.model import ModelInfo
from tiffin.models.table import Table
from tiffin.types import ANY, TensorSpec, datatype_of

Array = npt.NDArray[Any]


def load(file: Path, *, method: str = "predict", trust: bool = False, threads: int = 1) -> LightGBMModel:
    """Load a booster; see ``loading.load``. Its files hold no code, so ``trust`` changes nothing."""
    if method != "predict":
        raise ModelError(
            f"a Booster of LightGBM has no {method}",
            hint="predict answers as its objective says: probabilities for binary and multiclass",
        )
    try:
        booster = lightgbm.Booster(model_file=str(file))
    except lightgbm.basic.LightGBMError as error:
        raise ModelError(f"{file.name} cannot be opened: {error}") from error
    return LightGBMModel(booster, file, threads)


class LightGBMModel:
    """A booster; it answers what ``Booster.predict`` answers."""

    fork_safe = False
    batchable = True

    def __init__(self, booster: Any, file: Path, threads: int) -> None:
        self._booster = booster
        self._threads = threads
        names = tuple(booster.feature_name())
        if all(name == f"Column_{index}" for index, name in enumerate(names)):
            names = ()  # LightGBM's own, for data without names
        self._table = Table(booster.num_feature(), names=names, allows_nan=True)
        self.conform: Callable[[Sequence[str], Sequence[Array]], tuple[Array, ...]] = self._table.conform
        answer = self._ask(np.zeros((2, booster.num_feature())))
        self.info = ModelInfo(
            format="lightgbm",
            framework_version=lightgbm.__version__,
            artefact_version="",  # the file has the version of its format only
            estimator="Booster",
            file=file.name,
            inputs=self._table.specs,
            outputs=(TensorSpec("output-0", datatype_of(answer.dtype.str), (ANY, *answer.shape[1:])),),
            engine="lightgbm",
        )

    def predict(self, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
        """See ``SavedModel.predict``."""
        try:
            return (self._ask(arrays[0]),)
        except Exception as error:
            raise PredictError(f"Booster.predict raised {type(error).__name__}: {error}") from error

    def example(self) -> tuple[Array, ...] | None:
        """See ``SavedModel.example``."""
        return self._table.example()

    def _ask(self, rows: Array) -> Array:
        return np.asarray(self._booster.predict(rows, num_threads=self._threads))
