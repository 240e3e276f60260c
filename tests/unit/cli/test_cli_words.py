"""What people write on a command line: kinds, names, paths, times, formats."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.cli import apply, jsonpath, names, showing, watching
from tiffin.errors import SpecError
from tiffin.plan.objects import Source


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ([], ("deployments", (), "", False)),
        (["iris"], ("deployments", ("iris",), "", False)),
        (["isvc"], ("deployments", (), "kserve", True)),
        (["isvc", "iris"], ("deployments", ("iris",), "kserve", True)),
        (["InferenceService/iris"], ("deployments", ("iris",), "kserve", True)),
        (["sdep", "a", "b"], ("deployments", ("a", "b"), "seldon", True)),
        (["deployments/iris"], ("deployments", ("iris",), "", True)),
        (["other/iris"], ("deployments", ("other/iris",), "", False)),
        (["pods"], ("replicas", (), "", True)),
        (["iris:v1"], ("bundles", ("iris:v1",), "", False)),
        (["registry.io/iris:v1"], ("bundles", ("registry.io/iris:v1",), "", False)),
        (["bundles"], ("bundles", (), "", True)),
    ],
)
def test_words_are_a_kind_and_names(words: list[str], asked: tuple[Any, ...]) -> None:
    assert tuple(names.asked(words)) == asked


def test_names_of_several_kinds_are_refused() -> None:
    with pytest.raises(SpecError, match="one kind"):
        names.asked(["iris", "iris:v1"])


@pytest.mark.parametrize(
    ("name", "namespace", "key"),
    [
        ("iris", "", "default/iris"),
        ("iris", "a", "a/iris"),
        ("a/iris", "", "a/iris"),
        ("a/iris", "a", "a/iris"),
        ("deployments/iris", "a", "a/iris"),
    ],
)
def test_a_name_and_a_namespace_are_a_key(name: str, namespace: str, key: str) -> None:
    assert names.key(name, namespace) == key


def test_two_namespaces_are_refused() -> None:
    with pytest.raises(SpecError, match="one namespace"):
        names.key("a/iris", "b")


@pytest.mark.parametrize(
    ("wanted", "known", "hint"),
    [
        ("default/iris", ["other/iris"], "there is other/iris: add `-n other`"),
        ("default/iriz", ["default/iris"], "did you mean default/iris?"),
        ("default/x", ["default/iris"], "`tiffin get -A` lists what there is"),
        ("default/x", [], "there are no deployments yet; `tiffin apply -f FILE` makes one"),
    ],
)
def test_a_missing_name_says_what_could_be_meant(wanted: str, known: list[str], hint: str) -> None:
    assert names.missing(wanted, known).hint == hint


OBJECT = {
    "status": {
        "url": "http://x",
        "conditions": [{"type": "A", "status": "False"}, {"type": "Ready", "status": "True"}],
        "ok": True,
    },
    "items": [{"name": "a"}, {"name": "b"}],
    "a.b": {"c": 1},
}


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("{.status.url}", "http://x"),
        (".status.url", "http://x"),
        ("status.url", "http://x"),
        ("{.items[*].name}", "a b"),
        ("{.items[-1].name}", "b"),
        ("{.items[9].name}", ""),
        ('{.status.conditions[?(@.type=="Ready")].status}', "True"),
        ("{.status.conditions[?(@.type=='A')].status}", "False"),
        ("{['a.b'].c}", "1"),
        ("{.status.ok}", "true"),
        ("{.items[0]}", '{"name":"a"}'),
        ("{.nope.deeper}", ""),
    ],
)
def test_a_path_finds_what_kubectl_finds(path: str, text: str) -> None:
    assert jsonpath.text(path, OBJECT) == text


@pytest.mark.parametrize("path", ["{.a[}", "{.a[?(@.x>1)]}", "{..a}", "{.a b}"])
def test_a_path_that_cannot_be_read_is_an_error_that_shows_it(path: str) -> None:
    with pytest.raises(SpecError, match="cannot read the path"):
        jsonpath.values(path, {"a": []})


@given(st.text(max_size=20))
def test_no_path_at_all_breaks_the_reader(path: str) -> None:
    with contextlib.suppress(SpecError):
        assert isinstance(jsonpath.text(path, OBJECT), str)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("60s", 60), ("1m30s", 90), ("2h", 7200), ("500ms", 0.5), ("0", 0)]
)
def test_times_are_read_as_kubectl_reads_them(text: str, seconds: float) -> None:
    assert watching.seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "abc", "5 m", "m5", "1x"])
def test_another_time_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match="expected a time"):
        watching.seconds(text)


def test_a_negative_time_is_nearly_for_ever() -> None:
    assert watching.seconds("-1") > 86_400


@pytest.mark.parametrize(
    ("given", "as_json", "form"), [("", False, ""), ("", True, "json"), ("json", True, "json")]
)
def test_json_is_short_for_output_json(given: str, as_json: bool, form: str) -> None:
    assert showing.form(given, as_json) == form


@pytest.mark.parametrize(("given", "as_json"), [("xml", False), ("yaml", True)])
def test_an_unknown_format_is_refused(given: str, as_json: bool) -> None:
    with pytest.raises(SpecError):
        showing.form(given, as_json)


@pytest.mark.parametrize(
    ("metadata", "version"), [("resourceVersion: '7'", 7), ("resourceVersion: 7", 7), ("labels: {}", None)]
)
def test_a_document_can_name_the_version_its_author_saw(metadata: str, version: int | None) -> None:
    text = f"apiVersion: tiffin.dev/v1\nkind: Deployment\nmetadata: {{name: a, {metadata}}}\n"
    assert apply.seen_version([Source(text=text)]) == version
    assert apply.seen_version([Source(text=text), Source(text=text)]) is None
    assert apply.seen_version([Source(text=f"{text}---\n{text}")]) is None
    assert apply.seen_version([Source(text="resourceVersion: [")]) is None
