import contextlib
import pickle
import zlib

import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiffin.errors import ModelError
from tiffin.models import formats

PICKLED = pickle.dumps({"a": 1})
CONTENT = {
    "model.joblib": (PICKLED, "sklearn"),
    "model.pkl": (zlib.compress(PICKLED), "sklearn"),
    "model.pickle": (b"ccopy_reg\n_reconstructor\n.", "sklearn"),
    "model.json": (b'{"learner":{"gradient_booster":{}},"version":[3,0,0]}', "xgboost"),
    "model.bst": (b"tree\nversion=v4\n", "lightgbm"),
    "model.txt": (b"tree\r\nversion=v4\r\n", "lightgbm"),
    "old.model": (b"binf\x00\x00", "xgboost"),
    "model.onnx": (b"\x08\x0a\x12\x07skl2onnx:\x00", "onnx"),
}


@pytest.mark.parametrize("name", CONTENT)
@pytest.mark.parametrize("place", ["{name}", "", "..", "1"])
def test_a_model_is_found_as_a_file_in_its_directory_or_one_below(name, place, tmp_path):
    home = tmp_path / "model" / "1"
    home.mkdir(parents=True)
    (home / name).write_bytes(CONTENT[name][0])
    path = {"{name}": home / name, "": home, "..": home.parent, "1": tmp_path}[place]
    found = formats.find(path)
    assert (found.format, found.file) == (CONTENT[name][1], home / name)


def test_two_models_in_a_directory_are_listed(tmp_path):
    (tmp_path / "a.joblib").write_bytes(PICKLED)
    (tmp_path / "b.pkl").write_bytes(PICKLED)
    with pytest.raises(ModelError, match=r"found 2: a\.joblib, b\.pkl") as caught:
        formats.find(tmp_path)
    assert "a.joblib" in caught.value.hint


def test_the_format_asked_for_chooses_between_two(tmp_path):
    (tmp_path / "a.joblib").write_bytes(PICKLED)
    (tmp_path / "b.onnx").write_bytes(CONTENT["model.onnx"][0])
    assert formats.find(tmp_path, "onnx").file.name == "b.onnx"


def test_files_that_only_look_like_models_by_name_do_not_compete(tmp_path):
    (tmp_path / "model.joblib").write_bytes(PICKLED)
    (tmp_path / "requirements.txt").write_text("numpy")
    (tmp_path / "notes.txt").write_text("tree of life")
    (tmp_path / "schema.json").write_text("{}")
    assert formats.find(tmp_path).file.name == "model.joblib"


def test_a_pickle_is_accepted_for_xgboost_whose_estimators_are_pickled(tmp_path):
    (tmp_path / "model.pkl").write_bytes(PICKLED)
    assert formats.find(tmp_path / "model.pkl", "xgboost").format == "sklearn"


@pytest.mark.parametrize(
    ("files", "format", "says"),
    [
        ({}, "", "found nothing"),
        ({"notes.md": b"x"}, "", r"no model in .*found notes\.md"),
        ({"model.pt": b"PK\x03\x04"}, "", "PyTorch model, which Tiffin does not serve yet"),
        ({"saved_model.pb": b"x", "variables": None}, "", "TensorFlow SavedModel"),
        ({"model.safetensors": b"x"}, "", "does not serve yet"),
        ({"model.joblib": b""}, "", "is empty"),
        ({"model.joblib": b"<html>not found"}, "", "other content: it starts with b'<html>"),
        ({"model.onnx": b"version https://git-lfs"}, "", "other content"),
        ({"model.json": b'{"a": 1}'}, "", "other content"),
        ({"model.joblib": PICKLED}, "onnx", "there is no model"),
        ({"model.bst": b"tree\n"}, "xgboost", "expected a model for xgboost, found one for lightgbm"),
        ({"model.joblib": PICKLED}, "pytorch", "expected a format of"),
    ],
)
def test_what_is_wrong_with_a_directory_is_said(files, format, says, tmp_path):
    for name, content in files.items():
        if content is None:
            (tmp_path / name).mkdir()
        else:
            (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=says):
        formats.find(tmp_path, format)


def test_a_file_of_another_format_than_asked_says_which_it_is(tmp_path):
    (tmp_path / "model.joblib").write_bytes(PICKLED)
    with pytest.raises(ModelError, match="found one for sklearn") as caught:
        formats.find(tmp_path / "model.joblib", "onnx")
    assert "set the format to sklearn" in caught.value.hint


def test_a_path_that_does_not_exist_is_a_model_error(tmp_path):
    with pytest.raises(ModelError, match="there is no file or directory"):
        formats.find(tmp_path / "nothing")


@pytest.mark.parametrize("compress", [0, ("zlib", 1), ("gzip", 3), ("bz2", 3), ("xz", 3), ("lzma", 3)], ids=str)
@pytest.mark.parametrize("protocol", range(6))
def test_what_joblib_writes_is_recognised(compress, protocol, tmp_path):
    joblib.dump({"a": np.zeros(3)}, tmp_path / "m.joblib", compress=compress, protocol=protocol)
    assert formats.sniff(tmp_path / "m.joblib") == "sklearn"


@settings(deadline=None)
@given(st.binary(max_size=100))
def test_any_bytes_are_told_apart_without_an_accident(tmp_path_factory, content):
    file = tmp_path_factory.getbasetemp() / "model.json"
    file.write_bytes(content)
    with contextlib.suppress(ModelError):
        assert formats.find(file).format in formats.ACCEPTED
