"""Estimators of scikit-learn, and of others with its interface, from joblib, pickle and skops files."""

from __future__ import annotations

import importlib
import logging
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import joblib  # noqa: F401  a missing package is told by its own name
import msgspec
import numpy as np
import numpy.typing as npt
import sklearn
from sklearn.base import BaseEstimator

from tiffin.errors import DecodeError, ModelError, PredictError, TiffinError, UntrustedArtefact
from tiffin.models import pickles, shortcuts
from tiffin.models.columns import Columns
from tiffin.models.model import Label, ModelInfo, SavedModel
from tiffin.models.table import Table, Texts
from tiffin.types import ANY, TensorSpec, datatype_of

Array = npt.NDArray[Any]
Input = Table | Texts | Columns

METHODS = ("predict", "predict_proba", "decision_function")

log = logging.getLogger(__name__)

# Where predict uses OpenMP: its threads do not survive a fork.
_THREADED = (
    "sklearn.cluster",
    "sklearn.neighbors",
    "sklearn.manifold",
    "sklearn.semi_supervised",
    "sklearn.impute._knn",
    "sklearn.ensemble._hist_gradient_boosting",
)

# What scikit-learn says when the values, not the model, are wrong.
_CALLERS_FAULT = ("contains NaN", "contains infinity", "unknown categor", "could not convert string")


