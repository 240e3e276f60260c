"""Shortcuts past scikit-learn's checks, for estimators whose arithmetic is a few numpy calls.

One row through ``LogisticRegression.predict`` takes about 190 us, of which 6 us are arithmetic; through a
forest of 100 trees 5 ms, of which 0.3 ms. ``conform`` has checked the input already, so what remains are the
same numpy operations in the same order. A shortcut is only taken when its answers were **bitwise equal** to the
estimator's own, at load, on random and extreme rows in batches of several sizes; otherwise the estimator serves.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Function = Callable[[Array], Array]

BATCHES = (1, 2, 7, 64)

_LINEAR_CLASSIFIERS = frozenset(
    {
        "LogisticRegression",
        "LogisticRegressionCV",
        "SGDClassifier",
        "Perceptron",
        "PassiveAggressiveClassifier",
        "RidgeClassifier",
        "RidgeClassifierCV",
        "LinearSVC",
        "LinearDiscriminantAnalysis",
    }
)
_LINEAR_REGRESSORS = frozenset(
    {
        "LinearRegression",
        "Ridge",
        "RidgeCV",
        "Lasso",
        "LassoCV",
        "ElasticNet",
        "ElasticNetCV",
        "BayesianRidge",
        "HuberRegressor",
        "SGDRegressor",
        "PassiveAggressiveRegressor",
        "LinearSVR",
    }
)
_FORESTS = frozenset({"RandomForestClassifier", "ExtraTreesClassifier"})
_REGRESSION_FORESTS = frozenset({"RandomForestRegressor", "ExtraTreesRegressor"})


class OutOfRange(Exception):
    """A step overflowed: scikit-learn's own checks have to decide about this input."""


def shortcut(estimator: Any, method: str, features: int) -> Function | None:
    """A function with the answers of ``estimator.<method>`` on float64 matrices, or None.

    The function raises OutOfRange when the estimator has to be asked itself.
    """
    original: Function = getattr(estimator, method)
    for candidate in _candidates(estimator, method):
        if _agree(candidate, original, features):
            return candidate
    return None


def _candidates(estimator: Any, method: str) -> Iterator[Function]:
    kind = type(estimator)
    if not kind.__module__.startswith("sklearn."):
        return
    if kind.__name__ == "Pipeline":
        yield from _pipelines(estimator, method)
    elif kind.__name__ in _LINEAR_CLASSIFIERS:
        yield from _linear_classifiers(estimator, method)
    elif kind.__name__ in _LINEAR_REGRESSORS and method == "predict":
        yield _scores(estimator, flat=False)
    elif kind.__name__ in ("MLPClassifier", "MLPRegressor"):
        yield from _perceptrons(estimator, method)
    elif kind.__name__ in _FORESTS and estimator.n_outputs_ == 1:
        yield from _forests(estimator, method)
    elif kind.__name__ in _REGRESSION_FORESTS and estimator.n_outputs_ == 1 and method == "predict":
        yield _regression_forest(estimator)


def _pipelines(pipeline: Any, method: str) -> Iterator[Function]:
    *before, (_, last) = pipeline.steps
    scalers = [_scaler(step) for _, step in before]
    steps = [scaler for scaler in scalers if scaler is not None]
    if len(steps) != len(scalers):
        return
    for final in _candidates(last, method):
        yield _chain(steps, final)


def _chain(steps: list[Function], final: Function) -> Function:
    def chained(rows: Array) -> Array:
        for step in steps:
            rows = step(rows)
        # The steps after the first check for infinity again; an overflow is rare enough to ask them.
        if not math.isfinite(np.vdot(rows, rows)):
            raise OutOfRange
        return final(rows)

    return chained


def _scaler(step: Any) -> Function | None:
    """A scaler as one function; it has to leave its argument as it is."""
    if isinstance(step, str) and step == "passthrough":
        return lambda rows: rows
    kind = type(step)
    if not kind.__module__.startswith("sklearn.preprocessing"):
        return None
    if kind.__name__ == "StandardScaler" and step.with_mean and step.with_std:
        mean, scale = step.mean_, step.scale_

        def standardise(rows: Array) -> Array:
            rows = rows - mean
            rows /= scale
            return rows

        return standardise
    if kind.__name__ == "MinMaxScaler" and not step.clip:
        factor, shift = step.scale_, step.min_

        def stretch(rows: Array) -> Array:
            rows = rows * factor
            rows += shift
            return rows

        return stretch
    return None


def _scores(estimator: Any, *, flat: bool) -> Function:
    weights, intercept = estimator.coef_.T, estimator.intercept_
    flat = flat and weights.ndim == 2 and weights.shape[1] == 1

    def scores(rows: Array) -> Array:
        out: Array = rows @ weights
        out += intercept
        return out.reshape(-1) if flat else out

    return scores


