"""The part of ``/docs.json`` about tasks: the five paths of each."""

from __future__ import annotations

from typing import Any

_TEXTS = {
    "submit": ("post", "Submit a task", "Its id"),
    "status": ("get", "Tell how a task is", "Status, times and progress"),
    "get": ("get", "Give the result of a task", "Successful Response"),
    "retry": ("post", "Run the request of a task that has ended again", "The id of the new task"),
    "cancel": ("put", "Cancel a task", "It has ended by that"),
}
_ID = {"name": "task_id", "in": "query", "required": True, "schema": {"type": "string"}}
_ERROR = {"$ref": "#/components/schemas/TaskError"}
_STATUS = {"$ref": "#/components/schemas/TaskStatus"}

SCHEMAS: dict[str, Any] = {
    "TaskError": {
        "title": "TaskError",
        "type": "object",
        "required": ["error"],
        "properties": {"error": {"type": "string"}},
    },
    "TaskStatus": {
        "title": "TaskStatus",
        "type": "object",
        "required": ["task_id", "status"],
        "properties": {
            "task_id": {"type": "string"},
            "status": {"type": "string", "enum": ["in_progress", "completed", "failed", "canceled"]},
            "created_at": {"type": "string", "format": "date-time"},
            "executed_at": {"format": "date-time", "description": "when it began first; null before"},
            "completed_at": {"format": "date-time", "description": "when it ended; null before"},
            "state": {"type": "string", "enum": ["queued", "running", "completed", "failed", "canceled"]},
            "attempts": {"type": "integer"},
            "progress": {"minimum": 0, "maximum": 1, "description": "null when the method says nothing"},
            "message": {"type": "string"},
            "error": {"type": "string"},
            "cancel_requested": {"type": "boolean"},
        },
    },
}


def paths(route: str, call: dict[str, Any]) -> dict[str, Any]:
    """Path items below a task's route; ``call`` is the operation of the route itself."""
    return {f"{route.rstrip('/')}/{name}": _item(name, call) for name in _TEXTS}


def _item(name: str, call: dict[str, Any]) -> dict[str, Any]:
    verb, description, done = _TEXTS[name]
    answer = {"description": done, "content": {"application/json": {"schema": _STATUS}}}
    operation: dict[str, Any] = {
        "tags": call["tags"],
        "operationId": f"{call['operationId']}__{name}",
        "description": description,
        "responses": {
            "200": call["responses"]["200"] if name == "get" else answer,
            "400": _error("The input, or the state of the task, is not as it must be"),
        },
    }
    if name == "submit":
        operation["requestBody"] = call["requestBody"]
        operation["responses"] |= {
            "422": _error("The Idempotency-Key was used with another request"),
            "429": _error("Too many tasks wait"),
        }
    else:
        operation["parameters"] = [_ID]
        operation["responses"]["404"] = _error("There is no such task")
    if name == "cancel":
        operation["responses"] |= {
            "202": {**answer, "description": "It runs, and was asked to stop"},
            "409": _error("It had ended before"),
        }
    return {verb: operation}


def _error(text: str) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": _ERROR}}}
