"""Takes flowers as people describe them, asks the predictor for their class, and answers with its name."""

import argparse
from typing import Any

import kserve
from kserve.errors import InvalidInput

FEATURES = ("sepal_length", "sepal_width", "petal_length", "petal_width")
SPECIES = ("setosa", "versicolor", "virginica")


class FlowerTransformer(kserve.Model):
    def __init__(self, name: str):
        super().__init__(name)
        self.ready = True

    def preprocess(self, payload: dict[str, Any], headers: dict[str, str] | None = None) -> dict[str, Any]:
        try:
            return {"instances": [[flower[name] for name in FEATURES] for flower in payload["instances"]]}
        except (KeyError, TypeError) as error:
            raise InvalidInput(f"expected flowers with {', '.join(FEATURES)}: {error}") from error

    def postprocess(self, result: dict[str, Any], headers: dict[str, str] | None = None) -> dict[str, Any]:
        return {"predictions": [SPECIES[number] for number in result["predictions"]]}


parser = argparse.ArgumentParser(parents=[kserve.model_server.parser])
args, _ = parser.parse_known_args()

if __name__ == "__main__":
    kserve.ModelServer().start([FlowerTransformer(args.model_name)])
