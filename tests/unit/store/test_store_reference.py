"""Names of bundles."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.errors import BundleError
from tiffin.store import reference
from tiffin.store.reference import Reference


@pytest.mark.parametrize(
    ("text", "name", "version"),
    [
        ("iris:1.0", "iris", "1.0"),
        ("iris", "iris", ""),
        ("Iris:V1", "iris", "V1"),
        ("iris-image:v0.1", "iris-image", "v0.1"),
        ("iris_clf:wxe2xohgrcc4cax4", "iris_clf", "wxe2xohgrcc4cax4"),
        ("seldonio/iris:0.1", "seldonio/iris", "0.1"),
        ("localhost:5000/team/iris:v0.1", "localhost:5000/team/iris", "v0.1"),
        ("registry.example.com/team/iris", "registry.example.com/team/iris", ""),
        ("registry.example.com:5000/iris", "registry.example.com:5000/iris", ""),
        ("iris:v1@sha256:" + "0" * 64, "iris", "v1"),
    ],
)
def test_a_tag_is_read_as_bentoml_and_as_image_registries_write_it(text, name, version):
    assert reference.parse(text) == (name, version)


@pytest.mark.parametrize(
    "text",
    ["", ":1", "iris:", "../iris:1", "/iris", "iris/:1", "a b:1", "iris:a/b", "iris:../x", "x" * 300, "é:1"],
)
def test_what_is_no_tag_is_refused(text):
    with pytest.raises(BundleError, match="expected name:version"):
        reference.parse(text)


@given(st.text(max_size=40) | st.text("aZ1:/._-@", max_size=20))
def test_a_name_is_one_path_segment_and_comes_back(text):
    try:
        name = reference.parse(text)
    except BundleError:
        return
    assert "/" not in name.file
    assert name.file not in ("", ".", "..")
    assert name.version not in (".", "..")
    assert Reference.of_file(name.file, name.version) == name
