"""The published JSON Schema and the parser say the same of every document."""

import json
from pathlib import Path

import jsonschema
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tiffin.dialects import comparing, parse, seldon_writing, tiffin_fields, tiffin_schema, tiffin_writing
from tiffin.dialects.documents import Document
from tiffin.dialects.fields import Reader
from tiffin.dialects.tiffin_shapes import Either, Field, ListOf, MapOf, Record
from tiffin.errors import SpecError

PUBLISHED = Path(__file__).parents[3] / "docs" / "reference" / "tiffin.schema.json"
SCHEMA = tiffin_schema.schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def is_parsed(document) -> bool:
    reader = Reader(Document(value=document))
    try:
        tiffin_fields.DEPLOYMENT.read(reader, document, "")
        reader.finish()
    except SpecError:
        return False
    return True


def around(spec) -> dict:
    return {"apiVersion": "tiffin.dev/v1", "kind": "Deployment", "metadata": {"name": "iris"}, "spec": spec}


def test_the_published_schema_is_the_one_of_the_parser():
    message = f"run: python -m tiffin.dialects.tiffin_schema > {PUBLISHED}"
    assert PUBLISHED.read_text() == tiffin_schema.text(), message


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def fields_of(shape, path=""):
    """Every field of the table by its path, each form once."""
    if isinstance(shape, Record):
        for name, field in shape.fields.items():
            yield f"{path}.{name}".lstrip("."), field
            yield from fields_of(field.shape, f"{path}.{name}")
    elif isinstance(shape, Either):
        for inner in shape._shapes.values():
            yield from fields_of(inner, path)
    elif isinstance(shape, ListOf | MapOf):
        yield from fields_of(shape._shape, f"{path}[]")


SPEC = [(path, field) for path, field in fields_of(tiffin_fields.SPEC) if field.example is not None]


@pytest.mark.parametrize(("path", "field"), SPEC, ids=[path for path, _ in SPEC])
def test_every_example_of_the_schema_has_the_form_of_its_field(path: str, field: Field):
    field.shape.read(Reader(Document(value=None)), field.example, path)


def test_every_field_of_a_spec_says_what_it_is_and_shows_it():
    assert [
        path for path, field in fields_of(tiffin_fields.SPEC) if not field.about or field.example is None
    ] == []


MISTAKES = [
    {},
    {"model": "a", "service": "b:C"},
    {"modelz": "a"},
    {"model": {"format": "sklearn"}},
    {"model": {"uri": "a", "format": "pmml"}},
    {"service": "Iris"},
    {"service": {"directory": "."}},
    {"class": {"target": "a:B", "directory": ".", "bundle": "x:1"}},
    {"class": {"target": "a:B", "parameters": {"x": [1]}}},
    {"container": {"command": ["a"]}},
    {"container": {"image": "a", "port": 0}},
    {"model": "a", "replicas": 0},
    {"model": "a", "replicas": {}},
    {"model": "a", "replicas": "2"},
    {"model": "a", "scale": "load"},
    {"model": "a", "scale": {"cpu": 70}},
    {"model": "a", "scale": {"cpu": "0%"}},
    {"model": "a", "timeout": 0},
    {"model": "a", "timeout": "0s"},
    {"model": "a", "timeout": "2 minutes"},
    {"model": "a", "env": {"A": 1}},
    {"model": "a", "env": {"A B": "1"}},
    {"model": "a", "canary": 101},
    {"model": "a", "canary": "ten"},
    {"model": "a", "canary": 10, "rollout": {"steps": [5]}},
    {"model": "a", "variants": {"b": {"model": "b"}}},
    {"model": "a", "variants": {"b": {"weight": 10}}},
    {"model": "a", "variants": {"b": {"model": "b", "weight": 10, "mirror": 10}}},
    {"model": "a", "variants": {"B": {"model": "b", "weight": 10}}},
    {"model": "a", "variants": [{"name": "b"}]},
    {"model": "a", "traffic": {"sticky": {}}},
    {"model": "a", "traffic": {"sticky": {"header": "a", "ttl": "1h"}}},
    {"model": "a", "traffic": {"rules": [{"to": "b"}]}},
    {"model": "a", "traffic": {"rules": [{"header": {}, "to": "b"}]}},
    {"model": "a", "traffic": {"rules": [{"header": {"x": False}, "to": "b"}]}},
    {"model": "a", "traffic": {"jwt": {"issuer": "a"}}},
    {"model": "a", "rollout": {}},
    {"model": "a", "rollout": {"steps": []}},
    {"model": "a", "rollout": {"steps": [{"weight": 5, "for": "2m", "pause": True}]}},
    {"model": "a", "rollout": {"steps": [5], "gates": {"errorRate": 0.01}}},
    {"model": "a", "rollout": {"steps": [5], "gates": {"latency": {"95": 1.2}}}},
    {"model": "a", "rollout": {"steps": [5], "gates": {"query": [{"expr": "x", "server": "http://p"}]}}},
    {"model": "a", "record": "yes please"},
    {"model": "a", "record": {"maxSize": 0}},
    {"model": "a", "transformer": {"replicas": 1}},
    {"model": "a", "stopped": "true"},
]


