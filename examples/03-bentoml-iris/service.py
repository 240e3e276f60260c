"""A BentoML service, as its documentation writes one."""

from pathlib import Path
from typing import Annotated

import bentoml
import joblib
import numpy as np
from bentoml.validators import Shape


@bentoml.service(resources={"cpu": "2"}, traffic={"timeout": 30})
class Iris:
    def __init__(self) -> None:
        self.model = joblib.load(Path(__file__).parent / "iris.joblib")

    @bentoml.api
    def predict(self, features: Annotated[np.ndarray, Shape((-1, 4))]) -> np.ndarray:
        """Class numbers for rows of sepal length and width, petal length and width, in cm."""
        return self.model.predict(features)
