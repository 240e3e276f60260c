"""``/docs.json``: a service as an OpenAPI 3.1 document.

``/schema.json`` is what clients build their methods from, in BentoML's words; this is for every other tool. Its
schemas are whole: alternatives, null and constraints are kept, arrays and frames are described as the JSON they
are (``x-tiffin-type`` says what they become), files as binary parts.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tiffin.service.definition import Service
    from tiffin.service.endpoint import Endpoint

Object = dict[str, Any]
_SCHEMAS = "#/components/schemas/"
_STATES = ["pending", "in_progress", "completed", "failed", "canceled"]
_TEXT: Object = {"type": "string"}

_SCHEMA_ERROR: Object = {
    "title": "Error",
    "type": "object",
    "required": ["error"],
    "properties": {"error": _TEXT},
}
_COMPONENTS: Object = {
    "Error": _SCHEMA_ERROR,
    "InvalidArgument": {
        "title": "InvalidArgument",
        "description": "The input does not fit: where, and why.",
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": _TEXT,
            "detail": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["type", "loc", "msg"],
                    "properties": {
                        "type": _TEXT,
                        "loc": {"type": "array", "items": {"type": ["string", "integer"]}},
                        "msg": _TEXT,
                        "url": _TEXT,
                    },
                },
            },
        },
    },
    "RaisedError": {
        "title": "RaisedError",
        "description": "What the method raised to choose its answer: an array of one.",
        "type": "array",
        "minItems": 1,
        "maxItems": 1,
        "items": {"$ref": f"{_SCHEMAS}Error"},
    },
}
_TASK_COMPONENTS: Object = {
    "Task": {
        "title": "Task",
        "type": "object",
        "required": ["task_id", "status"],
        "properties": {"task_id": _TEXT, "status": {"type": "string", "enum": _STATES}},
    },
    "TaskStatus": {
        "title": "TaskStatus",
        "type": "object",
        "required": ["task_id", "status"],
        "properties": {
            "task_id": _TEXT,
            "status": {"type": "string", "enum": _STATES},
            "created_at": {"type": ["string", "null"]},
            "executed_at": {"type": ["string", "null"]},
        },
    },
}
_RESPONSES: Object = {
    "Refused": {
        "description": "The input does not fit, or the method refused it.",
        "content": {
            "application/json": {
                "schema": {
                    "oneOf": [{"$ref": f"{_SCHEMAS}InvalidArgument"}, {"$ref": f"{_SCHEMAS}RaisedError"}],
                }
            }
        },
    },
    **{
        name: {
            "description": text,
            "content": {"application/json": {"schema": {"$ref": f"{_SCHEMAS}Error"}}},
        }
        for name, text in (
            ("TooMany", "Too many calls at once."),
            ("Failed", "The service failed; its log says why."),
            ("NotReady", "The service is not ready, or too busy."),
            ("TooLate", "The method took longer than it may."),
        )
    },
}
_ERRORS: Object = {
    status: {"$ref": f"#/components/responses/{name}"}
    for status, name in (
        ("400", "Refused"),
        ("429", "TooMany"),
        ("500", "Failed"),
        ("503", "NotReady"),
        ("504", "TooLate"),
    )
}
_TASK_ID: Object = {"name": "task_id", "in": "query", "required": True, "schema": _TEXT}


def document(service: Service[Any]) -> Object:
    """The document; schemas of models stand under ``components``."""
    components = dict(_COMPONENTS)
    paths: Object = {}
    for endpoint in service.apis.values():
        route = service.route_of(endpoint)
        call = _call(service, endpoint, components)
        paths[route] = {"post": call}
        if endpoint.is_task:
            components.update(_TASK_COMPONENTS)
            paths.update(_task_paths(route, call))
    infrastructure = {
        path: {"get": {"tags": ["Infrastructure"], "summary": text, "responses": _health(path)}}
        for path, text in (
            ("/healthz", "Whether it is alive"),
            ("/livez", "Whether it is alive"),
            ("/readyz", "Whether it is ready"),
            ("/metrics", "Metrics for Prometheus"),
        )
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": service.name,
            "description": service.description or service.inner.__doc__ or "",
            "version": "not available",
        },
        "servers": [{"url": "."}],
        "tags": [{"name": "Service APIs"}, {"name": "Infrastructure"}],
        "paths": {**infrastructure, **paths},
        "components": {"schemas": components, "responses": _RESPONSES},
    }


def _health(path: str) -> Object:
    found = {"200": {"description": "Yes" if path != "/metrics" else "The metrics", "content": _plain()}}
    return found if path == "/metrics" else {**found, "503": {"description": "No", "content": _plain()}}


def _plain() -> Object:
    return {"text/plain": {"schema": _TEXT}}


def _call(service: Service[Any], endpoint: Endpoint, components: Object) -> Object:
    doc = endpoint.doc or ""
    found: Object = {
        "tags": ["Service APIs"],
        "operationId": f"{service.name}__{endpoint.name}",
        "x-bentoml-name": endpoint.name,
        "summary": doc.partition("\n")[0],
        "description": doc,
        "requestBody": _request(endpoint, components),
        "responses": {"200": _answer(endpoint, components), **_ERRORS},
    }
    return found


def _request(endpoint: Endpoint, components: Object) -> Object:
    half = endpoint.input
    content: Object = {"schema": _named(endpoint, half, "Input", components)}
    if half.media_type == "multipart/form-data":
        encoding = {}
        for name, field in half.json_schema().get("properties", {}).items():
            item = field.get("items", field)
            if item.get("type") == "file":
                encoding[name] = {"contentType": item.get("content_type") or _family(item)}
        content["encoding"] = encoding
    elif half.media_type == "application/json":
        from tiffin.service import pages

        content["example"] = pages.sample_of(endpoint)
    required = half.root is not None or bool(half.json_schema().get("required"))
    return {"required": required, "content": {half.media_type: content}}


def _family(schema: Object) -> str:
    family = schema.get("format")
    return f"{family}/*" if family in ("image", "audio", "video") else "application/octet-stream"


def _answer(endpoint: Endpoint, components: Object) -> Object:
    result = _named(endpoint, endpoint.output, "Output", components)
    media_type = endpoint.output.content_type.decode().partition(";")[0]
    if not endpoint.is_stream:
        return {"description": "What the method returned", "content": {media_type: {"schema": result}}}
    # OpenAPI has a word for the items of a stream from 3.2 on.
    return {
        "description": "Items as they come, one after the other without framing; text as it is, all else as JSON",
        "content": {media_type: {"schema": _TEXT, "x-tiffin-items": result}},
    }


def _task_paths(route: str, call: Object) -> Object:
    def operation(name: str, summary: str, answer: Object, **more: Any) -> Object:
        return {
            "tags": call["tags"],
            "operationId": f"{call['operationId']}__{name}",
            "summary": summary,
            "responses": {**answer, **_ERRORS},
            **more,
        }

    def told(schema: str, description: str) -> Object:
        content = {"application/json": {"schema": {"$ref": f"{_SCHEMAS}{schema}"}}}
        return {"200": {"description": description, "content": content}}

    asks = {"parameters": [_TASK_ID]}
    unknown = {"404": {"description": "No such task"}}
    ended = {"409": {"description": "It has ended already"}, "202": {"description": "It was asked to stop"}}
    return {
        f"{route}/submit": {
            "post": operation("submit", "Submit", told("Task", "Accepted"), requestBody=call["requestBody"])
        },
        f"{route}/status": {
            "get": operation("status", "How far it is", told("TaskStatus", "Its status") | unknown, **asks)
        },
        f"{route}/get": {
            "get": operation("get", "Its result", {"200": call["responses"]["200"], **unknown}, **asks)
        },
        f"{route}/retry": {
            "post": operation("retry", "Submit it again", told("Task", "Accepted") | unknown, **asks)
        },
        f"{route}/cancel": {
            "put": operation(
                "cancel", "Cancel it", {"200": {"description": "It has ended"}, **ended, **unknown}, **asks
            )
        },
    }


def _named(endpoint: Endpoint, half: Any, word: str, components: Object) -> Object:
    schema = half.json_schema(ref_template=f"{_SCHEMAS}{{model}}", mode="serialization")
    schema.pop("root_input", None)
    renamed = {}
    definitions = schema.pop("$defs", {})
    for name, definition in definitions.items():
        # Two models of one name in two modules are two schemas.
        if components.get(name, definition) != definition:
            renamed[name] = f"{endpoint.name}__{name}"
        components.setdefault(renamed.get(name, name), definition)
    for old, new in renamed.items():
        pattern = re.compile(rf'"{_SCHEMAS}{re.escape(old)}"')
        schema = json.loads(pattern.sub(f'"{_SCHEMAS}{new}"', json.dumps(schema)))
        for name in definitions:
            key = renamed.get(name, name)
            components[key] = json.loads(pattern.sub(f'"{_SCHEMAS}{new}"', json.dumps(components[key])))
    if schema.get("type") != "object" or "properties" not in schema:
        return dict(schema)
    title = schema.get("title")
    name = f"{endpoint.name}__{word}"
    if title not in ("Input", None):
        plain = re.sub(r"[^A-Za-z0-9._-]", "_", str(title))
        name = plain if components.get(plain, schema) == schema else f"{name}__{plain}"
    components[name] = schema | ({"title": name} if title in ("Input", None) else {})
    return {"$ref": f"{_SCHEMAS}{name}"}
