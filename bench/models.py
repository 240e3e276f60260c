"""Make the benchmark's models, once, in build/bench/models.

lr.joblib   LogisticRegression on iris, rows of 4
rf.joblib   RandomForestClassifier with 100 trees on iris, rows of 4
mlp.onnx    a multilayer perceptron 784-128-10 with fixed random weights, rows of 784 FP32
"""

from __future__ import annotations

import sys
from pathlib import Path

MODELS = Path(__file__).resolve().parent.parent / "build" / "bench" / "models"


def main(directory: Path = MODELS) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name, make in {"lr.joblib": _logistic_regression, "rf.joblib": _forest, "mlp.onnx": _perceptron}.items():
        path = directory / name
        if not path.exists():
            print(f"making {path.name} ...", file=sys.stderr)
            half_written = path.with_name("." + path.name)
            make(half_written)
            half_written.rename(path)


def _logistic_regression(path: Path) -> None:
    import joblib
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    joblib.dump(LogisticRegression(max_iter=500).fit(*load_iris(return_X_y=True)), path)


def _forest(path: Path) -> None:
    import joblib
    from sklearn.datasets import load_iris
    from sklearn.ensemble import RandomForestClassifier

    joblib.dump(RandomForestClassifier(100, random_state=0).fit(*load_iris(return_X_y=True)), path)


def _perceptron(path: Path) -> None:
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(0)
    weights = {
        "w1": random.normal(0, 0.05, (784, 128)),
        "b1": random.normal(0, 0.05, (128,)),
        "w2": random.normal(0, 0.05, (128, 10)),
        "b2": random.normal(0, 0.05, (10,)),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["input", "w1", "b1"], ["hidden"]),
            helper.make_node("Relu", ["hidden"], ["active"]),
            helper.make_node("Gemm", ["active", "w2", "b2"], ["output"]),
        ],
        "mlp",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 784])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


if __name__ == "__main__":
    main()
