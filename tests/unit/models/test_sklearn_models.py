import logging

import numpy as np
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import SVC

from tiffin.errors import DecodeError, MissingExtra, ModelError, PredictError, UntrustedArtefact
from tiffin.models import formats, loading
from tiffin.models import sklearn as loader
from tiffin.spec import Artefact, ModelSource
from tiffin.types import TensorSpec


def ask(model, *arrays, names=None):
    return model.predict(model.conform(names or [f"input-{i}" for i in range(len(arrays))], arrays))


def test_a_classifier_says_what_it_takes_and_gives(save, rows, labels):
    path = save(LogisticRegression(max_iter=500).fit(rows, labels))
    model = loading.load(ModelSource(artefact=Artefact("x")), path.parent)
    info = model.info
    assert (info.format, info.estimator, info.file) == ("sklearn", "LogisticRegression", "model.joblib")
    assert info.inputs == (TensorSpec("input-0", "FP64", (-1, 4)),)
    assert info.outputs == (TensorSpec("output-0", "INT64", (-1,)),)
    assert info.classes == (0, 1, 2)
    assert info.artefact_version == info.framework_version
    assert (model.batchable, model.fork_safe) == (True, True)
    assert (
        ask(model, rows)[0].tolist() == LogisticRegression(max_iter=500).fit(rows, labels).predict(rows).tolist()
    )
    assert len(model.predict(model.example())) == 1


def test_labels_that_are_text_come_as_strings(save, rows, names):
    model = loader.load(save(LogisticRegression(max_iter=500).fit(rows, names)))
    (found,) = ask(model, rows[:1])
    assert found.tolist() == ["setosa"]
    assert found.dtype == object
    assert model.info.outputs[0].datatype == "BYTES"
    assert model.info.classes == ("setosa", "versicolor", "virginica")


@pytest.mark.parametrize(
    ("kind", "datatype"), [(np.int8, "INT8"), (bool, "BOOL"), (np.float64, "FP64"), (object, "INT64")]
)
def test_labels_keep_their_datatype(save, rows, labels, kind, datatype):
    from sklearn.naive_bayes import GaussianNB

    estimator = GaussianNB().fit(rows, labels)
    estimator.classes_ = np.array([0, 1, 1], dtype=kind)
    model = loader.load(save(estimator))
    assert model.info.outputs[0].datatype == datatype
    assert ask(model, rows)[0].dtype.kind in "biuf"


def test_probabilities_have_a_column_per_class(save, rows, labels):
    model = loader.load(save(KNeighborsClassifier().fit(rows, labels)), method="predict_proba")
    assert model.info.outputs == (TensorSpec("output-0", "FP64", (-1, 3)),)
    assert ask(model, rows[:2])[0].tolist() == [[1, 0, 0], [1, 0, 0]]
    assert not model.fork_safe  # it counts neighbours in OpenMP's threads


def test_a_method_the_estimator_lacks_is_a_model_error(save, rows, labels):
    with pytest.raises(ModelError, match=r"SVC in model\.joblib has no predict_proba") as caught:
        loader.load(save(SVC().fit(rows, labels)), method="predict_proba")
    assert caught.value.hint == "it has predict, decision_function"


def test_a_file_without_an_estimator_is_a_model_error(save):
    with pytest.raises(
        ModelError, match=r"expected model\.joblib to hold an estimator with predict, found a dict"
    ):
        loader.load(save({"not": "a model"}))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("estimator", [LogisticRegression(max_iter=500), SVC()], ids=str)
def test_what_is_not_finite_is_the_callers_mistake(save, rows, labels, bad, estimator):
    model = loader.load(save(estimator.fit(rows, labels)))
    rows[1, 1] = bad
    with pytest.raises(DecodeError) as caught:
        ask(model, rows)
    assert caught.value.at == "inputs[0].data"


def test_an_imputer_takes_missing_values(save, rows, labels):
    model = loader.load(save(make_pipeline(SimpleImputer(), LogisticRegression(max_iter=500)).fit(rows, labels)))
    rows[0, 0] = np.nan
    assert ask(model, rows[:1])[0].shape == (1,)


def test_a_missing_value_that_reaches_a_step_which_does_not_take_it_is_the_callers_mistake(save, rows, labels):
    pipeline = make_pipeline(StandardScaler(), KNeighborsClassifier()).fit(rows, labels)
    model = loader.load(save(pipeline))
    rows[0, 0] = np.nan
    with pytest.raises(DecodeError):
        ask(model, rows)


