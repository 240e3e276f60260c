import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import discriminant_analysis, ensemble, linear_model, neural_network, pipeline, preprocessing, svm

from tiffin.models import shortcuts
from tiffin.models import sklearn as loader

ESTIMATORS = {
    "logistic": linear_model.LogisticRegression(max_iter=300),
    "sgd": linear_model.SGDClassifier(),
    "perceptron": linear_model.Perceptron(),
    "ridge classifier": linear_model.RidgeClassifier(),
    "svc": svm.LinearSVC(),
    "lda": discriminant_analysis.LinearDiscriminantAnalysis(),
    "least squares": linear_model.LinearRegression(),
    "ridge": linear_model.Ridge(),
    "forest": ensemble.RandomForestClassifier(7, n_jobs=2),
    "extra trees": ensemble.ExtraTreesClassifier(7),
    "regression forest": ensemble.RandomForestRegressor(7),
    "mlp": neural_network.MLPClassifier(hidden_layer_sizes=(8,), max_iter=20),
    "logistic mlp": neural_network.MLPClassifier(hidden_layer_sizes=(8, 4), max_iter=20, activation="logistic"),
    "mlp regressor": neural_network.MLPRegressor(hidden_layer_sizes=(8,), max_iter=20, activation="tanh"),
    "scaled": pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression()),
    "stretched": pipeline.make_pipeline(preprocessing.MinMaxScaler(), linear_model.LogisticRegression()),
}


def fit(name, rows, labels):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ESTIMATORS[name].fit(rows, labels)


PAIRS = [
    (name, method) for name, model in ESTIMATORS.items() for method in loader.METHODS if hasattr(model, method)
]  # fmt: skip


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize(("name", "method"), PAIRS)
def test_a_shortcut_answers_bit_for_bit_what_the_estimator_answers(name, method, classes, rows, labels, save):
    estimator = fit(name, rows, labels if classes == 3 else labels > 0)
    short = loader.load(save(estimator), method=method)
    plain = loader.load(save(estimator), method=method, fast_path=False)
    assert plain.info.engine == "scikit-learn"
    if (name, method) not in {("lda", "predict_proba")}:
        assert short.info.engine == "numpy"
    random = np.random.default_rng(1)
    for size in (1, 3, 64, 100):
        batch = random.normal(3, 2, size=(size, 4))
        assert short.predict((batch,))[0].tolist() == plain.predict((batch,))[0].tolist()


@settings(max_examples=100, deadline=None)
@given(
    hnp.arrays(
        np.float64,
        st.tuples(st.integers(1, 9), st.just(4)),
        elements=st.floats(allow_nan=False, allow_infinity=False, width=32),
    )
)
def test_no_finite_input_tells_a_shortcut_from_its_pipeline(batch):
    model = _scaled()
    (found,) = model.predict((batch,))
    assert found.tolist() == model.estimator.predict_proba(batch).tolist()


_kept = []


def _scaled():
    if not _kept:
        random = np.random.default_rng(0)
        rows = random.normal(size=(60, 4))
        estimator = fit("scaled", rows, rows[:, 0] > 0)
        _kept.append(loader.SklearnModel(estimator, "predict_proba", "model", "", fast_path=True))
    return _kept[0]


def test_an_overflow_inside_a_pipeline_is_left_to_the_estimator():
    model = _scaled()
    assert model.info.engine == "numpy"
    model.estimator.steps[0][1].scale_[:] = 1e-300
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(loader.DecodeError, match="infinity"):
                model.predict((np.full((1, 4), 1e200),))
    finally:
        _kept.clear()


def test_an_estimator_that_computes_otherwise_serves_itself(rows, labels, save):
    poisson = linear_model.PoissonRegressor().fit(rows, labels)
    assert loader.load(save(poisson)).info.engine == "scikit-learn"
    poisson.__class__ = linear_model.PoissonRegressor
    assert shortcuts.shortcut(poisson, "predict", 4) is None


def test_answers_that_differ_in_one_bit_are_noticed(rows, labels, monkeypatch):
    estimator = linear_model.LinearRegression().fit(rows, labels)
    assert shortcuts.shortcut(estimator, "predict", 4) is not None
    original = estimator.predict
    monkeypatch.setattr(estimator, "predict", lambda batch: np.nextafter(original(batch), np.inf))
    assert shortcuts.shortcut(estimator, "predict", 4) is None


def test_the_number_of_jobs_is_given_back(rows, labels, save):
    model = loader.load(save(fit("forest", rows, labels)))
    assert model.estimator.n_jobs == 2
