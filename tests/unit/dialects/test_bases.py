"""A document that has left its file still says where its relative paths start."""

import copy
from typing import Any

import pytest
import yaml

from tiffin.dialects import parse
from tiffin.dialects.bases import BASE, noted, without
from tiffin.errors import SpecError
from tiffin.plan.difference import is_equal

KSERVE: dict[str, Any] = {
    "apiVersion": "serving.kserve.io/v1beta1",
    "kind": "InferenceService",
    "metadata": {"name": "iris"},
    "spec": {"predictor": {"model": {"modelFormat": {"name": "sklearn"}, "storageUri": "./v1"}}},
}
SELDON: dict[str, Any] = {
    "apiVersion": "machinelearning.seldon.io/v1",
    "kind": "SeldonDeployment",
    "metadata": {"name": "iris", "annotations": {"owner": "ada"}},
    "spec": {
        "predictors": [
            {
                "name": "default",
                "graph": {"name": "c", "implementation": "SKLEARN_SERVER", "modelUri": "models/v1"},
            }
        ]
    },
}
TIFFIN: dict[str, Any] = {
    "apiVersion": "tiffin.dev/v1",
    "kind": "Deployment",
    "metadata": {"name": "iris", "labels": {"a": "b"}},
    "spec": {"model": "v1"},
}
CODE = TIFFIN | {"spec": {"service": "service:Iris"}}
CANARY = TIFFIN | {"spec": {"model": "s3://m/v1", "variants": {"new": {"model": "v2", "weight": 10}}}}
KEYS = TIFFIN | {"spec": {"model": "s3://m/v1", "traffic": {"jwt": {"issuer": "i", "jwksFile": "keys.json"}}}}


def read(document: dict[str, Any], base: str):
    (found,) = parse(yaml.safe_dump(document), base=base)
    return found


@pytest.mark.parametrize("document", [KSERVE, SELDON, TIFFIN, CODE, CANARY, KEYS])
def test_what_is_shown_and_read_again_elsewhere_is_what_it_was(document):
    original = copy.deepcopy(document)
    before = read(document, "/srv/here")
    shown = noted(document, before)
    assert shown["metadata"]["annotations"][BASE] == "/srv/here"
    assert is_equal(before, read(shown, "/"))
    assert not is_equal(before, read(document, "/"))
    assert without(shown) == document == original


def test_it_is_found_in_an_item_of_a_list():
    before = read(KSERVE, "/here")
    items = {"apiVersion": "v1", "kind": "List", "items": [noted(KSERVE, before), SELDON]}
    first, second = parse(yaml.safe_dump(items), base="/there")
    assert is_equal(first, before)
    assert is_equal(second, read(SELDON, "/there"))


@pytest.mark.parametrize("uri", ["/models/v1", "s3://models/v1", "~/v1", "file:///v1"])
def test_a_document_without_relative_paths_is_shown_as_it_is(uri):
    document = TIFFIN | {"spec": {"model": uri}}
    assert noted(document, read(document, "/here")) == document


def test_what_was_no_document_stays_empty():
    assert noted({}, read(TIFFIN, "/here")) == {}


@pytest.mark.parametrize("value", ["v1", "./v1", "", 3, None, ["/a"], "/a\0b"])
@pytest.mark.parametrize("document", [KSERVE, SELDON, TIFFIN])
def test_a_base_that_is_no_absolute_path_is_refused_by_its_path(document, value):
    metadata = document["metadata"] | {"annotations": {BASE: value}}
    with pytest.raises(SpecError, match="expected the absolute path of a directory") as caught:
        read(document | {"metadata": metadata}, "/here")
    assert caught.value.at == 'metadata.annotations["tiffin.dev/base"]'


@pytest.mark.parametrize("metadata", [None, 1, {"annotations": 1, "name": "x"}])
def test_metadata_of_another_form_is_refused_by_the_dialect(metadata):
    with pytest.raises(SpecError, match=r"expected|required"):
        read(TIFFIN | {"metadata": metadata}, "/here")
