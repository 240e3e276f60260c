"""A saved model as the rest of Tiffin sees it: what it takes, what it gives, and one blocking ``predict``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from tiffin.types import TensorSpec

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[Any]
else:
    Array = Any

Label = str | int | float | bool
"""A class of a classifier, as its replies show it."""


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What Tiffin found out about a model by loading it.

    Attributes:
        format: ``sklearn | xgboost | lightgbm | onnx``.
        framework_version: the version installed here.
        artefact_version: the version that wrote the file; empty when the file does not say.
        estimator: for example ``LogisticRegression``, ``Pipeline``, ``Booster``.
        file: the name of the file it was read from.
        inputs: what ``SavedModel.conform`` takes; ``shape[0]`` is the batch.
        outputs: what ``SavedModel.predict`` gives, in this order.
        classes: the labels of a classifier, in the order of its probabilities.
        method: what is asked of the estimator.
        engine: what computes the answers: the framework's name, or ``numpy`` (see ``models.shortcuts``).
    """

    format: str
    framework_version: str
    artefact_version: str
    estimator: str
    file: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    classes: tuple[Label, ...] = ()
    method: str = "predict"
    engine: str = ""


class SavedModel(Protocol):
    """A loaded model.

    ``fork_safe``: it may be loaded before ``fork()`` (no threads of its own yet). ``batchable``: its rows do
    not depend on each other and the first dimension is free, so rows of several calls can share one predict.
    """

    info: ModelInfo
    fork_safe: bool
    batchable: bool

    def conform(self, names: Sequence[str], arrays: Sequence[np.ndarray[Any, Any]]) -> tuple[Array, ...]:
        """One call's tensors as the arrays ``predict`` takes, checked and cast.

        Args:
            names: the tensors' names, in the caller's order.
            arrays: their values; text is an object array of ``str`` or ``bytes``.

        Raises:
            DecodeError: with ``at`` such as ``inputs[0].shape``.
        """
        ...

    def predict(self, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
        """A batch in, one array per output out; blocking. ``arrays`` come from ``conform``, maybe stacked.

        Raises:
            PredictError: the model raised, or gave back something that is not an answer.
        """
        ...

    def example(self) -> tuple[Array, ...] | None:
        """One row to warm up with, as ``predict`` takes it; None when it cannot be known."""
        ...
