"""Train the classifier and save it next to the class that opens it."""

from pathlib import Path

import joblib
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

path = Path(__file__).parent / "iris.joblib"
features, species = load_iris(return_X_y=True)
print(f"training {path}")
joblib.dump(LogisticRegression(max_iter=500).fit(features, species), path)
