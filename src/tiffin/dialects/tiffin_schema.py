"""The JSON Schema of Tiffin's own file, for editors; ``docs/reference/tiffin.schema.json`` is what it gives.

``python -m tiffin.dialects.tiffin_schema`` prints it.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from tiffin.dialects.tiffin_fields import DEPLOYMENT


def schema() -> dict[str, Any]:
    """The schema, as of draft 2020-12. Forms that are used in several places are written once, below ``$defs``."""
    found = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://tiffin.dev/schema/v1/deployment.json",
        "title": "Tiffin Deployment",
    } | DEPLOYMENT.schema()
    seen: dict[str, list[dict[str, Any]]] = {}
    _count(found, seen)
    names: dict[str, str] = {}
    definitions: dict[str, Any] = {}
    root = _shared(found, seen, names, definitions, is_root=True)
    assert isinstance(root, dict)
    return root | {"$defs": dict(sorted(definitions.items()))}


def text() -> str:
    """The schema as it is published."""
    return json.dumps(schema(), indent=1) + "\n"


_LARGE = 200


def _key(value: dict[str, Any]) -> str:
    form = {name: item for name, item in value.items() if name not in ("description", "examples")}
    return json.dumps(form, sort_keys=True)


def _count(value: Any, seen: dict[str, list[dict[str, Any]]]) -> None:
    if isinstance(value, dict):
        if "type" in value or "anyOf" in value:
            seen.setdefault(_key(value), []).append(value)
        for item in value.values():
            _count(item, seen)
    elif isinstance(value, list):
        for item in value:
            _count(item, seen)


def _shared(
    value: Any,
    seen: dict[str, list[dict[str, Any]]],
    names: dict[str, str],
    definitions: dict[str, Any],
    *,
    field: str = "",
    is_root: bool = False,
) -> Any:
    """The schema with what is large and used more than once replaced by references."""
    if isinstance(value, list):
        return [_shared(item, seen, names, definitions, field=field) for item in value]
    if not isinstance(value, dict):
        return value
    is_form = ("type" in value or "anyOf" in value) and not is_root
    key = _key(value) if is_form else ""
    if is_form and len(key) > _LARGE and len(seen.get(key, ())) > 1:
        if key not in names:
            names[key] = name = _free(field, definitions)
            definitions[name] = {}
            form = {name: item for name, item in value.items() if name not in ("description", "examples")}
            definitions[name] = _inside(form, seen, names, definitions, field=field)
        about = {name: value[name] for name in ("description", "examples") if name in value}
        return about | {"$ref": f"#/$defs/{names[key]}"}
    return _inside(value, seen, names, definitions, field=field)


def _inside(
    value: dict[str, Any],
    seen: dict[str, list[dict[str, Any]]],
    names: dict[str, str],
    definitions: dict[str, Any],
    *,
    field: str = "",
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, item in value.items():
        if name == "properties":
            found[name] = {key: _shared(form, seen, names, definitions, field=key) for key, form in item.items()}
        elif name == "examples":
            found[name] = item
        else:
            found[name] = _shared(item, seen, names, definitions, field=field)
    return found


def _free(field: str, definitions: dict[str, Any]) -> str:
    number = 1
    while (name := field if number == 1 else f"{field}{number}") in definitions:
        number += 1
    return name


if __name__ == "__main__":
    sys.stdout.write(text())