def _linear_classifiers(estimator: Any, method: str) -> Iterator[Function]:
    scores, classes = _scores(estimator, flat=True), estimator.classes_
    two = len(classes) == 2
    if method == "decision_function":
        yield scores
    elif method == "predict" and classes.ndim == 1:
        if two:
            yield lambda rows: classes.take((scores(rows) > 0).view(np.int8))
        else:
            yield lambda rows: classes.take(scores(rows).argmax(axis=1))
    elif method == "predict_proba" and type(estimator).__name__.startswith("Logistic"):
        if two:
            yield lambda rows: _two_columns(_expit(scores(rows)))
            yield lambda rows: _softmax(_mirrored(scores(rows)))
        else:
            yield lambda rows: _softmax(scores(rows))


def _mirrored(scores: Array) -> Array:
    return np.stack((-scores, scores), axis=1)


def _two_columns(probability: Array) -> Array:
    return np.vstack([1 - probability, probability]).T


def _expit(scores: Array) -> Array:
    from scipy.special import expit

    return expit(scores)  # type: ignore[no-any-return]


def _softmax(scores: Array) -> Array:
    scores -= scores.max(axis=1)[:, None]
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=1)[:, None]
    return scores


_ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "identity": lambda values: values,
    "relu": lambda values: np.maximum(values, 0, out=values),
    "tanh": lambda values: np.tanh(values, out=values),
    "softmax": _softmax,
}


def _perceptrons(estimator: Any, method: str) -> Iterator[Function]:
    names = (estimator.activation, estimator.out_activation_)
    inner, outer = (_expit if name == "logistic" else _ACTIVATIONS.get(name) for name in names)
    if inner is None or outer is None:
        return
    *hidden, (last, last_bias) = zip(estimator.coefs_, estimator.intercepts_, strict=True)

    def forward(rows: Array) -> Array:
        for weights, bias in hidden:
            rows = rows @ weights
            rows += bias
            rows = inner(rows)
        rows = rows @ last
        rows += last_bias
        return outer(rows)

    if type(estimator).__name__ == "MLPRegressor":
        single = last.shape[1] == 1
        yield lambda rows: forward(rows).ravel() if single else forward(rows)
        return
    classes = estimator.classes_
    if getattr(classes, "ndim", 0) != 1 or names[1] not in ("softmax", "logistic"):
        return
    if method == "predict":
        if len(classes) == 2:
            yield lambda rows: classes.take((forward(rows).ravel() > 0.5).view(np.int8))
        else:
            yield lambda rows: classes.take(forward(rows).argmax(axis=1))
    elif method == "predict_proba":
        yield (lambda rows: _two_columns(forward(rows).ravel())) if len(classes) == 2 else forward


def _leaves(estimator: Any) -> list[tuple[Callable[[Array], Array], Array]]:
    """Each tree's way to a leaf, and the leaves' values ``[leaves, outputs]``."""
    return [(tree.tree_.apply, tree.tree_.value[:, 0, :]) for tree in estimator.estimators_]


def _narrow(rows: Array) -> Array:
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(rows, dtype=np.float32)


def _forests(forest: Any, method: str) -> Iterator[Function]:
    trees, classes = _leaves(forest), forest.classes_

    def probabilities(rows: Array) -> Array:
        rows = _narrow(rows)
        total = np.zeros((rows.shape[0], len(classes)))
        for apply, values in trees:
            total += values.take(apply(rows), axis=0)
        total /= len(trees)
        return total

    if method == "predict_proba":
        yield probabilities
    elif method == "predict":
        yield lambda rows: classes.take(probabilities(rows).argmax(axis=1))


def _regression_forest(forest: Any) -> Function:
    trees = [(apply, values[:, 0]) for apply, values in _leaves(forest)]

    def mean(rows: Array) -> Array:
        rows = _narrow(rows)
        total = np.zeros(rows.shape[0])
        for apply, values in trees:
            total += values.take(apply(rows))
        total /= len(trees)
        return total

    return mean


def _agree(candidate: Function, original: Function, features: int) -> bool:
    try:
        # The extreme rows overflow on purpose.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for rows in _trials(features):
                kept = rows.copy()
                found, expected = candidate(rows), original(kept)
                if not _same(found, expected) or rows.tobytes() != kept.tobytes():
                    return False
    except Exception:
        # An estimator of another version, or one changed by hand: then it serves itself.
        return False
    return True


def _same(found: Array, expected: Array) -> bool:
    if type(expected) is not np.ndarray or found.dtype != expected.dtype or found.shape != expected.shape:
        return False
    if found.dtype.hasobject:
        return bool((found == expected).all())
    return found.tobytes() == expected.tobytes()


def _trials(features: int) -> Iterator[Array]:
    """Batches of rows: typical, small, large, and on the edges."""
    random = np.random.default_rng(0)
    edges = np.array([[0.0], [-0.0], [1.0], [-1.0], [1e-300], [1e10], [-1e10], [3e38]]) * np.ones(features)
    yield edges
    for row in edges:
        yield row[None]
    for scale in (1.0, 1e-3, 1e2):
        for rows in BATCHES:
            yield random.normal(scale=scale, size=(rows, features))
            yield random.uniform(0, 10 * scale, size=(rows, features))
