"""The iris service as BentoML's documentation writes one; the same file for both servers."""

from pathlib import Path

import bentoml
import joblib
import numpy as np

MODEL = Path(__file__).resolve().parents[3] / "build" / "bench" / "models" / "lr.joblib"


@bentoml.service(traffic={"timeout": 60})
class Iris:
    def __init__(self) -> None:
        self.model = joblib.load(MODEL)

    @bentoml.api
    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.model.predict(x)

    @bentoml.api(batchable=True)
    def predict_batch(self, x: np.ndarray) -> np.ndarray:
        return self.model.predict(x)
