"""Example requests for a service's endpoints."""

from __future__ import annotations

from typing import Any

from tiffin.service.definition import Service
from tiffin.service.endpoint import Endpoint

_SAMPLES: dict[str, Any] = {
    "integer": 1,
    "number": 1.0,
    "string": "text",
    "boolean": True,
    "array": [],
    "object": {},
    "null": None,
    "dataframe": [{}],
}


def example_of(service: Service[Any]) -> dict[str, Any] | None:
    """A request for the first endpoint that takes JSON, and whether its values are known; ``None`` without one."""
    for endpoint in service.apis.values():
        if endpoint.input.media_type == "application/json":
            path = service.route_of(endpoint)
            headers = {"content-type": "application/json"}
            complete = _is_known(endpoint.schema()["input"])
            return {"path": path, "headers": headers, "body": sample_of(endpoint), "is_complete": complete}
    return None


def sample_of(endpoint: Endpoint) -> Any:
    """A value for the endpoint's input: right in its types; what the method wants, only its author knows."""
    schema = endpoint.schema()["input"]
    return _sample(schema)


def _is_known(schema: dict[str, Any]) -> bool:
    """Whether the types say enough for a sample to be taken: an array without a shape does not."""
    if any(word in schema for word in ("example", "default", "const", "examples", "enum")):
        return True
    if schema.get("type") == "tensor" and not schema.get("shape"):
        return False
    if schema.get("type") == "dataframe" and not schema.get("columns"):
        return False
    return all(_is_known(inner) for inner in schema.get("properties", {}).values())


def _sample(schema: dict[str, Any]) -> Any:
    for word in ("example", "default", "const"):
        if word in schema:
            return schema[word]
    for word in ("examples", "enum"):
        if schema.get(word):
            return schema[word][0]
    kind = schema.get("type")
    if kind == "tensor":
        return _zeros(schema.get("shape") or [1, 1])
    if kind == "array" and isinstance(schema.get("items"), dict):
        return [_sample(schema["items"])]
    if kind == "dataframe":
        return [dict.fromkeys(schema.get("columns", ()), 0)]
    if "properties" in schema:
        return {name: _sample(inner) for name, inner in schema["properties"].items()}
    return _SAMPLES.get(str(kind))


def _zeros(shape: list[int]) -> Any:
    value: Any = 0.0
    for size in reversed(shape):
        value = [value] * max(1, size)
    return value
