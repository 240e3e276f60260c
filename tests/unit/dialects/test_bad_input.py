"""What people get wrong, in Seldon's file and in Tiffin's: each with an error that says where and what to do."""

import json
import re

import pytest
import yaml

from tiffin.dialects import combine, parse
from tiffin.errors import SpecError

SELDON = """\
apiVersion: machinelearning.seldon.io/v1
kind: SeldonDeployment
metadata: {name: iris}
spec:
  predictors:
  - name: a
    traffic: 50
    graph: {name: clf, implementation: SKLEARN_SERVER, modelUri: /m}
  - name: b
    traffic: 50
    graph: {name: clf, implementation: SKLEARN_SERVER, modelUri: /n}
"""
TIFFIN = """\
apiVersion: tiffin.dev/v1
kind: Deployment
metadata: {name: iris}
spec:
  model: m.joblib
  variants:
    b: {model: n.joblib, weight: 50}
"""
FILES = {"seldon": SELDON, "tiffin": TIFFIN}


def refusal(text: str, file: str = "f.yaml") -> SpecError:
    with pytest.raises(SpecError) as caught:
        parse(text, file=file)
    return caught.value


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_the_files_these_tests_break_are_good_ones(text):
    (found,) = parse(text)
    assert [variant.weight for variant in found.all_variants] == [50.0, 50.0]
    assert found.warnings == ()


CHANGES = [
    # Shares.
    ("seldon", "traffic: 50", "traffic: 49", "spec.predictors", "Traffic must sum to 100"),
    ("seldon", "traffic: 50", "traffic: -1", "spec.predictors[0].traffic", "expected 0 to 100, found -1"),
    ("seldon", "traffic: 50", "traffic: 49.5", "spec.predictors[0].traffic", "expected an integer"),
    ("seldon", "traffic: 50", "traffic: 50%", "spec.predictors[0].traffic", "expected an integer"),
    ("tiffin", "weight: 50", "weight: 101", "spec.variants.b.weight", "expected at most 100"),
    ("tiffin", "weight: 50", "weight: -1", "spec.variants.b.weight", "expected at least 0"),
    ("tiffin", "weight: 50", "weight: half", "spec.variants.b.weight", "expected a percentage"),
    ("tiffin", "weight: 50}", "weight: 60}\n    c: {model: o, weight: 41}", "spec.variants", "found 101 %"),
    ("tiffin", ", weight: 50", "", "spec.variants.b", "expected one of weight and mirror, found none"),
    ("tiffin", "weight: 50", "weight: 50, mirror: 1", "spec.variants.b", "found weight and mirror"),
    # Names.
    ("seldon", "name: b", "name: a", "spec.predictors[1].name", "Duplicate predictor name"),
    ("seldon", "name: iris", "name: Iris", "metadata.name", "expected up to 63 lower case"),
    ("tiffin", "name: iris", "name: Iris", "metadata.name", "expected up to 63 lower case"),
    ("tiffin", "b: {", "main: {", "spec.variants.main", "expected a name of its own"),
    ("tiffin", "b: {", "canary: {", "spec.variants.canary", "expected a name of its own"),
    # Slips of the pen.
    ("seldon", "traffic", "traffik", "spec.predictors[0].traffik", 'did you mean "traffic"?'),
    ("seldon", "modelUri", "modelURL", "spec.predictors[0].graph.modelURL", 'did you mean "modelUri"?'),
    ("seldon", "predictors", "predictor", "spec.predictor", 'did you mean "predictors"?'),
    ("tiffin", "weight", "weighht", "spec.variants.b.weighht", 'did you mean "weight"?'),
    ("tiffin", "variants", "variant", "spec.variant", "expected up to 63 lower case"),
    ("tiffin", "model: m", "modelz: m", "spec.modelz", 'did you mean "model"?'),
    ("tiffin", "metadata", "metadatta", "metadatta", 'did you mean "metadata"?'),
    # Wrong types.
    ("seldon", "graph: {name: clf, implementation: SKLEARN_SERVER, modelUri: /m}", "graph: clf",
     "spec.predictors[0].graph", "expected a mapping"),
    ("seldon", "modelUri: /m", "modelUri: [/m]", "spec.predictors[0].graph.modelUri", "expected a string"),
    ("tiffin", "model: n.joblib", "model: 3", "spec.variants.b.model", "expected a string or a mapping"),
    ("tiffin", "{name: iris}", "[iris]", "metadata", "expected a mapping"),
    # A canary of nothing, and other things that mean nothing.
    ("tiffin", "  model: m.joblib\n", "  canary: 10\n", "spec", "expected one of model, service, class and"),
    ("tiffin", "  model: m.joblib\n", "  model: m\n  canary: 10\n  rollout: {steps: [5]}\n", "spec.rollout",
     "expected canary or rollout, found both"),
    ("tiffin", "  model: m.joblib\n", "  model: m\n  rollout: {steps: []}\n", "spec.rollout.steps", "found 0"),
    ("tiffin", "  model: m.joblib\n", "  model: m\n  rollout: {steps: [50, 5]}\n", "spec.rollout.steps[1]",
     "expected at least 50 %"),
    ("tiffin", "  model: m.joblib\n", "  model: m\n  rollout: {steps: [5], gates: {agreement: 99%}}\n",
     "spec.rollout.gates.agreement", "expected rollout.mirror beside it"),
    ("tiffin", "  model: m.joblib\n", "  model: m\n  replicas: {min: 3, max: 2}\n", "spec.replicas.max",
     "expected at least min (3)"),
    ("tiffin", "  model: m.joblib\n", "  model: m\n  traffic: {rules: [{header: {x: y}, to: c}]}\n",
     "spec.traffic.rules[0].to", 'expected a variant, "main", "b", "stable" or "canary", found "c"'),
    ("tiffin", "  model: m.joblib\n", "  model: m\n  traffic: {rules: [{header: {x: {regex: '('}}, to: b}]}\n",
     "spec.traffic.rules[0].header.x.regex", "expected a regular expression"),
    ("tiffin", "b: {model: n.joblib, weight: 50}", "b: null", "spec.variants.b", "expected a mapping"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "old", "new", "at", "message"), CHANGES)
