"""The OpenAPI 3.1 description of the API, made from its table of operations."""

from __future__ import annotations

import re
from typing import Any

import msgspec

import tiffin
from tiffin.local.api.operations import OPERATIONS, Operation
from tiffin.plan.objects import Failure

REFERENCE = "#/components/schemas/{name}"


def document() -> dict[str, Any]:
    """The description, as plain values."""
    types = [kind for operation in OPERATIONS for kind in _types(operation)]
    found, components = msgspec.json.schema_components([*types, Failure], ref_template=REFERENCE)
    schemas = dict(zip(map(str, types), found, strict=False))
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, schemas)
    description = {
        "openapi": "3.1.0",
        "info": {
            "title": "Tiffin",
            "version": tiffin.__version__,
            "description": "What runs on this machine, and how to change it.",
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        # Over the Unix socket no token is needed: the file's mode says who may connect.
        "security": [{"token": []}, {}],
    }
    # Defaults are tuples and structs until they are written down.
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(description))
    return plain


def _types(operation: Operation) -> list[Any]:
    return [kind for kind in (operation.takes, operation.gives, operation.streams) if kind is not None]


def _operation(operation: Operation, schemas: dict[str, Any]) -> dict[str, Any]:
    in_path = re.findall(r"\{(\w+)\}", operation.path)
    found: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.help,
        "parameters": [
            *({"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in in_path),
            *(
                {"name": one.name, "in": "query", "description": one.help, "schema": {"type": one.kind}}
                for one in operation.parameters
            ),
        ],
        "responses": {"200": _success(operation, schemas), **_failures(operation)},
    }
    if operation.takes is not None:
        schema = schemas[str(operation.takes)]
        content = {"application/json": {"schema": schema}}
        if operation.name == "put":
            content["application/yaml"] = {"schema": schema}
        found["requestBody"] = {"required": True, "content": content}
    return found


def _success(operation: Operation, schemas: dict[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if operation.gives is not None:
        content["application/json"] = {"schema": schemas[str(operation.gives)]}
    if operation.streams is not None:
        content["text/event-stream"] = {"schema": schemas[str(operation.streams)]}
    if operation.name == "logs":
        content["application/x-ndjson"] = content["text/event-stream"]
        content["text/plain"] = {"schema": {"type": "string"}}
    return {"description": "Done.", "content": content}


_MEANINGS = {
    400: "The request is not what is expected here.",
    401: "The token is missing or not the right one.",
    404: "There is no such deployment.",
    409: "Somebody else changed it in between.",
    410: "The changes since then are no longer known: list again.",
    413: "The body is too large.",
    422: "A file does not say what it must.",
    500: "The controller failed for a reason of its own; its log has the details.",
    503: "The machine cannot do it now.",
    507: "There is no room on the disk.",
}


def _failures(operation: Operation) -> dict[str, Any]:
    schema = {"$ref": REFERENCE.format(name="Failure")}
    statuses = {400, 401, 500, 503, *operation.failures}
    return {
        str(status): {"description": _MEANINGS[status], "content": {"application/json": {"schema": schema}}}
        for status in sorted(statuses)
    }
