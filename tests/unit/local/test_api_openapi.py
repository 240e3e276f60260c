"""The description of the API is valid OpenAPI, and speaks of what is there."""

import json

from openapi_spec_validator import validate

from tiffin.local.api import openapi
from tiffin.local.api.operations import OPERATIONS


def test_it_is_valid() -> None:
    validate(openapi.document())


def test_it_has_every_operation_with_its_failures_as_one_form() -> None:
    paths = openapi.document()["paths"]
    assert {(method.upper(), path) for path, methods in paths.items() for method in methods} == {
        (operation.method, operation.path) for operation in OPERATIONS
    }
    for methods in paths.values():
        for described in methods.values():
            for status, answer in described["responses"].items():
                if status != "200":
                    assert answer["content"]["application/json"]["schema"]["$ref"].endswith("/Failure")


def test_fields_are_named_as_they_are_sent() -> None:
    schemas = openapi.document()["components"]["schemas"]
    assert "resourceVersion" in schemas["Metadata"]["properties"]
    assert "observed_generation" in schemas["DeploymentStatus"]["properties"]


def test_it_is_plain_json() -> None:
    found = openapi.document()
    assert json.loads(json.dumps(found)) == found
