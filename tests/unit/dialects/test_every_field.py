"""Whatever is written in a file, it is honoured, refused or listed; and nothing written in it can crash."""

import copy
import json
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tiffin.dialects import bentoml, combine, parse
from tiffin.dialects.documents import child, parent
from tiffin.errors import SpecError

SAMPLES = Path(__file__).parent / "samples"
FILES = sorted(path.name for path in SAMPLES.glob("*.yaml") if path.name != "mixed.yaml")

# Mappings whose keys are the author's own words; renaming one says something else, and that arrives.
FREE = ("metadata.labels", "metadata.annotations", "spec.annotations", "spec.predictors[0].labels",
        "spec.predictors[0].annotations", "spec.env", "spec.class.parameters", "labels", "docker.env",
        "spec.predictors[0].explainer.config", "spec.predictors[1].labels", "data", "stringData",
        "spec.predictor.annotations", "spec.explainer.art.config",
        "spec.predictor.model.storage.parameters",
        "spec.transformer.class.parameters", "spec.explainer.container.mounts", "spec.variants.candidate.labels",
        *(f"spec.traffic.rules[{rule}].{kind}" for rule in range(3) for kind in ("header", "claim")))  # fmt: skip
# What the API server writes; it asks for nothing, so nothing below it is looked at.
UNREAD = ("status",)


def typed(file: str):
    """The value of a sample; several documents as a List."""
    found = list(yaml.safe_load_all((SAMPLES / file).read_text()))
    return found[0] if len(found) == 1 else {"apiVersion": "v1", "kind": "List", "items": found}


def own(path: str) -> str:
    """A path in the document it belongs to."""
    return re.sub(r"^items\[[0-9]+\]\.?", "", path)


def read(file: str, value):
    text = json.dumps(value)  # which YAML includes, and which keeps the type of every scalar
    if file == "bentofile.yaml":
        config = bentoml.parse(text, file)
        return [bentoml.deployment(config, ".")]
    return parse(text, file=file)


def fields(value, path=""):
    """The path of every field of a document, with the keys that lead to it."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield child(path, key), [key]
            for found, keys in fields(inner, child(path, key)):
                yield found, [key, *keys]
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            for found, keys in fields(inner, child(path, index)):
                yield found, [index, *keys]


def renamed(value, keys, name):
    value = copy.deepcopy(value)
    holder = value
    for key in keys[:-1]:
        holder = holder[key]
    items = list(holder.items())
    holder.clear()
    holder.update((name if key == keys[-1] else key, inner) for key, inner in items)
    return value


CASES = [
    pytest.param(file, path, keys, id=f"{file}:{path}")
    for file in FILES
    for path, keys in fields(typed(file))
    if not own(path).startswith(UNREAD) and not own(path).startswith(tuple(f"{free}." for free in FREE))
    and not own(path).startswith(tuple(f"{free}[" for free in FREE))
]  # fmt: skip


@pytest.mark.parametrize(("file", "path", "keys"), CASES)
def test_a_field_under_another_name_is_refused_or_listed_by_its_path(file, path, keys):
    name = f"{keys[-1]}Zzz"
    said_at = child(parent(path), name)
    found, error = outcome(lambda: read(file, renamed(typed(file), keys, name)))
    if error is not None:
        # Either the new name is unknown, or the old one is missed.
        assert error.at in (said_at, path), str(error)
    else:
        paths = [warning.path for deployment in found for warning in deployment.warnings]
        # A field below one that is listed as a whole is listed with it.
        assert any(said_at == at or said_at.startswith((f"{at}.", f"{at}[")) for at in paths), paths


def test_every_sample_is_read_as_it_is():
    for file in FILES:
        assert read(file, typed(file))


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.just(10**400), st.just("\0"),
    st.sampled_from(["", "v2", "seldon", "-1", "1Gi", "a:b", "file:///x", "../..", "x" * 300, "$(A)"]),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def mutations(draw):
    file = draw(st.sampled_from(FILES))
    value = typed(file)
    for _ in range(draw(st.integers(1, 3))):
        places = [keys for _, keys in fields(value)]
        if not places:
            break
        keys = draw(st.sampled_from(places))
        holder = value
        for key in keys[:-1]:
            holder = holder[key]
        action = draw(st.sampled_from(["replace", "delete", "rename", "wrap", "add"]))
        if action == "replace":
            holder[keys[-1]] = draw(VALUES)
        elif action == "delete":
            del holder[keys[-1]]
        elif action == "rename":
            holder[draw(st.text(max_size=10))] = holder.pop(keys[-1])
        elif action == "wrap":
            holder[keys[-1]] = draw(st.sampled_from([[holder[keys[-1]]], {"x": holder[keys[-1]]}]))
        else:
            holder[draw(st.text(max_size=10))] = draw(VALUES)
    return file, value


def outcome(call):
    """The result and ``None``, or ``None`` and the SpecError; any other exception fails the test."""
    try:
        return call(), None
    except SpecError as error:
        return None, error


@settings(max_examples=200, deadline=None)
@given(mutations())
def test_any_change_of_a_valid_file_gives_deployments_or_a_spec_error(mutation):
    file, value = mutation
    found, error = outcome(lambda: read(file, value))
    assert error is None or str(error).startswith(file)
    for deployment in found or ():
        for component in deployment.components:
            assert component.replicas >= 0
        assert deployment.name
        assert deployment.routes
        # What becomes an argument of a process or a file's name is text that both can hold.
        assert "\0" not in "".join([*component.environment, *component.environment.values()])
    outcome(lambda: combine((found or []) * 2))
