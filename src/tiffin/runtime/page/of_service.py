"""The page's description of an authored service."""

from __future__ import annotations

import inspect
from typing import Any

import msgspec

from tiffin.runtime.page.description import Encoding, PageDescription, PageEndpoint, PageField, field_of
from tiffin.service import pages
from tiffin.service.definition import Service
from tiffin.service.endpoint import Endpoint

LINKS = ["docs.json", "schema.json", "metrics"]


def describe(service: Service[Any]) -> PageDescription:
    """Everything callers can reach, in the order of the service's endpoints."""
    return PageDescription(
        name=service.name,
        kind="service",
        about=inspect.cleandoc(service.inner.__doc__ or service.description or ""),
        links=LINKS,
        endpoints=[_endpoint(service.route_of(endpoint), endpoint) for endpoint in service.apis.values()],
    )


def _endpoint(route: str, endpoint: Endpoint) -> PageEndpoint:
    encoding = _encoding(endpoint)
    schema = endpoint.input.json_schema()
    definitions = schema.get("$defs", {})
    sample = pages.sample_of(endpoint)
    if encoding in ("json", "form"):
        required = schema.get("required", ())
        samples = sample if isinstance(sample, dict) else {}
        fields = [
            field_of(
                name,
                plain(inner, definitions),
                required=name in required,
                sample=samples.get(name, msgspec.UNSET) if name in required else msgspec.UNSET,
            )
            for name, inner in schema.get("properties", {}).items()
        ]
    else:
        fields = [_root_field(endpoint, plain(schema, definitions), sample)]
    return PageEndpoint(
        name=endpoint.name,
        route=route,
        about=inspect.cleandoc(endpoint.doc or ""),
        encoding=encoding,
        media_type=endpoint.input.media_type,
        fields=fields,
        task=endpoint.is_task,
        stream=endpoint.is_stream,
        batchable=endpoint.batchable,
    )


def _encoding(endpoint: Endpoint) -> Encoding:
    match endpoint.input.root_kind:
        case "text":
            return "text"
        case "file":
            return "file"
        case "json":
            return "root"
    return "form" if endpoint.input.media_type == "multipart/form-data" else "json"


def _root_field(endpoint: Endpoint, schema: dict[str, Any], sample: Any) -> PageField:
    name = endpoint.input.root.name if endpoint.input.root is not None else "body"
    given = schema | {"type": "file"} if endpoint.input.root_kind == "file" else schema
    return field_of(name, given, required=True, sample=msgspec.UNSET if sample is None else sample)


def plain(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """A property's schema without its reference, and without the ``null`` of an Optional.

    What then has several types left is anything: the page takes it as JSON.
    """
    schema = dict(schema)
    while "$ref" in schema or len(schema.get("allOf", ())) == 1:
        if "$ref" in schema:
            found = definitions.get(str(schema.pop("$ref")).rpartition("/")[2], {})
        else:
            found = schema.pop("allOf")[0]
        schema = {**found, **schema}
    alternatives = [one for one in schema.get("anyOf", ()) if one.get("type") != "null"]
    if len(alternatives) == 1:
        rest = {key: value for key, value in schema.items() if key != "anyOf"}
        return plain({**alternatives[0], **rest}, definitions)
    items = schema.get("items")
    if isinstance(items, dict) and "$ref" in items:
        # One step only, to see files in it: a type may contain itself.
        schema["items"] = definitions.get(str(items["$ref"]).rpartition("/")[2], {})
    return schema
