import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.spec.target import Named, module_target, parse


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("service:Iris", Named("service", "", "Iris")),
        ("package.module:Iris", Named("package.module", "", "Iris")),
        ("service", Named("service", "", "")),
        ("service.py", Named("", "service.py", "")),
        ("./service.py:Iris", Named("", "service.py", "Iris")),
        ("src/iris/service.py:Outer.inner", Named("", "src/iris/service.py", "Outer.inner")),
        ("/abs/my-service.py:Iris", Named("", "/abs/my-service.py", "Iris")),
        ("model.joblib", Named("model.joblib", "", "")),
    ],
)
def test_a_target_is_taken_apart(text, named):
    assert parse(text) == named


@pytest.mark.parametrize(
    "text", [".", "", "s3://bucket/model", "dir/model.bin", "mod:", "mod:1x", ":Iris", "a b:C"]
)
def test_other_texts_are_none(text):
    assert parse(text) is None


@pytest.mark.parametrize(
    ("text", "module"),
    [
        ("./service.py:Iris", "service:Iris"),
        ("src/iris.py", "src.iris"),
        ("pkg/__init__.py:Iris", "pkg:Iris"),
        ("pkg.iris:Iris", "pkg.iris:Iris"),
        ("my-service.py:Iris", None),
    ],
)
def test_a_bundle_has_modules(text, module):
    assert module_target(text) == module


@given(st.text(max_size=30))
def test_what_is_taken_apart_reads_the_same_again(text):
    named = parse(text)
    if named is not None:
        assert parse(str(named)) == named
