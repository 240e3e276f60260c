import pytest

from tiffin.dialects.documents import Document
from tiffin.dialects.fields import Reader, describe, slug
from tiffin.errors import SpecError


def reader(**value) -> Reader:
    return Reader(Document(value=value, file="f.yaml"))


def refusal(call) -> str:
    with pytest.raises(SpecError) as caught:
        call()
    return str(caught.value)


@pytest.mark.parametrize(
    ("take", "value", "message"),
    [
        (lambda f: f.text("a"), 2, "f.yaml: a: expected a string, found 2 (an integer)"),
        (lambda f: f.text("a"), True, "a: expected a string, found true"),
        (lambda f: f.text("a"), ["x"], "a: expected a string, found a list"),
        (lambda f: f.text("a"), "\0", "a: expected text without a zero character"),
        (lambda f: f.text("a", required=True), "", "a: required, found an empty string"),
        (lambda f: f.text("a", required=True), None, "a: required, found nothing"),
        (lambda f: f.text("a", choices=("x", "y")), "z", 'a: expected "x" or "y", found "z"'),
        (lambda f: f.integer("a"), "1", 'a: expected an integer, found "1"'),
        (lambda f: f.integer("a"), True, "a: expected an integer, found true"),
        (lambda f: f.integer("a"), 1.5, "a: expected an integer, found 1.5 (a number)"),
        (lambda f: f.integer("a", minimum=0), -1, "a: expected at least 0, found -1 (an integer)"),
        (lambda f: f.integer("a"), 10**40, "a: expected at most 2147483647, found a number beyond bounds"),
        (lambda f: f.number("a"), "1", 'a: expected a number, found "1"'),
        (lambda f: f.number("a"), 10**400, "a: expected a number, found a number beyond bounds"),
        (lambda f: f.number("a", above=0), 0, "a: expected more than 0, found 0 (an integer)"),
        (lambda f: f.flag("a"), "true", 'a: expected true or false, found "true"'),
        (lambda f: f.mapping("a"), [], "a: expected a mapping, found a list"),
        (lambda f: f.items("a"), {}, "a: expected a list, found a mapping"),
        (lambda f: f.mappings("a"), [{}, 1], "a[1]: expected a mapping, found 1 (an integer)"),
        (lambda f: f.texts("a"), ["x", 1], "a[1]: expected a string, found 1 (an integer)"),
        (lambda f: f.texts("a"), "x", 'a: expected a list, found "x"'),
        (lambda f: f.text_map("a"), {"x/y": 1}, 'a["x/y"]: expected a string, found 1 (an integer)'),
        (lambda f: f.text_map("a", scalars=True), {"x": [1]}, "a.x: expected a string, found a list"),
    ],
)
def test_a_value_of_another_type_is_refused_by_its_path(take, value, message):
    assert message in refusal(lambda: take(reader(a=value).root()))


def test_a_number_where_text_is_expected_comes_with_advice():
    with pytest.raises(SpecError) as caught:
        reader(a=2).root().text("a")
    assert caught.value.hint == "put it in quotes"


def test_a_null_field_counts_as_absent():
    fields = reader(a=None).root()
    assert fields.text("a", "default") == "default"
    assert fields.integer("a") is None
    assert fields.mapping("a") is None
    assert fields.items("a") == []
    assert fields.text_map("a") == {}


def test_one_string_may_stand_for_a_list_where_that_is_said():
    assert reader(a="x").root().texts("a", or_one=True) == ("x",)
    assert reader(a=["x", "y"]).root().texts("a", or_one=True) == ("x", "y")


def test_numbers_and_booleans_become_text_where_that_is_said():
    assert reader(a={"x": 1, "y": True, "z": "t"}).root().text_map("a", scalars=True) == {
        "x": "1",
        "y": "true",
        "z": "t",
    }


def test_an_unknown_field_is_refused_with_the_nearest_name():
    opened = reader(modelFormt="x")
    opened.root().text("modelFormat")
    assert refusal(opened.finish) == 'f.yaml: modelFormt: unknown field; did you mean "modelFormat"?'


def test_an_unknown_field_unlike_any_other_comes_with_the_known_ones():
    opened = reader(zzz=1)
    fields = opened.root()
    fields.text("name")
    fields.text("value")
    with pytest.raises(SpecError) as caught:
        opened.finish()
    assert caught.value.hint == "the fields here are name, value"


def test_a_misspelt_required_field_is_named_rather_than_the_missing_one():
    assert 'nameq: unknown field; did you mean "name"?' in refusal(
        lambda: reader(nameq="x").root().text("name", required=True)
    )


def test_an_unknown_field_is_refused_even_when_it_is_empty():
    opened = reader(zzz=None)
    opened.root()
    assert "zzz: unknown field" in refusal(opened.finish)


def test_every_mapping_that_was_opened_is_checked():
    opened = reader(a={"b": [{"c": 1, "d": 2}]})
    inner = opened.root().section("a").mappings("b")[0]
    inner.integer("c")
    assert "a.b[0].d: unknown field" in refusal(opened.finish)


def test_refused_fields_are_refused_only_when_they_say_something():
    fields = reader(a={}, b=[], c=None, d={"x": 1}).root()
    for name in ("a", "b", "c", "missing"):
        fields.refuse(name, "later")
    assert refusal(lambda: fields.refuse("d", "later")) == "f.yaml: d: later"


def test_ignored_fields_are_listed_by_path():
    opened = reader(a={"x": 1}, b=None, c=0)
    opened.root().ignore(("a", "b", "c"), "no effect")
    assert [str(warning) for warning in opened.finish()] == ["a: no effect", "c: no effect"]


def test_unknown_fields_can_be_listed_instead_of_refused():
    opened = reader(image="i", resourcess={"x": 1})
    fields = opened.root()
    fields.text("image")
    fields.raw("resources")
    fields.ignore_unknown()
    (warning,) = opened.finish()
    assert str(warning).startswith("resourcess: unknown field")
    assert 'did you mean "resources"?' in warning.message


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "nothing"), ({}, "a mapping"), ("x" * 100, '"' + "x" * 80 + '..."'), (1.5, "1.5 (a number)")],
)
def test_a_value_is_described_briefly(value, text):
    assert describe(value) == text


@pytest.mark.parametrize(
    ("text", "name"), [("Iris Model_v2", "iris-model-v2"), ("--", "model"), ("é", "model"), ("a" * 80, "a" * 63)]
)
def test_any_text_gives_a_name(text, name):
    assert slug(text) == name