def test_an_error_inside_the_model_is_a_predict_error(save, rows, labels):
    pipeline = make_pipeline(FunctionTransformer(np.log1p), SVC()).fit(rows, labels)
    pipeline.steps[1][1].support_vectors_ = None
    model = loader.load(save(pipeline))
    with pytest.raises(PredictError, match=r"Pipeline\.predict raised"):
        ask(model, rows)


def test_a_text_pipeline_takes_a_list_of_strings(save):
    pipeline = make_pipeline(TfidfVectorizer(), LogisticRegression())
    model = loader.load(save(pipeline.fit(["good thing", "bad thing"] * 3, ["pos", "neg"] * 3)))
    assert model.info.inputs == (TensorSpec("input-0", "BYTES", (-1,)),)
    assert ask(model, np.array([b"good", "bad"], dtype=object))[0].tolist() == ["pos", "neg"]


def test_columns_of_text_and_numbers_are_taken_one_by_one(save):
    table = np.array([["a", 1, 2], ["b", 2, 3], ["a", 3, 4.0]], dtype=object)
    pipeline = make_pipeline(
        make_column_transformer((OneHotEncoder(), [0]), (StandardScaler(), [1, 2])), LogisticRegression()
    ).fit(table, [0, 1, 0])
    model = loader.load(save(pipeline))
    assert [spec.datatype for spec in model.info.inputs] == ["BYTES", "FP64", "FP64"]
    letters = np.array([b"a", "b"], dtype=object)
    expected = pipeline.predict(np.array([["a", 1, 2.0], ["b", 2, 3.0]], dtype=object)).tolist()
    assert ask(model, letters, np.array([1, 2]), np.array([[2.0], [3.0]]))[0].tolist() == expected
    with pytest.raises(DecodeError, match="unknown categor"):
        ask(model, np.array(["z"], dtype=object), np.array([1]), np.array([2]))
    with pytest.raises(DecodeError) as caught:
        ask(model, np.array([1.0]), np.array([1]), np.array([2]))
    assert caught.value.at == "inputs[0].datatype"


def test_a_matrix_of_categories_is_one_tensor_of_text(save):
    table = np.array([["a", "x"], ["b", "y"], ["a", "y"]], dtype=object)
    pipeline = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(table, [0, 1, 1])
    model = loader.load(save(pipeline))
    assert model.info.inputs == (TensorSpec("input-0", "BYTES", (-1, 2)),)
    assert ask(model, table)[0].tolist() == pipeline.predict(table).tolist()


def test_a_multi_output_classifier_gives_one_tensor_per_output_of_probabilities(save, rows, labels):
    forest = RandomForestClassifier(3).fit(rows, np.stack([labels, labels > 0], axis=1))
    model = loader.load(save(forest), method="predict_proba")
    assert [spec.shape for spec in model.info.outputs] == [(-1, 3), (-1, 2)]
    assert [spec.name for spec in model.info.outputs] == ["output-0", "output-1"]


def test_another_version_of_the_framework_is_warned_about(save, rows, labels, caplog, monkeypatch):
    estimator = LinearRegression().fit(rows, labels)
    state = {**estimator.__getstate__(), "_sklearn_version": "1.0.2"}
    with monkeypatch.context() as patch:
        patch.setattr(LinearRegression, "__getstate__", lambda self: state)
        path = save(estimator)
    with caplog.at_level(logging.WARNING):
        model = loader.load(path)
    assert model.info.artefact_version == "1.0.2"
    assert "saved by scikit-learn 1.0.2" in caplog.text


def test_skops_files_are_served_and_unknown_types_refused(tmp_path, rows, labels):
    import skops.io

    path = tmp_path / "model.skops"
    skops.io.dump(SVC().fit(rows, labels), path)
    assert formats.find(path).format == "sklearn"
    assert ask(loader.load(path), rows[:1])[0].tolist() == [0]
    skops.io.dump(make_pipeline(FunctionTransformer(print), SVC()), path)
    with pytest.raises(UntrustedArtefact, match="print"):
        loader.load(path)


def test_a_framework_that_is_not_installed_names_its_extra(tmp_path, monkeypatch):
    (tmp_path / "model.onnx").write_bytes(b"\x08\x0a\x12\x07")
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    monkeypatch.delitem(__import__("sys").modules, "tiffin.models.onnx", raising=False)
    with pytest.raises(MissingExtra) as caught:
        loading.load(ModelSource(artefact=Artefact("x")), tmp_path)
    assert caught.value.hint == "pip install 'tiffin[onnx]'"
