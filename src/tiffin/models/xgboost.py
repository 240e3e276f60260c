"""Boosters of XGBoost, from JSON, UBJSON and the older binary files."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xgboost

from tiffin.errors import ModelError, PredictError
from tiffin.models.model import ModelInfo
from tiffin.models.table import Table
from tiffin.types import ANY, TensorSpec, datatype_of

Array = npt.NDArray[Any]

log = logging.getLogger(__name__)


def load(file: Path, *, method: str = "predict", trust: bool = False, threads: int = 1) -> XGBoostModel:
    """Load a booster; see ``loading.load``. Its files hold no code, so ``trust`` changes nothing."""
    if method != "predict":
        raise ModelError(
            f"a Booster of XGBoost has no {method}",
            hint="predict answers as its objective says: probabilities for binary:logistic and multi:softprob",
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that an old file should be saved again
            booster = xgboost.Booster({"nthread": threads}, model_file=str(file))
    except xgboost.core.XGBoostError as error:
        raise ModelError(f"{file.name} cannot be opened: {_first_line(error)}") from error
    return XGBoostModel(booster, file, threads)


class XGBoostModel:
    """A booster; it answers what ``Booster.predict`` of a DMatrix answers."""

    fork_safe = False
    batchable = True

    def __init__(self, booster: Any, file: Path, threads: int) -> None:
        self._booster = booster
        self._threads = threads
        names = tuple(booster.feature_names or ())
        self._names = list(names) or None
        self._types = booster.feature_types
        self._table = Table(booster.num_features(), names=names, dtype=np.float32, allows_nan=True)
        self.conform: Callable[[Sequence[str], Sequence[Array]], tuple[Array, ...]] = self._table.conform
        self._ask = self._in_place if self._in_place_agrees() else self._through_matrix
        answer = self._ask(np.zeros((2, booster.num_features()), np.float32))
        self.info = ModelInfo(
            format="xgboost",
            framework_version=xgboost.__version__,
            artefact_version=_version(file),
            estimator="Booster",
            file=file.name,
            inputs=self._table.specs,
            outputs=(TensorSpec("output-0", datatype_of(answer.dtype.str), (ANY, *answer.shape[1:])),),
            engine="xgboost",
        )

    def predict(self, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
        """See ``SavedModel.predict``."""
        try:
            return (self._ask(arrays[0]),)
        except Exception as error:
            raise PredictError(f"Booster.predict raised {type(error).__name__}: {_first_line(error)}") from error

    def example(self) -> tuple[Array, ...] | None:
        """See ``SavedModel.example``."""
        return self._table.example()

    def _in_place(self, rows: Array) -> Array:
        # Names are not compared here: conform put the columns in order.
        return self._booster.inplace_predict(rows, validate_features=False)  # type: ignore[no-any-return]

    def _through_matrix(self, rows: Array) -> Array:
        matrix = xgboost.DMatrix(rows, feature_names=self._names, feature_types=self._types, nthread=self._threads)
        return self._booster.predict(matrix)  # type: ignore[no-any-return]

    def _in_place_agrees(self) -> bool:
        """Predicting without a DMatrix is faster; linear boosters and some objectives do not have it."""
        random = np.random.default_rng(0)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for rows in (1, 2, 7, 64):
                    values = random.normal(size=(rows, self._booster.num_features())).astype(np.float32)
                    values[random.random(values.shape) < 0.1] = np.nan
                    found, expected = self._in_place(values), self._through_matrix(values)
                    if found.dtype != expected.dtype or found.shape != expected.shape:
                        return False
                    if found.tobytes() != expected.tobytes():
                        return False
        except Exception as error:
            log.debug("inplace_predict is not available: %s", error)
            return False
        return True


def _version(file: Path) -> str:
    """The version near the end of JSON and UBJSON files; the binary format has none."""
    with file.open("rb") as stream:
        stream.seek(0, 2)
        stream.seek(max(0, stream.tell() - 256))
        end = stream.read()
    if match := re.search(rb'"version":\s*\[(\d+),\s*(\d+),\s*(\d+)\]', end):
        return ".".join(part.decode() for part in match.groups())
    if match := re.search(rb"version\[#L.{7}\x03i(.)i(.)i(.)", end, re.DOTALL):
        return ".".join(str(part[0]) for part in match.groups())
    return ""


def _first_line(error: Exception) -> str:
    """What went wrong, without the C++ stack below it."""
    lines = str(error).strip().splitlines()
    return re.sub(r"^\[[\d:]+\]\s*\S+:\d+:\s*", "", lines[0]) if lines else type(error).__name__
