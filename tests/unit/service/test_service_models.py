"""``tiffin.models`` and the helpers of frameworks: what authors of training code and services use."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import tiffin
from tiffin.errors import MissingExtra, ModelError, ServiceError
from tiffin.service import frameworks, models


@pytest.fixture(autouse=True)
def homes(tmp_path, monkeypatch):
    monkeypatch.setenv("TIFFIN_HOME", str(tmp_path / "tiffin"))
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))
    yield tmp_path
    models.pin(())


@pytest.fixture
def bentoml_model(homes):
    """A model as BentoML 1.4 stores it."""
    directory = homes / "bentoml/models/iris/abcdefghijklmnop"
    directory.mkdir(parents=True)
    (directory / "model.yaml").write_text(
        "name: iris\nversion: abcdefghijklmnop\nmodule: bentoml.sklearn\nlabels: {team: a}\noptions: {}\n"
        "metadata: {acc: 0.9}\ncontext:\n  framework_name: sklearn\n  framework_versions: {scikit-learn: 1.9.1}\n"
        "  bentoml_version: 1.4.39\n  python_version: 3.11.7\nsignatures: {predict: {batchable: true}}\n"
        "api_version: v1\ncreation_time: '2026-11-23T00:23:06.427095+00:00'\n"
    )
    pytest.importorskip("joblib").dump({"a": 1}, directory / "saved_model.pkl")
    (directory.parent / "latest").write_text("abcdefghijklmnop")
    return directory


def made(tag="clf:v1", text="w", **options):
    with models.create(tag, **options) as model, open(model.path_of("w.txt"), "w") as file:
        file.write(text)
    return model


def test_a_model_is_made_and_got_with_what_is_known_of_it():
    model = made(
        labels={"a": "b"}, metadata={"n": np.float64(0.5)}, lineage={"run": "r1"}, custom_objects={"k": [1]}
    )
    assert model.tag == "clf:v1"
    assert (model.tag.name, model.tag.version) == ("clf", "v1")
    found = tiffin.models.get("clf")
    assert found.digest == model.digest
    assert found.path == model.path
    assert found.info.labels == {"a": "b"}
    assert found.info.metadata == {"n": 0.5}
    assert found.lineage.run == "r1"
    assert found.custom_objects == {"k": [1]}
    assert [str(one.tag) for one in models.list()] == ["clf:v1"]
    models.delete("clf:v1")
    assert models.list() == []


def test_a_directory_is_saved_and_moved_between_stores(homes, monkeypatch):
    (homes / "saved").mkdir()
    (homes / "saved/w.txt").write_text("w")
    model = models.save("plain:1", homes / "saved", labels={"x": "y"})
    path = models.export_model("plain:1", homes / "out.tiffinmodel")
    monkeypatch.setenv("TIFFIN_HOME", str(homes / "other"))
    again = models.import_model(path)
    assert (str(again.tag), again.digest, again.labels) == ("plain:1", model.digest, {"x": "y"})


def test_a_model_of_bentoml_is_found_listed_and_opened(bentoml_model):
    for tag in ("iris", "iris:latest", "iris:abcd", "Iris:ABCDEFGHIJKLMNOP"):
        found = models.get(tag)
        assert found.tag == "iris:abcdefghijklmnop"
        assert found.path == str(bentoml_model)
    assert found.info.module == "bentoml.sklearn"
    assert found.info.metadata == {"acc": 0.9}
    assert [str(model.tag) for model in models.list("iris")] == ["iris:abcdefghijklmnop"]
    assert tiffin.sklearn.load_model("iris") == {"a": 1}
    assert found.load_model() == {"a": 1}
    with pytest.raises(ModelError, match="there is no model iris"):
        models.delete("iris:abcdefghijklmnop")


@pytest.mark.parametrize("tag", ["", "rose", "iris:nothere", "../iris", "iris:../abc", "..:."])
def test_a_model_that_neither_store_has_is_an_error(bentoml_model, tag):
    with pytest.raises(ModelError):
        models.get(tag)


def test_a_reference_is_resolved_on_an_instance():
    model = made()

    class Uses:
        model = models.BentoModel("clf")

    assert isinstance(Uses.model, models.BentoModel)
    assert Uses().model.path == model.path


def test_a_pinned_reference_keeps_to_what_the_bundle_was_built_with():
    old = made("clf:v1", "old")
    made("clf:v2", "new")
    models.pin([models.Pin(tag="clf:v1", digest=old.digest, alias="main")])
    assert models.BentoModel("clf:latest").resolve().digest == old.digest
    assert models.BentoModel("main").resolve().digest == old.digest
    models.delete("clf:v1")
    with pytest.raises(ModelError, match=r"the bundle needs the model clf:v1 \(sha256:"):
        models.BentoModel("clf").resolve()


def test_a_pinned_model_that_changed_is_not_opened():
    old = made("clf:v1", "old")
    models.pin([models.Pin(tag="clf:v1", digest=old.digest)])
    with open(old.path_of("w.txt"), "w") as file:
        file.write("evil")
    with pytest.raises(ModelError, match=r"w\.txt has changed"):
        models.BentoModel("clf").resolve()


def test_a_pinned_model_of_bentoml_is_compared_with_its_digest(bentoml_model):
    digest = models.get("iris").digest
    models.pin([models.Pin(tag="iris:abcdefghijklmnop", digest=digest, source="bentoml")])
    assert models.BentoModel("iris").resolve().digest == digest
    (bentoml_model / "extra.txt").write_text("")
    with pytest.raises(ModelError, match="is not the one the bundle was built with"):
        models.BentoModel("iris").resolve()


def test_a_hub_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtra, match="huggingface_hub is not installed"):
        models.HuggingFaceModel("org/name").resolve()


def test_pushing_is_for_the_command_line():
    with pytest.raises(ServiceError, match=r"models\.push"):
        models.push("clf")


# ---- frameworks


def test_an_estimator_comes_back_as_it_was():
    linear = pytest.importorskip("sklearn.linear_model")
    fitted = linear.LogisticRegression().fit([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1])
    model = tiffin.sklearn.save_model("clf", fitted, labels={"a": "b"})
    assert len(model.tag.version) == 16
    assert "scikit-learn" in model.info.frameworks
    assert tiffin.sklearn.load_model("clf").predict([[3.0]]).tolist() == [1]
    with pytest.raises(ModelError, match="expected a model of xgboost, found clf"):
        frameworks.FRAMEWORKS["xgboost"].load_model("clf")


@pytest.mark.parametrize("kind", ["XGBClassifier", "Booster"])
def test_a_booster_of_xgboost_comes_back_as_its_own_class(kind):
    xgboost = pytest.importorskip("xgboost")
    x, y = np.array([[0.0], [1.0], [2.0], [3.0]] * 5), np.array([0, 0, 1, 1] * 5)
    fitted = xgboost.XGBClassifier(n_estimators=3).fit(x, y)
    tiffin.xgboost.save_model("b", fitted if kind == "XGBClassifier" else fitted.get_booster())
    assert type(tiffin.xgboost.load_model("b")).__name__ == kind


def test_a_booster_of_lightgbm_comes_back():
    lightgbm = pytest.importorskip("lightgbm")
    x, y = np.arange(100.0).reshape(-1, 1), np.arange(100) // 50
    booster = lightgbm.train({"objective": "binary", "verbose": -1}, lightgbm.Dataset(x, y), 3)
    tiffin.lightgbm.save_model("l", booster)
    assert np.allclose(tiffin.lightgbm.load_model("l").predict(x), booster.predict(x))


def test_any_python_object_can_be_kept():
    pytest.importorskip("cloudpickle")
    tiffin.picklable_model.save_model("f", lambda value: value + 1)
    assert tiffin.picklable_model.load_model("f")(1) == 2


def test_what_a_framework_cannot_save_is_refused_and_nothing_is_kept():
    pytest.importorskip("sklearn")
    with pytest.raises(ModelError, match=r"tiffin\.sklearn cannot save dict"):
        tiffin.sklearn.save_model("x", {})
    assert models.list() == []


def test_plain_files_have_no_loader():
    with pytest.raises(ModelError, match="stored as files"):
        made().load_model()


def test_the_stand_in_for_bentoml_has_the_store_and_the_helpers(homes):
    code = (
        "from tiffin.service import compat; compat.provide()\n"
        "import bentoml, json\n"
        "with bentoml.models.create('m:1', labels={'a': 'b'}) as m:\n"
        "    open(m.path_of('w'), 'w').write('x')\n"
        "print(json.dumps([str(m.tag), m.info.labels, str(bentoml.Tag('A', 'B')), str(bentoml.sklearn.get),"
        " len(bentoml.list())]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ}
    )
    tag, labels, other, get, count = json.loads(done.stdout)
    assert (tag, labels, other, count) == ("m:1", {"a": "b"}, "a:b", 0)
    assert "Framework.get" in get


def test_a_model_that_is_not_there_is_bentomls_not_found_and_no_404(tmp_path, monkeypatch):
    monkeypatch.setenv("TIFFIN_HOME", str(tmp_path))
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "theirs"))
    for ask in (models.get, models.delete, tiffin.get, tiffin.delete):
        with pytest.raises(tiffin.exceptions.NotFound, match="nobody") as raised:
            ask("nobody:one")
        assert raised.value.error_code == 500
