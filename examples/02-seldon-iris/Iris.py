"""A model as Seldon Core's Python wrapper takes it: a plain class in a file of the same name."""

from pathlib import Path

import joblib


class Iris:
    def __init__(self):
        self.model = joblib.load(Path(__file__).parent / "iris.joblib")

    def predict(self, X, features_names=None, meta=None):
        return self.model.predict_proba(X)

    def class_names(self):
        return ["setosa", "versicolor", "virginica"]