@pytest.mark.parametrize("spec", MISTAKES, ids=json.dumps)
def test_a_mistake_is_one_for_both(spec):
    assert not VALIDATOR.is_valid(around(spec))
    with pytest.raises(SpecError):
        parse(json.dumps(around(spec)))


# ---- documents nobody thought of

TEXTS = st.sampled_from(
    ["a", "iris:v1", "service:Iris", "a.b:C", "http://x", "/x", "5%", "100%", "100.5%", "99.9%", "2m", "1h30m",
     "0s", "1.5s", "64Mi", "0", "0Gi", ".5", "1e3", "1e", "x-user", "p95", "p100", "", " ", "v2", "cpu",
     "concurrency", "unlimited", "sklearn", "predict", "all", "eu-.*", "default", "A", "a_b", "é"]
)  # fmt: skip
NUMBERS = st.sampled_from([0, 1, 2, 100, 101, 65535, 65536, -1, 0.5, 1.0, 1e-9, 1e9, 2**31, 2**70, 1.5, 99.99])
LOOSE = st.recursive(
    st.one_of(TEXTS, NUMBERS, st.booleans()),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=4,
)


def values(shape) -> st.SearchStrategy:
    """Mostly of the form, sometimes near it."""
    if isinstance(shape, Record):
        return records(shape)
    if isinstance(shape, Either):
        good = st.one_of([values(inner) for inner in shape._shapes.values()])
    elif isinstance(shape, ListOf):
        good = st.lists(st.deferred(lambda: values(shape._shape)), max_size=2)
    elif isinstance(shape, MapOf):
        good = st.dictionaries(TEXTS, st.deferred(lambda: values(shape._shape)), max_size=2)
    elif choices := shape.schema().get("enum"):
        good = st.sampled_from(choices)
    else:
        kinds = {"string": TEXTS, "boolean": st.booleans(), "number": NUMBERS, "integer": NUMBERS}
        good = kinds.get(str(shape.schema().get("type")), LOOSE)
    return st.one_of(good, good, good, good, good, good, good, LOOSE)


@st.composite
def records(draw, shape: Record):
    optional = [name for name, field in shape.fields.items() if not field.required]
    chosen = [name for name in shape.fields if name not in optional]
    chosen += [draw(st.sampled_from(group)) for group in (*shape._one_of, *shape._at_least)]
    chosen += draw(st.lists(st.sampled_from(optional), max_size=2)) if optional else []
    found = {}
    for name in chosen:
        field = shape.fields[name]
        use_example = field.example is not None and draw(st.integers(0, 2)) > 0
        found[name] = field.example if use_example else draw(values(field.shape))
    if draw(st.integers(0, 30)) == 0:
        found[draw(TEXTS)] = draw(LOOSE)
    return found


@settings(max_examples=150, deadline=None)
@given(records(tiffin_fields.SPEC))
def test_the_schema_and_the_parser_agree(spec):
    document = around(spec)
    assert VALIDATOR.is_valid(document) == is_parsed(document)


@settings(max_examples=100, deadline=None)
@given(records(tiffin_fields.DEPLOYMENT))
def test_they_agree_about_what_is_around_the_spec_too(document):
    assert VALIDATOR.is_valid(document) == is_parsed(document)


def test_the_documents_tried_are_of_both_kinds():
    """Else the agreement would say little."""
    seen = {True: 0, False: 0}

    @settings(max_examples=200, deadline=None, database=None, derandomize=True)
    @given(records(tiffin_fields.SPEC))
    def count(spec):
        seen[is_parsed(around(spec))] += 1

    count()
    assert min(seen.values()) >= 20, seen


# ---- written and read again


def read(spec):
    """The deployment of a spec; ``None`` when its fields contradict each other."""
    try:
        (found,) = parse(json.dumps(around(spec)))
    except SpecError:
        return None
    return found


@settings(max_examples=150, deadline=None)
@given(records(tiffin_fields.SPEC))
def test_a_deployment_survives_its_own_file(spec):
    deployment = read(spec)
    assume(deployment is not None)
    document, losses = tiffin_writing.write(deployment)
    assert losses == []
    assert VALIDATOR.is_valid(document), list(VALIDATOR.iter_errors(document))
    (again,) = parse(json.dumps(document))
    assert comparing.differences(again, deployment) == []
    assert tiffin_writing.write(again) == (document, [])


@settings(max_examples=150, deadline=None)
@given(records(tiffin_fields.SPEC))
def test_what_seldon_can_say_survives_its_file(spec):
    deployment = read(spec)
    assume(deployment is not None)
    try:
        document, _ = seldon_writing.write(deployment)
    except SpecError:
        return  # nothing of it can be said
    (again,) = parse(json.dumps(document))
    rewritten, losses = seldon_writing.write(again)
    assert losses == []
    (once_more,) = parse(json.dumps(rewritten))
    assert comparing.differences(again, once_more) == []
