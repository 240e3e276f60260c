"""``/docs.json``: a service as an OpenAPI 3.0 document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tiffin.service import task_openapi

if TYPE_CHECKING:
    from tiffin.service.definition import Service
    from tiffin.service.endpoint import Endpoint

_REFERENCE = "#/components/schemas/{model}"


def document(service: Service[Any]) -> dict[str, Any]:
    """The document; schemas of models stand under ``components``."""
    components: dict[str, Any] = {
        "InvalidArgument": _error("400: the input is wrong"),
        "InternalServerError": _error("500: the service failed"),
    }
    paths: dict[str, Any] = {}
    for endpoint in service.apis.values():
        route = service.route_of(endpoint)
        paths[route] = _path(service, endpoint, components)
        if endpoint.is_task:
            paths |= task_openapi.paths(route, paths[route]["post"])
            components |= task_openapi.SCHEMAS
    infrastructure = {
        path: {"get": {"tags": ["Infrastructure"], "responses": {"200": {"description": text}}}}
        for path, text in (
            ("/healthz", "alive"),
            ("/livez", "alive"),
            ("/readyz", "ready"),
            ("/metrics", "metrics"),
        )
    }
    return {
        "openapi": "3.0.2",
        "info": {"title": service.name, "description": service.inner.__doc__ or "", "version": "None"},
        "servers": [{"url": "."}],
        "tags": [{"name": "Service APIs"}, {"name": "Infrastructure"}],
        "paths": {**infrastructure, **paths},
        "components": {"schemas": components},
    }


def _path(service: Service[Any], endpoint: Endpoint, components: dict[str, Any]) -> dict[str, Any]:
    given = _named(endpoint, endpoint.input, "Input", components)
    result = _named(endpoint, endpoint.output, "Output", components)
    output_type = endpoint.output.content_type.decode().partition(";")[0]
    return {
        "post": {
            "tags": ["Service APIs"],
            "operationId": f"{service.name}__{endpoint.name}",
            "x-bentoml-name": endpoint.name,
            "description": endpoint.doc or "",
            "requestBody": {"required": True, "content": {endpoint.input.media_type: {"schema": given}}},
            "responses": {
                "200": {"description": "Successful Response", "content": {output_type: {"schema": result}}},
                **{
                    status: {
                        "description": name,
                        "content": {"application/json": {"schema": {"$ref": _REFERENCE.format(model=name)}}},
                    }
                    for status, name in (("400", "InvalidArgument"), ("500", "InternalServerError"))
                },
            },
        }
    }


def _named(endpoint: Endpoint, half: Any, word: str, components: dict[str, Any]) -> dict[str, Any]:
    schema = half.json_schema(ref_template=_REFERENCE, mode="serialization")
    components.update(schema.pop("$defs", {}))
    if schema.get("type") != "object" or "properties" not in schema:
        schema.pop("root_input", None)
        return dict(schema)
    name = f"{endpoint.name}__{word}" if schema.get("title") in ("Input", None) else str(schema["title"])
    components[name] = {k: v for k, v in schema.items() if k != "root_input"} | {"title": name}
    return {"$ref": _REFERENCE.format(model=name)}


def _error(title: str) -> dict[str, Any]:
    return {
        "title": title,
        "type": "object",
        "required": ["error"],
        "properties": {"error": {"type": "string"}},
    }
