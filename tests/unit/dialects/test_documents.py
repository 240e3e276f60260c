import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tiffin.dialects import documents
from tiffin.errors import SpecError


def value(text: str, file: str = "a.yaml"):
    (document,) = documents.parse(text, file)
    return document.value


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("1", 1),
        ("-7", -7),
        ("0x1F", 31),
        ("0644", 420),
        ("0o17", 15),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("true", True),
        ("yes", True),
        ("off", False),
        ("~", None),
        ("null", None),
        ("", None),
        ('"1"', "1"),
        ("'yes'", "yes"),
        ("!!str 123", "123"),
        ("!!int 12", 12),
        ("!!float 1", 1.0),
        ("1:30", "1:30"),
        ("2024-01-31", "2024-01-31"),
        ("2024-01-31T00:00:00Z", "2024-01-31T00:00:00Z"),
        (".nan", ".nan"),
        (".inf", ".inf"),
        ("1e999", "1e999"),
        ("1_000", "1_000"),
        ("089", 89.0),
        ("v0.1", "v0.1"),
        ("=", "="),
    ],
)
def test_a_plain_scalar_means_what_kubernetes_takes_it_to_mean(written, meant):
    found = value(f"field: {written}")["field"]
    assert found == meant
    assert type(found) is type(meant)


def test_the_name_of_a_field_is_text_however_it_looks():
    assert value("on: 1\n2: 2\nnull: 3") == {"on": 1, "2": 2, "null": 3}


def test_anchors_and_merges_are_resolved_and_own_fields_win():
    text = "base: &base {cpu: 1, memory: 2}\nfirst: {<<: *base, cpu: 3}\nsecond: *base\n"
    text += "third: {<<: [{a: 1}, {a: 2, b: 2}]}"
    found = value(text)
    assert found["first"] == {"cpu": 3, "memory": 2}
    assert found["second"] == {"cpu": 1, "memory": 2}
    assert found["third"] == {"a": 1, "b": 2}


def test_a_document_knows_the_line_of_each_field():
    (document,) = documents.parse('spec:\n  items:\n  - name: a\n  - "x/y": 1\n', "f.yaml")
    places = {path: document.place(path) for path in ("spec", "spec.items[0].name", 'spec.items[1]["x/y"]')}
    assert places == {"spec": "f.yaml:1", "spec.items[0].name": "f.yaml:3", 'spec.items[1]["x/y"]': "f.yaml:4"}


def test_a_field_that_is_not_there_is_placed_at_what_is_around_it():
    (document,) = documents.parse("metadata:\n  name: a\nspec:\n  predictor: {}\n", "f.yaml")
    assert document.place("spec.predictor.model.storageUri") == "f.yaml:4"


def test_documents_are_numbered_and_empty_ones_left_out():
    found = documents.parse("---\na: 1\n---\n# nothing\n---\nb: 2\n", "f.yaml")
    assert [(document.index, document.value) for document in found] == [(0, {"a": 1}), (2, {"b": 2})]
    assert found[1].place("b") == "f.yaml:6"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2\n", "f.yaml:2: a: the field is written twice"),
        ("a:\n  b: 1\n  b: 1\n", "f.yaml:3: a.b: the field is written twice"),
        (
            "a: [1, 2\nb: 3\n",
            "f.yaml:2: expected YAML: while parsing a flow sequence, expected ',' or ']', but got ':'",
        ),
        ("a:\n\t- 1\n", "f.yaml:2: expected YAML"),
        ("a: !!python/object:os.system x\n", "f.yaml:1: a: the tag tag:yaml.org,2002:python"),
        ("a: !!set {b}\n", "f.yaml:1: a: the tag !!set is not taken here"),
        ("a: !!binary aGk=\n", "the tag !!binary is not taken here"),
        ("a: !!int yes\n", "the tag !!int is not taken here"),
        ("a: *nowhere\n", "found undefined alias"),
        ("a: &x [*x]\n", "f.yaml:1: a[0]: an anchor contains itself"),
        ("? [1, 2]\n: 3\n", "f.yaml:1: expected a text as the name of a field"),
        ("<<: 1\n", "f.yaml:1: expected a mapping, or a list of them, after <<"),
        ("a: \x00\n", "f.yaml: expected YAML: special characters are not allowed"),
        ('a: "\\UFFFFFFFF"\n', "f.yaml: expected YAML"),
        ('a: "\\uD800"\n', "f.yaml:1: a: expected text, found half a surrogate pair"),
        ('"\\uD800": 1\n', "f.yaml:1: expected text, found half a surrogate pair"),
        ("[" * 100 + "]" * 100, "expected at most 64 levels of nesting"),
        ("[" * 50_000, "expected at most 64 levels of nesting"),
        ("a: " + "x" * documents.MAX_BYTES, "expected at most 1048576 characters"),
    ],
)
def test_bad_yaml_is_refused_with_its_line(text, message):
    with pytest.raises(SpecError) as caught:
        documents.parse(text, "f.yaml")
    assert message.replace("tag:yaml.org,2002:python", "!!python") in str(caught.value)


def test_anchors_cannot_make_a_short_text_huge():
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    with pytest.raises(SpecError, match="counting each use of an anchor"):
        documents.parse("\n".join(levels), "f.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1,\n "a": 2}', "f.json: the field 'a' is written twice"),
        ('{"a": 1,\n b}', "f.json:2: expected JSON"),
        ('{"a": NaN}', "f.json: expected JSON, found NaN"),
        ("[" * 100 + "]" * 100, "expected at most 64 levels of nesting"),
        ("[" * 200_000, "f.json: expected at most 64 levels of nesting"),
        ("[" + "1" * 10_000 + "]", "f.json: expected JSON"),
        ("{", "f.json:1: expected JSON"),
        ('["\\ud800"]', "f.json: expected JSON"),
    ],
)
def test_bad_json_is_refused(text, message):
    with pytest.raises(SpecError) as caught:
        documents.parse(text, "f.json")
    assert message in str(caught.value)


def test_json_is_read_as_written():
    assert value('{"a": ["1", 1, null, true]}', "f.json") == {"a": ["1", 1, None, True]}


def outcome(text: str, file: str) -> str:
    """What is said of a text; only a SpecError is an answer."""
    try:
        return f"{file}: {len(documents.parse(text, file))} documents"
    except SpecError as error:
        return str(error)


def test_yaml_in_a_file_called_json_is_read():
    assert value("apiVersion: v1\n", "f.json") == {"apiVersion": "v1"}


@given(st.text(max_size=200))
@example("- !!int\n")
@example("%YAML")
@example("%")
@example('"\\x')
@example("!<\n")
@example("!!float true")
def test_any_text_is_read_or_refused(text):
    for file in ("f.yaml", "f.json"):
        assert outcome(text, file).startswith(file)


@given(st.text(alphabet="[]{}:,-&*!?|>'\"%@`# \n\tab01.~<", max_size=60))
def test_any_punctuation_is_read_or_refused(text):
    assert outcome(text, "f.yaml").startswith("f.yaml")
