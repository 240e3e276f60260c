import contextlib
import copyreg
import datetime
import functools
import importlib
import io
import os
import pickle
import re
import warnings

import joblib
import numpy as np
import pytest
import sklearn.datasets
import sklearn.ensemble
import sklearn.feature_extraction.text
import sklearn.linear_model
import sklearn.metrics
import sklearn.model_selection
import sklearn.multioutput
import sklearn.pipeline
import sklearn.preprocessing
import sklearn.svm
import sklearn.utils
from hypothesis import given, settings
from hypothesis import strategies as st

from tiffin.errors import ModelError, UntrustedArtefact
from tiffin.models import pickles, safety
from tiffin.models.safety import Import


class Call:
    """Pickles as a call of ``function``."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


COMPRESSIONS = [0, ("zlib", 3), ("gzip", 3), ("bz2", 3), ("xz", 3), ("lzma", 3)]


def payloads(trap):
    """What must never happen, by the name that has to be in the message."""
    return {
        "os.system": Call(os.system, f"touch {trap}"),
        "builtins.eval": Call(eval, f"open({str(trap)!r}, 'w')"),
        "builtins.exec": Call(exec, f"open({str(trap)!r}, 'w')"),
        "builtins.getattr": Call(getattr, os, "getcwd"),
        "open": Call(open, str(trap), "w"),
        "builtins.type": type(None),
        "importlib.import_module": Call(importlib.import_module, "this"),
        "numpy.load": Call(np.load, str(trap)),
        "numpy.fromfile": Call(np.fromfile, str(trap)),
        "joblib.numpy_pickle.load": Call(joblib.load, str(trap)),
        "sklearn.datasets._base.load_files": Call(sklearn.datasets.load_files, str(trap)),
    }


@pytest.fixture
def trap(tmp_path):
    yield tmp_path / "trap"
    assert not (tmp_path / "trap").exists(), "the pickle was executed"


@pytest.mark.parametrize("name", payloads("x"))
@pytest.mark.parametrize("protocol", range(6))
def test_a_call_of_anything_else_is_refused_by_name(name, protocol, trap, tmp_path):
    model = {"weights": np.zeros(3), "deep": [(payloads(trap)[name],)]}
    if name == "builtins.getattr":
        model = Call(getattr, 1, "real")
    file = tmp_path / "model.pkl"
    file.write_bytes(pickle.dumps(model, protocol))
    with pytest.raises(UntrustedArtefact, match=re.escape(name)) as caught:
        pickles.load(file)
    assert "--trust" in caught.value.hint
    assert "model.pkl" in str(caught.value)


@pytest.mark.parametrize("compress", COMPRESSIONS, ids=str)
@pytest.mark.parametrize(
    "wrap",
    [
        lambda bad: [np.arange(1000.0), bad],
        lambda bad: np.array([bad, 1], dtype=object),
        lambda bad: {"a": np.array([[np.array([bad], dtype=object)], [2]], dtype=object)},
        lambda bad: [np.frombuffer(b"\x80\x04.cos\nsystem\n." * 99, "u1"), np.array(["é", "x"]), bad],
        lambda bad: [np.zeros(2, [("a", "f8"), ("b", "O")]), bad],
        lambda bad: [np.zeros((0, 3)), np.array("2020-01-01", "M8[D]"), np.asfortranarray(np.ones((3, 2))), bad],
    ],
    ids=["after an array", "in an object array", "nested", "after bytes like opcodes", "structured", "odd arrays"],
)
def test_a_call_hidden_in_a_joblib_file_is_found(wrap, compress, trap, tmp_path):
    file = tmp_path / "model.joblib"
    joblib.dump(wrap(Call(os.system, f"touch {trap}")), file, compress=compress)
    with pytest.raises(UntrustedArtefact, match=r"os\.system"):
        pickles.load(file)


def test_the_loader_refuses_by_itself_what_the_scan_would_have_let_through(trap, tmp_path, monkeypatch):
    file = tmp_path / "model.joblib"
    joblib.dump([np.array([Call(os.system, f"touch {trap}")], dtype=object)], file)
    monkeypatch.setattr(safety, "imports_of", lambda stream, file: [])
    with pytest.raises(UntrustedArtefact, match=r"os\.system"):
        pickles.load(file)


@pytest.mark.parametrize(
    "pickled",
    [
        b"c__builtin__\neval\n(S'1'\ntR.",
        b"\x80\x02c__builtin__\napply\n.",
        b"(S'ls'\nios\nsystem\n.",
        b"\x80\x04\x8c\x07sklearn\x8c\x0eos.path.system\x93.",
        b"\x80\x04\x8c\x05numpy\x8c\x0ctesting.rand\x93.",
        b"\x80\x02\x82\x01.",
        b"Psomewhere\n.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93rubbish",
        b"cos\nsystem\n",
    ],
    ids=["eval", "apply", "INST", "dotted", "numpy.testing", "extension", "persistent", "rubbish", "cut off"],
)
def test_hand_written_pickles_are_refused(pickled, tmp_path):
    file = tmp_path / "model.pkl"
    file.write_bytes(pickled)
    with pytest.raises(UntrustedArtefact):
        pickles.load(file)


@pytest.mark.parametrize("pickled", [b"", b"\x80\x04", b"\x80\x04N", b"\x80\x09N.", b"nonsense"])
def test_a_damaged_pickle_is_a_model_error(pickled, tmp_path):
    file = tmp_path / "model.pkl"
    file.write_bytes(pickled)
    with pytest.raises(ModelError, match="not a whole pickle"):
        pickles.load(file)


def test_a_cut_off_joblib_file_is_a_model_error(tmp_path):
    file = tmp_path / "model.joblib"
    joblib.dump(np.zeros(1000), file)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ModelError, match="not a whole pickle"):
        pickles.load(file)


def test_a_name_that_a_module_only_imported_is_not_its_to_give(tmp_path):
    file = tmp_path / "model.pkl"
    assert safety.is_allowed(Import("sklearn.linear_model._base", "Parallel"))  # by its name alone it could be
    file.write_bytes(b"csklearn.linear_model._base\nParallel\n.")
    with pytest.raises(UntrustedArtefact, match="not defined there"):
        pickles.load(file)


MADE = {
    "a call of what was made": b"cfunctools\npartial\n(cbuiltins\nlist\ntR)R.",
    "a new object of what was made": b"cfunctools\npartial\n(cbuiltins\nlist\ntR)\x81.",
    "a state for a class": b"csklearn.svm._classes\nSVC\n(N}tb.",
    "a state for a function": b"csklearn.metrics._regression\nr2_score\n(dVa\nI1\nsb.",
}


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("is_scanned", [True, False])
def test_only_imports_are_called_and_only_what_was_made_is_changed(name, is_scanned, tmp_path, monkeypatch):
    file = tmp_path / "model.pkl"
    file.write_bytes(MADE[name])
    if not is_scanned:
        monkeypatch.setattr(safety, "imports_of", lambda stream, file: [])
    with pytest.raises(UntrustedArtefact, match=r"made itself|did not make"):
        pickles.load(file)


class Made:
    """Pickles as an object of a class, with a state, and with what fills it."""

    def __init__(self, state, kind=sklearn.linear_model.LogisticRegression, items=None):
        self.state, self.kind, self.items = state, kind, items

    def __reduce__(self):
        made = (copyreg._reconstructor, (self.kind, object, None), self.state)
        return made if self.items is None else (*made, iter(self.items))


SCORER = sklearn.metrics._scorer._Scorer
ADDRESS = {"__array_interface__": {"data": (16, True), "shape": (9,), "typestr": "|u1", "version": 3}}
TURNED = {
    "a method called by name": (
        Made({"stack_method_": ["tofile"]}, sklearn.ensemble.StackingRegressor),
        "stack_method_",
    ),
    "a name that is a list of its own kind": (
        Made({"stack_method_": [["tofile"]]}, sklearn.ensemble.StackingRegressor),
        "stack_method_",
    ),
    "a threshold's method": (
        Made({"response_method": "save_model"}, sklearn.model_selection.FixedThresholdClassifier),
        "response_method",
    ),
    "a scorer's method": (Made({"_response_method": "save_model"}, SCORER), "_response_method"),
    "a method replaced": (Made({"predict": np.add}), "replaces the method predict"),
    "a method replaced that is there on conditions": (
        Made({"predict_proba": np.add}, sklearn.svm.SVC),
        "replaces the method predict_proba",
    ),
    "a state's own way to take a state": (Made({"__setstate__": np.add}), "__setstate__"),
    "a state beside the state": (Made((None, {"__array__": np.add})), "__array__"),
    "an address in memory": (Call(np.copy, Made(ADDRESS)), "__array_interface__"),
    "an address among the keys of a bunch": (
        Call(np.copy, Call(copyreg._reconstructor, sklearn.utils.Bunch, dict, ADDRESS)),
        "__array_interface__",
    ),
    "an address set as an item": (sklearn.utils.Bunch(**ADDRESS), "__array_interface__"),
    "something that calls what fills it": (Made({"extend": np.add, "append": np.add}, items=[1, 2]), "fills a"),
    "a partial of an object": (functools.partial(SCORER(np.add, 1, {}, "predict"), 1), "imported function"),
    "a partial of a class": (functools.partial(sklearn.svm.SVC, C=1), "imported function"),
    "an array's wrapper": (
        Call(joblib.numpy_pickle.NumpyArrayWrapper, np.ndarray, (1,), "C", np.dtype("O")),
        "wrapper by hand",
    ),
    "files that callers name": (
        Made({"input": "filename"}, sklearn.feature_extraction.text.CountVectorizer),
        "files that callers name",
    ),
}


@pytest.mark.parametrize("name", TURNED)
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_objects_of_allowed_classes_cannot_be_turned_against_the_host(name, protocol, tmp_path):
    model, said = TURNED[name]
    file = tmp_path / "model.pkl"
    file.write_bytes(pickle.dumps([model], protocol))
    with pytest.raises(UntrustedArtefact, match=re.escape(said)) as caught:
        pickles.load(file)
    assert "--trust" in caught.value.hint


@pytest.mark.parametrize(
    "function",
    [os.system, np.load, np.fromfile, np.f2py.run_main, np.testing.assert_equal, joblib.Parallel, joblib.Memory],
    ids=str,
)
def test_a_transformer_takes_no_other_function(function, tmp_path):
    file = tmp_path / "model.joblib"
    joblib.dump(sklearn.preprocessing.FunctionTransformer(function), file)
    with pytest.raises(UntrustedArtefact):
        pickles.load(file)


def test_what_models_do_with_the_same_means_is_opened(tmp_path, rows, labels):
    linear = sklearn.linear_model.LogisticRegression()
    estimators = [
        sklearn.ensemble.StackingClassifier([("a", linear)]),
        sklearn.model_selection.FixedThresholdClassifier(linear, response_method="predict_proba"),
        sklearn.model_selection.GridSearchCV(linear, {"C": [1]}, scoring="accuracy"),
        sklearn.multioutput.ClassifierChain(linear),
        sklearn.pipeline.make_pipeline(
            sklearn.preprocessing.FunctionTransformer(functools.partial(np.clip, a_min=0, a_max=9)), linear
        ),
        sklearn.ensemble.VotingClassifier([("a", linear)]),
    ]
    for estimator in estimators:
        chained = isinstance(estimator, sklearn.multioutput.ClassifierChain)
        target = labels > labels.min()
        estimator.fit(rows, np.c_[target, ~target] if chained else target)
        file = tmp_path / "model.joblib"
        joblib.dump(estimator, file)
        assert (pickles.load(file).predict(rows) == estimator.predict(rows)).all()


def test_trust_opens_what_is_refused(tmp_path):
    file = tmp_path / "model.pkl"
    file.write_bytes(pickle.dumps(Call(getattr, 1, "real")))
    assert pickles.load(file, trust=True) == 1


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("compress", COMPRESSIONS, ids=str)
def test_plain_values_and_arrays_come_back_as_they_were(protocol, compress, tmp_path):
    file = tmp_path / "model.joblib"
    value = {
        "a": [
            1,
            2.5,
            "x",
            b"y",
            None,
            True,
            (1, 2),
            {3},
            frozenset({4}),
            complex(1, 2),
            datetime.date(2020, 1, 1),
        ],
        "b": np.arange(6).reshape(2, 3),
        "c": np.array(["u", None, b"v"], dtype=object),
        "d": re.compile("a+"),
        "e": np.float64(2.5),
        "f": np.random.RandomState(0).get_state(legacy=False)["state"]["key"],
    }
    joblib.dump(value, file, protocol=protocol, compress=compress)
    found = pickles.load(file)
    assert found["a"] == value["a"]
    assert found["c"].tolist() == value["c"].tolist()
    assert (found["b"] == value["b"]).all()
    assert (found["d"], found["e"]) == (value["d"], 2.5)


def test_the_scan_imports_nothing(tmp_path, monkeypatch):
    pickled = pickle.dumps(sklearn.linear_model.LogisticRegression())
    monkeypatch.setattr(importlib, "import_module", None)
    found = safety.imports_of(io.BytesIO(b"cthis_module_does_not_exist\nThing\n."), tmp_path)
    assert found == [Import("this_module_does_not_exist", "Thing")]
    assert Import("sklearn.linear_model._logistic", "LogisticRegression") in safety.imports_in(pickled)


@pytest.mark.parametrize(
    "module_and_name",
    [
        ("sklearn.utils.parallel", "Parallel"),
        ("sklearn.datasets._base", "load_files"),
        ("sklearn.externals._arff", "ArffDecoder"),
        ("sklearn.utils._testing", "TempMemmap"),
        ("sklearn.tree.tests.test_tree", "X"),
        ("numpy.f2py", "compile"),
        ("numpy.testing._private.utils", "runstring"),
        ("scipy.stats._distn_infrastructure", "rv_continuous"),
        ("operator", "attrgetter"),
        ("functools", "reduce"),
        ("subprocess", "Popen"),
        ("xgboost.core", "_LIB"),
        ("builtins", "dict.fromkeys"),
    ],
    ids=".".join,
)
def test_the_table_leaves_out_what_could_do_more_than_hold_values(module_and_name):
    assert not safety.is_allowed(Import(*module_and_name))


@settings(deadline=None)
@given(st.data())
def test_a_file_with_changed_bytes_is_followed_or_refused(data):
    stream = io.BytesIO()
    joblib.dump({"a": np.arange(3.0), "b": np.array(["x", None], dtype=object), "c": {1: (2,)}}, stream)
    content = bytearray(stream.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ModelError):
        assert all(isinstance(item, Import) for item in safety.imports_in(bytes(content)))


def test_estimators_of_every_kind_are_opened(tmp_path, rows, labels):
    from sklearn import (
        calibration,
        ensemble,
        gaussian_process,
        isotonic,
        model_selection,
        naive_bayes,
        neighbors,
        neural_network,
        pipeline,
        preprocessing,
        svm,
    )

    forest = ensemble.RandomForestClassifier(3)
    estimators = [
        forest,
        ensemble.HistGradientBoostingClassifier(max_iter=2),
        ensemble.GradientBoostingClassifier(n_estimators=2),
        gaussian_process.GaussianProcessClassifier(),
        neighbors.KNeighborsClassifier(),
        naive_bayes.GaussianNB(),
        neural_network.MLPClassifier(max_iter=5),
        svm.SVC(),
        model_selection.GridSearchCV(svm.SVC(), {"C": [1, 2]}),
        calibration.CalibratedClassifierCV(naive_bayes.GaussianNB()),
        pipeline.make_pipeline(
            preprocessing.FunctionTransformer(np.log1p), preprocessing.SplineTransformer(), forest
        ),
    ]
    file = tmp_path / "model.joblib"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for estimator in estimators:
            joblib.dump(estimator.fit(rows, labels), file)
            assert (pickles.load(file).predict(rows) == estimator.predict(rows)).all()
        joblib.dump(isotonic.IsotonicRegression().fit(rows[:, 0], labels), file)
        assert pickles.load(file).predict([1.0]).shape == (1,)
