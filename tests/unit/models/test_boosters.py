import pickle

import lightgbm
import numpy as np
import pytest
import xgboost

from tiffin.errors import DecodeError, ModelError
from tiffin.models import formats, loading

FEATURES = ["a", "b", "c", "d"]


def load(path, **options):
    return loading.load_file(formats.find(path), **options)


def ask(model, array):
    return model.predict(model.conform(["x"], [array]))[0]


@pytest.fixture(params=["multi:softprob", "binary:logistic", "reg:squarederror", "multi:softmax", "count:poisson"])
def booster(request, rows, labels):
    params = {"objective": request.param, "max_depth": 2}
    if request.param.startswith("multi"):
        params["num_class"] = 3
    target = labels > 0 if request.param.startswith("binary") else labels
    return xgboost.train(params, xgboost.DMatrix(rows, target, feature_names=FEATURES), 3)


@pytest.mark.parametrize("ending", ["json", "ubj"])
def test_an_xgboost_booster_answers_as_booster_predict_does(booster, ending, rows, tmp_path):
    path = tmp_path / f"model.{ending}"
    booster.save_model(path)
    model = load(tmp_path)
    expected = booster.predict(xgboost.DMatrix(rows, feature_names=FEATURES))
    assert ask(model, rows).tolist() == expected.tolist()
    assert model.info.format == "xgboost"
    assert model.info.artefact_version == xgboost.__version__
    assert model.info.inputs[0].shape == (-1, 4)
    assert model.info.outputs[0].shape == (-1, *expected.shape[1:])
    assert (model.fork_safe, model.batchable) == (False, True)


@pytest.mark.parametrize("kind", ["dart", "gblinear"])
def test_other_kinds_of_boosters_answer_the_same_too(kind, rows, labels, tmp_path):
    booster = xgboost.train({"booster": kind}, xgboost.DMatrix(rows, labels), 3)
    booster.save_model(tmp_path / "model.json")
    assert ask(load(tmp_path), rows).tolist() == booster.predict(xgboost.DMatrix(rows)).tolist()


def test_a_missing_value_is_taken_and_columns_go_by_name(booster, rows, tmp_path):
    booster.save_model(tmp_path / "model.json")
    model = load(tmp_path)
    rows[0, 1] = np.nan
    columns = model.conform(FEATURES[::-1], [rows[:, index] for index in (3, 2, 1, 0)])
    assert model.predict(columns)[0].tolist() == ask(model, rows).tolist()
    rows[0, 1] = np.inf
    with pytest.raises(DecodeError):
        ask(model, rows)


def test_a_lightgbm_booster_answers_as_booster_predict_does(rows, labels, tmp_path):
    params = {"objective": "multiclass", "num_class": 3, "verbose": -1}
    booster = lightgbm.train(params, lightgbm.Dataset(rows, labels, feature_name=FEATURES), 3)
    booster.save_model(tmp_path / "model.bst")
    model = load(tmp_path)
    assert model.info.format == "lightgbm"
    assert ask(model, rows).tolist() == booster.predict(rows).tolist()
    assert model.info.outputs[0].shape == (-1, 3)
    assert model.predict(model.example())[0].shape == (1, 3)


@pytest.mark.parametrize("package", [xgboost, lightgbm], ids=lambda package: package.__name__)
def test_estimators_and_boosters_in_pickles_are_served(package, rows, labels, tmp_path):
    if package is xgboost:
        estimator = xgboost.XGBClassifier(n_estimators=2).fit(rows, labels)
        booster = estimator.get_booster()
    else:
        estimator = lightgbm.LGBMClassifier(n_estimators=2, verbose=-1).fit(rows, labels)
        booster = estimator.booster_
    (tmp_path / "estimator.pkl").write_bytes(pickle.dumps(estimator))
    (tmp_path / "booster.pkl").write_bytes(pickle.dumps(booster))
    model = load(tmp_path / "estimator.pkl", method="predict_proba")
    assert (model.info.format, model.info.classes) == (package.__name__, (0, 1, 2))
    assert not model.fork_safe
    expected = estimator.predict_proba(rows).tolist()
    assert ask(model, rows).tolist() == expected
    assert ask(load(tmp_path / "booster.pkl"), rows).tolist() == pytest.approx(np.array(expected))


@pytest.mark.parametrize(
    ("name", "content"),
    [("model.json", b'{"learner": {"gradient_booster": 1}}'), ("model.txt", b"tree\nversion=v4\nrubbish\n")],
)
def test_a_damaged_booster_is_a_model_error(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=f"{name} cannot be opened"):
        load(tmp_path)


def test_a_booster_has_no_predict_proba(booster, tmp_path):
    booster.save_model(tmp_path / "model.json")
    with pytest.raises(ModelError, match="no predict_proba"):
        load(tmp_path, method="predict_proba")
