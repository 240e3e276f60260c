"""Small models, trained here."""

import functools

import numpy as np
import pytest


@functools.cache
def iris():
    from sklearn.datasets import load_iris

    return load_iris(return_X_y=True)


@pytest.fixture
def rows():
    return iris()[0].copy()


@pytest.fixture
def labels():
    return iris()[1].copy()


@pytest.fixture
def names(labels):
    return np.array(["setosa", "versicolor", "virginica"])[labels]


@pytest.fixture
def save(tmp_path):
    """Save a model with joblib and say where."""
    import joblib

    def save(model, name="model.joblib", **options):
        joblib.dump(model, tmp_path / name, **options)
        return tmp_path / name

    return save