def load(
    file: Path, *, method: str = "predict", trust: bool = False, threads: int = 1, fast_path: bool = True
) -> SavedModel:
    """Load an estimator; see ``loading.load``. ``fast_path=False`` keeps to the estimator's own methods."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimator = (
            _skops(file, trust=trust) if file.suffix.lower() == ".skops" else pickles.load(file, trust=trust)
        )
    artefact_version = _artefact_version(caught, estimator)
    if type(estimator).__name__ == "Booster":
        return _booster(estimator, method, file, threads)
    _check(estimator, method, file)
    _use_threads(estimator, threads)
    # Tensors have no column names; without this each call warns that the training data had some.
    warnings.filterwarnings("ignore", message="X does not have valid feature names")
    model = SklearnModel(estimator, method, file.name, artefact_version, fast_path=fast_path)
    log.debug("loaded %s: %s.%s served by %s", file.name, model.info.estimator, method, model.info.engine)
    return model


def _booster(booster: Any, method: str, file: Path, threads: int) -> SavedModel:
    """A bare Booster in a pickle: no estimator, and served like one in a file of its own."""
    if method != "predict":
        raise ModelError(f"a Booster has no {method}", hint="predict answers as its objective says")
    if type(booster).__module__.startswith("xgboost."):
        from tiffin.models.xgboost import XGBoostModel

        booster.set_param({"nthread": threads})
        return XGBoostModel(booster, file, threads)
    from tiffin.models.lightgbm import LightGBMModel

    return LightGBMModel(booster, file, threads)


class SklearnModel:
    """An estimator, asked one of its methods."""

    batchable = True

    def __init__(self, estimator: Any, method: str, file: str, artefact_version: str, *, fast_path: bool) -> None:
        self.estimator = estimator
        self._ask: Callable[[Any], Any] = getattr(estimator, method)
        self._classes = _classes(estimator)
        # Inside a composite, one step may make what the next one refuses, so its checks stay on.
        self._assume_finite = not _is_composite(estimator)
        self._input = _input_of(estimator)
        self.conform: Callable[[Sequence[str], Sequence[Array]], tuple[Array, ...]] = self._input.conform
        self.fork_safe = not any(_has_threads(part) for part in _parts(estimator))
        self._shortcut: shortcuts.Function | None = None
        if fast_path and isinstance(self._input, Table) and self._input.features != ANY:
            with _alone(estimator):
                self._shortcut = shortcuts.shortcut(estimator, method, self._input.features)
        package = type(estimator).__module__.partition(".")[0]
        package = package if package in ("xgboost", "lightgbm") else "sklearn"
        self.info = ModelInfo(
            format=package,
            framework_version=str(importlib.import_module(package).__version__),
            artefact_version=artefact_version,
            estimator=type(estimator).__name__,
            file=file,
            inputs=self._input.specs,
            outputs=(),
            classes=self._classes,
            method=method,
            engine="numpy" if self._shortcut else "scikit-learn" if package == "sklearn" else package,
        )
        self.info = _with_outputs(self)

    def predict(self, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
        """See ``SavedModel.predict``."""
        try:
            if self._shortcut is not None:
                try:
                    return _answers(self._shortcut(arrays[0]))
                except shortcuts.OutOfRange:
                    pass
            _configure(self._assume_finite)
            return _answers(self._ask(self._input.join(arrays)))
        except TiffinError:
            raise
        except Exception as error:
            if isinstance(error, ValueError) and any(part in str(error) for part in _CALLERS_FAULT):
                raise DecodeError(f"the model does not take these values: {error}", at="inputs[0].data") from error
            raise PredictError(
                f"{self.info.estimator}.{self.info.method} raised {type(error).__name__}: {error}"
            ) from error

    def example(self) -> tuple[Array, ...] | None:
        """See ``SavedModel.example``."""
        return self._input.example()


_thread = threading.local()


def _configure(assume_finite: bool) -> None:
    """Switch off, in this thread, the checks that ``conform`` made already; scikit-learn keeps this per thread."""
    if getattr(_thread, "assume_finite", None) is not assume_finite:
        sklearn.set_config(assume_finite=assume_finite, skip_parameter_validation=True)
        _thread.assume_finite = assume_finite


def _answers(found: Any) -> tuple[Array, ...]:
    if type(found) is np.ndarray and found.dtype.kind in "biuf":
        return (found,)
    if isinstance(found, (list, tuple)) and found and all(isinstance(item, np.ndarray) for item in found):
        return tuple(
            answer for item in found for answer in _answers(item)
        )  # one per output of a multi-output model
    if hasattr(found, "toarray"):
        return (np.asarray(found.toarray()),)
    array = np.asarray(found)
    if array.dtype.kind in "US":
        return (array.astype(object),)
    if array.dtype.kind == "O":
        values = array.reshape(-1).tolist()
        if all(isinstance(value, (str, bytes)) for value in values):
            return (array,)
        plain = np.array(values)
        if plain.dtype.kind in "biuf":
            return (plain.reshape(array.shape),)
        return (np.array([str(value) for value in values], dtype=object).reshape(array.shape),)
    if array.dtype.kind in "biuf":
        return (array,)
    raise PredictError(f"expected numbers or text as the answer, found {array.dtype}")


def _with_outputs(model: SklearnModel) -> ModelInfo:
    """The info with outputs as a predict gives them; by the kind of model when the example is not taken."""
    outputs: tuple[TensorSpec, ...] = ()
    example = model.example()
    if example is not None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                answers = model.predict(example)
            outputs = tuple(
                TensorSpec(f"output-{index}", datatype_of(answer.dtype.str), (ANY, *answer.shape[1:]))
                for index, answer in enumerate(answers)
            )
        except (TiffinError, KeyError) as error:
            log.debug("a row of zeros is not taken: %s", error)
    if not outputs:
        outputs = (_guessed_output(model.info),)
    return msgspec.structs.replace(model.info, outputs=outputs)


def _guessed_output(info: ModelInfo) -> TensorSpec:
    if info.method == "predict" and info.classes:
        kind = datatype_of(np.array(info.classes).dtype.str)
        return TensorSpec("output-0", kind, (ANY,))
    if info.classes and (info.method == "predict_proba" or len(info.classes) > 2):
        return TensorSpec("output-0", "FP64", (ANY, len(info.classes)))
    return TensorSpec("output-0", "FP64", (ANY,))


def _check(estimator: Any, method: str, file: Path) -> None:
    if method not in METHODS:
        raise ModelError(f"expected a method of {', '.join(METHODS)}, found {method!r}")
    if not callable(getattr(estimator, "predict", None)) and not callable(getattr(estimator, "transform", None)):
        raise ModelError(
            f"expected {file.name} to hold an estimator with {method}, found a {type(estimator).__name__}",
            hint="save the fitted estimator itself: joblib.dump(model, 'model.joblib')",
        )
    if not callable(getattr(estimator, method, None)):
        has = [name for name in (*METHODS, "transform") if callable(getattr(estimator, name, None))]
        raise ModelError(
            f"{type(estimator).__name__} in {file.name} has no {method}",
            hint=f"it has {', '.join(has)}" if has else None,
        )


def _skops(file: Path, *, trust: bool) -> Any:
    import skops.io

    try:
        unknown = skops.io.get_untrusted_types(file=file)
        if unknown and not trust:
            raise UntrustedArtefact(
                f"{file.name} would import {', '.join(unknown[:5])}, which skops does not know to be safe",
                hint=f"when you trust whoever made {file}, allow it with --trust",
            )
        return skops.io.load(file, trusted=unknown)
    except TiffinError:
        raise
    except Exception as error:
        raise ModelError(f"{file.name} cannot be opened: {type(error).__name__}: {error}") from error


def _artefact_version(caught: list[warnings.WarningMessage], estimator: Any) -> str:
    """The version of scikit-learn that saved the file: it only tells when that is another one."""
    other = ""
    for item in caught:
        if type(item.message).__name__ == "InconsistentVersionWarning":
            other = str(getattr(item.message, "original_sklearn_version", ""))
        else:
            warnings.warn_explicit(item.message, item.category, item.filename, item.lineno)
    if other:
        log.warning(
            "the model was saved by scikit-learn %s and is served by %s: answers may differ, or fail; "
            "install scikit-learn==%s to be sure",
            other,
            sklearn.__version__,
            other,
        )
        return other
    return str(sklearn.__version__) if type(estimator).__module__.startswith("sklearn.") else ""


def _use_threads(estimator: Any, threads: int) -> None:
    """Boosters take every core unless told; n_jobs of scikit-learn's own estimators is the author's choice."""
    for part in _parts(estimator):
        if type(part).__module__.startswith(("xgboost.", "lightgbm.")) and hasattr(part, "set_params"):
            part.set_params(n_jobs=threads)


def _has_threads(part: Any) -> bool:
    module = type(part).__module__
    return module.startswith(_THREADED) or not module.startswith("sklearn.")


def _classes(estimator: Any) -> tuple[Label, ...]:
    classes = getattr(estimator, "classes_", None)
    if not isinstance(classes, np.ndarray) or classes.ndim != 1:
        return ()
    return tuple(item if isinstance(item, (str, int, float, bool)) else str(item) for item in classes.tolist())


def _is_composite(estimator: Any) -> bool:
    """Whether estimators are among its parameters: pipelines, searches, ensembles of a given estimator."""
    if not isinstance(estimator, BaseEstimator):
        return True
    return any(
        isinstance(value, BaseEstimator)
        or (isinstance(value, (list, tuple)) and any(isinstance(v, tuple) for v in value))
        for value in estimator.get_params(deep=False).values()
    )


def _parts(estimator: Any) -> Iterator[Any]:
    """The estimator and every estimator inside it."""
    seen: set[int] = set()
    queue: list[Any] = [estimator]
    while queue:
        item = queue.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, BaseEstimator):
            yield item
            queue.extend(getattr(item, "__dict__", {}).values())
        elif isinstance(item, (list, tuple)):
            queue.extend(value for value in item if isinstance(value, (BaseEstimator, list, tuple)))
        elif isinstance(item, dict):
            queue.extend(value for value in item.values() if isinstance(value, BaseEstimator))
        elif isinstance(item, np.ndarray) and item.dtype == object:
            queue.extend(value for value in item.reshape(-1).tolist() if isinstance(value, BaseEstimator))


class _alone:  # noqa: N801
    """One job for the duration: with several, a forest sums in an order that changes from call to call."""

    def __init__(self, estimator: Any) -> None:
        self._parts = [part for part in _parts(estimator) if getattr(part, "n_jobs", None) not in (None, 1)]

    def __enter__(self) -> None:
        self._jobs = [part.n_jobs for part in self._parts]
        for part in self._parts:
            part.n_jobs = 1

    def __exit__(self, *_: object) -> None:
        for part, jobs in zip(self._parts, self._jobs, strict=True):
            part.n_jobs = jobs


def _input_of(estimator: Any) -> Input:
    parts = list(_parts(estimator))
    features = getattr(estimator, "n_features_in_", None)
    if features is None:
        if any(hasattr(part, "vocabulary_") or type(part).__name__ == "HashingVectorizer" for part in parts):
            return Texts()
        coefficients = getattr(estimator, "coef_", None)
        features = coefficients.shape[-1] if isinstance(coefficients, np.ndarray) else ANY
    names = tuple(str(name) for name in getattr(estimator, "feature_names_in_", ()))
    texts = _text_columns(parts, int(features), names)
    by_name = bool(names) and any(type(part).__name__ == "ColumnTransformer" for part in parts)
    if texts or by_name:
        return Columns(int(features), names=names, texts=texts, frame=by_name, allows_nan=_allows_nan(estimator))
    return Table(int(features), names=names, allows_nan=_allows_nan(estimator))


def _allows_nan(estimator: Any) -> bool:
    """Whether NaN may be sent. A composite decides by what sees the input first; its later steps check on."""
    kind = type(estimator).__name__
    if kind == "Pipeline":
        steps = [step for _, step in estimator.steps if step is not None and step != "passthrough"]
        return bool(steps) and _allows_nan(steps[0])
    if kind in ("ColumnTransformer", "FeatureUnion"):
        return True
    if hasattr(estimator, "best_estimator_"):
        return _allows_nan(estimator.best_estimator_)
    try:
        from sklearn.utils import get_tags

        return bool(get_tags(estimator).input_tags.allow_nan)
    except (ImportError, AttributeError):  # before 1.6, or not an estimator of scikit-learn's
        tags: dict[str, Any] = getattr(estimator, "_get_tags", dict)()
        return bool(tags.get("allow_nan", False))


def _text_columns(parts: list[Any], features: int, names: tuple[str, ...]) -> frozenset[int]:
    """Columns whose encoder learnt categories that are text."""
    found: set[int] = set()
    for part in parts:
        if type(part).__name__ == "ColumnTransformer" and hasattr(part, "transformers_"):
            for _, step, columns in part.transformers_:
                indices = _indices(columns, features, names)
                if _learnt_text(step):
                    found.update(indices)
    encoder = parts[0].steps[0][1] if hasattr(parts[0], "steps") else parts[0]
    categories = getattr(encoder, "categories_", None)
    if isinstance(categories, list) and len(categories) == features:
        found.update(index for index, known in enumerate(categories) if known.dtype.kind in "OUS")
    return frozenset(found)


def _learnt_text(step: Any) -> bool:
    return any(
        any(known.dtype.kind in "OUS" for known in part.categories_)
        for part in _parts(step)
        if isinstance(getattr(part, "categories_", None), list)
    )


def _indices(columns: Any, features: int, names: tuple[str, ...]) -> list[int]:
    if isinstance(columns, slice):
        return list(range(features))[columns]
    wanted = [columns] if isinstance(columns, (str, int)) else list(columns)
    if wanted and all(isinstance(item, (bool, np.bool_)) for item in wanted):
        return [index for index, item in enumerate(wanted) if item]
    return [names.index(item) if isinstance(item, str) else int(item) % features for item in wanted]
