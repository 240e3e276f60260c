"""Train two classifiers of the same flowers: the one that serves, and the one that shall take over."""

from pathlib import Path

import joblib
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

features, species = load_iris(return_X_y=True)
for name, classifier in (
    ("v1", LogisticRegression(max_iter=500)),
    ("v2", RandomForestClassifier(50, random_state=0)),
):
    path = Path(__file__).parent / name / "model.joblib"
    path.parent.mkdir(exist_ok=True)
    print(f"training {path}")
    joblib.dump(classifier.fit(features, species), path)
