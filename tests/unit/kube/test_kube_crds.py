"""The definitions as values: what they hold, and that each release takes what the one before it took."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tiffin.dialects.kserve_predictor import LEGACY
from tiffin.dialects.tiffin_fields import DEPLOYMENT
from tiffin.errors import SpecError
from tiffin.kube import crds
from tiffin.kube.crds.structural import structural

PREVIOUS = Path(__file__).with_name("crds-previous")
"""The definitions of the last release; written anew when one is made, by this file as a program."""


def by_name() -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one for one in crds.manifests()}


def schema_of(name: str, version: int = 0) -> dict[str, Any]:
    return by_name()[name]["spec"]["versions"][version]["schema"]["openAPIV3Schema"]


def test_groups_are_chosen_by_name() -> None:
    names = [one["metadata"]["name"] for one in crds.manifests(("seldon", "tiffin"))]
    assert names == ["seldondeployments.machinelearning.seldon.io", "tiffindeployments.tiffin.dev"]
    with pytest.raises(SpecError, match="kserve, seldon, tiffin, found 'knative'"):
        crds.manifests(("knative",))


def test_every_definition_is_small_enough_for_a_plain_kubectl_apply() -> None:
    # It keeps the object in an annotation, and all annotations may have 256 KiB.
    assert max(len(json.dumps(one)) for one in crds.manifests()) < 160_000


def test_every_field_of_the_file_is_in_the_definition() -> None:
    def compare(shape: dict[str, Any], found: dict[str, Any], path: str) -> None:
        forms = shape.get("anyOf", [shape])
        for form in forms:
            for name, inner in form.get("properties", {}).items():
                assert name in found["properties"], f"{path}.{name}"
                compare(inner, found["properties"][name], f"{path}.{name}")
            if "items" in form:
                compare(form["items"], found["items"], f"{path}[]")
            if isinstance(form.get("additionalProperties"), dict):
                compare(form["additionalProperties"], found["additionalProperties"], f"{path}.*")

    compare(
        DEPLOYMENT.schema()["properties"]["spec"],
        schema_of("tiffindeployments.tiffin.dev")["properties"]["spec"],
        "spec",
    )


def test_every_implementation_of_a_predictor_is_in_the_definition() -> None:
    predictor = schema_of("inferenceservices.serving.kserve.io")["properties"]["spec"]["properties"]["predictor"]
    assert {"model", "containers", *LEGACY} <= predictor["properties"].keys()


@pytest.mark.parametrize(
    ("value", "is_taken"),
    [("a", True), ({"keys": ["a"]}, True), (True, False), ({"keys": []}, False), ({}, False), ("", False)],
)
def test_a_field_of_several_types_takes_what_each_of_them_takes(value: Any, is_taken: bool) -> None:
    keys = {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 5}
    mapping = {"type": "object", "properties": {"keys": keys}, "required": ["keys"], "additionalProperties": False}
    found = structural({"anyOf": [{"type": "string", "minLength": 1}, mapping]})
    assert found["x-kubernetes-preserve-unknown-fields"] is True
    assert jsonschema.Draft4Validator(found).is_valid(value) is is_taken


@pytest.mark.parametrize(("value", "is_taken"), [("5s", True), ("0s", False), ("s", False)])
def test_a_pattern_that_looks_ahead_becomes_two(value: str, is_taken: bool) -> None:
    found = structural({"type": "string", "pattern": "^(?:(?=.*[1-9])[0-9]+s)$"})
    assert "(?=" not in json.dumps(found)
    assert jsonschema.Draft4Validator(found).is_valid(value) is is_taken


# ---- what a newer version must not take away


def broken(old: Any, new: Any, path: str = "") -> Iterator[str]:
    """Why something that the old schema takes could be refused, or dropped, by the new one."""
    if old.get("type") != new.get("type") and "type" in new:
        yield f"{path}: its type is {new['type']}, and was {old.get('type', 'any')}"
    for name in ("minimum", "minLength", "minItems", "minProperties"):
        if name in new and new[name] > old.get(name, float("-inf")):
            yield f"{path}: {name} is {new[name]}, and was {old.get(name)}"
    for name in ("maximum", "maxLength", "maxItems", "maxProperties"):
        if name in new and new[name] < old.get(name, float("inf")):
            yield f"{path}: {name} is {new[name]}, and was {old.get(name)}"
    if "enum" in new and not set(map(str, old.get("enum", ["anything"]))) <= set(map(str, new["enum"])):
        yield f"{path}: fewer values are taken"
    if "pattern" in new and new["pattern"] != old.get("pattern"):
        yield f"{path}: another pattern"
    if more := set(new.get("required", ())) - set(old.get("required", ())):
        yield f"{path}: {', '.join(sorted(more))} came to be required"
    for name, inner in old.get("properties", {}).items():
        if name in new.get("properties", {}):
            yield from broken(inner, new["properties"][name], f"{path}.{name}")
        elif "x-kubernetes-preserve-unknown-fields" not in new:
            yield f"{path}.{name}: is gone"
    if "x-kubernetes-preserve-unknown-fields" in old and "x-kubernetes-preserve-unknown-fields" not in new:
        yield f"{path}: unknown fields are no longer kept"
    for name in ("items", "additionalProperties"):
        if name in old and name in new:
            yield from broken(old[name], new[name], f"{path}.{name}")
    rules = {one["rule"] for one in old.get("x-kubernetes-validations", ())}
    for one in new.get("x-kubernetes-validations", ()):
        if one["rule"] not in rules:
            yield f"{path}: another rule: {one['rule']}"
    for name in ("not", "allOf"):
        if name in new and new[name] != old.get(name):
            yield f"{path}: another {name}"


def broken_definition(old: Any, new: Any) -> Iterator[str]:
    """The same for whole definitions: versions stay served, and what is stored can be read."""
    versions = {one["name"]: one for one in new["spec"]["versions"]}
    for name in ("group", "scope"):
        if old["spec"][name] != new["spec"][name]:
            yield f"{name} is {new['spec'][name]}"
    for name in ("kind", "plural"):
        if old["spec"]["names"][name] != new["spec"]["names"][name]:
            yield f"its {name} is another"
    for one in old["spec"]["versions"]:
        if one["name"] not in versions or not versions[one["name"]]["served"]:
            yield f"{one['name']} is no longer served"
            continue
        schemas = [each["schema"]["openAPIV3Schema"] for each in (one, versions[one["name"]])]
        yield from broken(*schemas, one["name"])


@pytest.mark.parametrize("file", sorted(PREVIOUS.glob("*.json")), ids=lambda file: file.stem)
def test_what_the_last_release_took_is_taken(file: Path) -> None:
    old = json.loads(file.read_text())
    new = by_name().get(old["metadata"]["name"])
    assert new is not None, f"{old['metadata']['name']} is gone"
    assert list(broken_definition(old, new)) == []


def test_there_is_a_snapshot_of_every_definition() -> None:
    assert {file.stem for file in PREVIOUS.glob("*.json")} == set(by_name())


CHANGES = {
    "a field that went": lambda p: p["predictor"]["properties"].pop("timeout"),
    "a narrower bound": lambda p: p["predictor"]["properties"]["canaryTrafficPercent"].update(maximum=50),
    "a bound": lambda p: p["predictor"]["properties"]["scaleTarget"].update(minimum=1),
    "a type": lambda p: p["predictor"]["properties"]["timeout"].update(type="string"),
    "fewer words": lambda p: p["predictor"]["properties"]["scaleMetric"]["enum"].remove("rps"),
    "a required field": lambda p: p["predictor"].update(required=["model"]),
    "a rule": lambda p: p["predictor"]["x-kubernetes-validations"].append({"rule": "false", "message": "no"}),
    "a pattern": lambda p: p["predictor"]["properties"]["model"]["properties"]["storageUri"].update(pattern="^s3"),
    "fields that are no longer kept": lambda p: p["predictor"]["properties"]["affinity"].pop(
        "x-kubernetes-preserve-unknown-fields"
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_that_would_refuse_stored_objects_is_found(change: Any) -> None:
    old = by_name()["inferenceservices.serving.kserve.io"]
    new = copy.deepcopy(old)
    spec = new["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    change(spec["properties"])
    assert list(broken_definition(old, new))
    assert not list(broken_definition(old, copy.deepcopy(old)))


def test_a_version_that_is_no_longer_served_is_found() -> None:
    old = by_name()["seldondeployments.machinelearning.seldon.io"]
    new = copy.deepcopy(old)
    new["spec"]["versions"].pop()
    assert list(broken_definition(old, new)) == ["v1alpha3 is no longer served"]


if __name__ == "__main__":
    for name, manifest in by_name().items():
        (PREVIOUS / f"{name}.json").write_text(json.dumps(manifest, separators=(",", ":")) + "\n")
