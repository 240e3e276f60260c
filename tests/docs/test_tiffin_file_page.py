"""The page of Tiffin's own file: every example is a valid one, and every field has one."""

import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from tiffin.dialects import parse, tiffin_fields, tiffin_schema
from tiffin.dialects.tiffin_shapes import Either, ListOf, MapOf, Record

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "tiffin-file.md"
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
VALIDATOR = jsonschema.Draft202012Validator(tiffin_schema.schema())


def whole(text: str) -> dict:
    """The document of an example: most show a part of ``spec``."""
    found = yaml.safe_load(text)
    if "apiVersion" in found:
        return found
    if not {"model", "service", "class", "container"} & found.keys():
        found = {"model": "model.joblib"} | found
    return {"apiVersion": "tiffin.dev/v1", "kind": "Deployment", "metadata": {"name": "iris"}, "spec": found}


@pytest.mark.parametrize("text", EXAMPLES)
def test_every_example_is_read_with_no_other_warning_than_the_page_gives(text):
    document = whole(text)
    (found,) = parse(json.dumps(document))
    # The page says of these that they are without effect here.
    unused = {"spec.scale.burst", "spec.scale.zeroGrace"} if "without effect" in text else set()
    scale = document["spec"].get("scale")
    names = scale.keys() if isinstance(scale, dict) else ()
    unused |= {f"spec.scale.{name}" for name in ("autoscaler", "autoscalerSpec") if name in names}
    unused |= {"spec.pod"} & {f"spec.{name}" for name in document["spec"]}
    assert {warning.path for warning in found.warnings} == unused
    assert list(VALIDATOR.iter_errors(document)) == []


def used(shape, value, seen: set[int]) -> None:
    """The fields of the table that a value has, by identity: the same field stands in several records."""
    if isinstance(shape, Record) and isinstance(value, dict):
        for name, field in shape.fields.items():
            if name in value:
                seen.add(id(field))
                used(field.shape, value[name], seen)
    elif isinstance(shape, Either):
        for inner in shape._shapes.values():
            used(inner, value, seen)
    elif isinstance(shape, ListOf) and isinstance(value, list):
        for item in value:
            used(shape._shape, item, seen)
    elif isinstance(shape, MapOf) and isinstance(value, dict):
        for item in value.values():
            used(shape._shape, item, seen)


def fields(shape, path: str = ""):
    if isinstance(shape, Record):
        for name, field in shape.fields.items():
            yield f"{path}.{name}", field
            yield from fields(field.shape, f"{path}.{name}")
    elif isinstance(shape, Either):
        for inner in shape._shapes.values():
            yield from fields(inner, path)
    elif isinstance(shape, ListOf | MapOf):
        yield from fields(shape._shape, f"{path}[]")


def test_every_field_has_an_example():
    seen: set[int] = set()
    for text in EXAMPLES:
        used(tiffin_fields.SPEC, whole(text)["spec"], seen)
    assert [path for path, field in fields(tiffin_fields.SPEC) if id(field) not in seen] == []


def test_the_values_said_to_be_in_force_are():
    """The example of ``scale`` with every default is the deployment without it."""
    (text,) = [text for text in EXAMPLES if "panicWindow" in text]
    document = whole(text)
    (explicit,) = parse(json.dumps(document))
    document["spec"].pop("scale")
    (plain,) = parse(json.dumps(document))
    scaling, implied = explicit.components[0].scaling, plain.components[0].scaling
    assert (scaling.windows, scaling.stabilization) == (implied.windows, implied.stabilization)
