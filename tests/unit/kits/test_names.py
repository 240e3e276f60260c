import pytest

from tiffin.kits.names import is_domain, snake_case
from tiffin.store import reference


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Iris", "iris"),
        ("IrisClassifier", "iris_classifier"),
        ("HTTPServer", "http_server"),
        ("My2ndModel", "my2nd_model"),
        ("already_snake", "already_snake"),
        ("Mixed_Case", "mixed_case"),
        ("XGB", "xgb"),
    ],
)
def test_class_names_become_snake_case(name: str, expected: str) -> None:
    assert snake_case(name, "service") == expected


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("IrisClassifier", "iris_classifier"),
        ("HTTPServer2", "http_server2"),
        ("my-dir", "my_dir"),
        ("__", "bundle"),
    ],
)
def test_a_class_lends_its_name(text, name):
    assert snake_case(text, "bundle") == name
    assert reference.parse(name).name == name


@pytest.mark.parametrize("text", ["example.com", "localhost", "a-b.c1", "10.0.0.1.nip.io"])
def test_host_names_can_end_in_it(text: str) -> None:
    assert is_domain(text)


@pytest.mark.parametrize("text", ["", ".com", "a..b", "a b", "a/b", "A.com", "-a", "a\n", "x" * 64, "é.com", "\0"])
def test_host_names_cannot_end_in_it(text: str) -> None:
    assert not is_domain(text)