def test_a_mistake_is_refused_by_its_path_and_line(file, old, new, at, message):
    text = FILES[file]
    assert old in text
    error = refusal(text.replace(old, new, 1))
    assert (error.at, message in error.message) == (at, True), str(error)
    assert re.match(r"f\.yaml:[0-9]+: ", str(error))


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_tabs_are_refused_by_their_line(text):
    error = refusal(text.replace("\n  ", "\n\t", 1))
    assert str(error).startswith("f.yaml:5")


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_an_anchor_bomb_is_refused(text):
    bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
    for before, name in zip("abcdefg", "bcdefgh", strict=True):
        bomb += f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n"
    error = refusal(bomb + text)
    assert "values" in error.message


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_ten_megabytes_are_refused_at_once(text):
    assert "expected at most" in refusal(text + "#" * 10_000_000).message


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_a_field_that_is_written_twice_is_refused(text):
    error = refusal(text.replace("spec:", "metadata: {name: other}\nspec:"))
    assert (error.at, error.message) == ("metadata", "the field is written twice")


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_two_deployments_of_one_name_are_refused(text):
    with pytest.raises(SpecError) as caught:
        combine(parse(f"{text}---\n{text}", file="f.yaml"))
    assert 'the name "default/iris" is wanted twice' in caught.value.message


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
@pytest.mark.parametrize("value", [None, True, 3, 1e400, "x", [], {}, [[[]]], {"a": {"b": {}}}, "\0", "\ud800"])
def test_whatever_stands_in_a_field_is_read_or_refused(text, value):
    document = yaml.safe_load(text)
    for path in list(_paths(document)):
        changed = yaml.safe_load(text)
        holder = changed
        for key in path[:-1]:
            holder = holder[key]
        holder[path[-1]] = value
        try:
            found, place = parse(json.dumps(changed), file="f.yaml"), ""
        except SpecError as error:
            found, place = [], error.place
        assert place or all(deployment.name for deployment in found)


def _paths(value, path=()):
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from _paths(inner, (*path, key))
