"""The part of kubectl's JSONPath that scripts use.

``{.a.b[0].c}``, ``{.a[*].b}``, ``{.a[?(@.type=="Ready")].b}``.
"""

from __future__ import annotations

import re
from typing import Any

from tiffin.errors import SpecError

_STEP = re.compile(
    r"""\.(?P<name>[A-Za-z_][\w-]*)
      | \['(?P<quoted>[^']+)'\]
      | \[(?P<index>-?\d+|\*)\]
      | \[\?\(@\.(?P<field>[\w.-]+)\s*==\s*["'](?P<value>[^"']*)["']\)\]""",
    re.VERBOSE,
)


def values(expression: str, root: Any) -> list[Any]:
    """What the expression finds, in order; raises SpecError when it cannot be read."""
    text = expression.strip()
    if text.startswith("{") and text.endswith("}"):
        text = text[1:-1].strip()
    text = text.removeprefix("$")
    if text and text[0] not in ".[":
        text = f".{text}"
    found, position = [root], 0
    while position < len(text):
        step = _STEP.match(text, position)
        if step is None:
            raise SpecError(
                f"cannot read the path {expression!r} from {text[position:]!r} on",
                hint='for example {.status.url}, {.items[0].a} or {.status.conditions[?(@.type=="Ready")].status}',
            )
        found = [after for before in found for after in _step(step, before)]
        position = step.end()
    return found


def _step(step: re.Match[str], value: Any) -> list[Any]:
    name = step["name"] or step["quoted"]
    if name is not None:
        return [value[name]] if isinstance(value, dict) and name in value else []
    if not isinstance(value, list):
        return []
    if step["field"] is not None:
        return [item for item in value if step["value"] in [_text(v) for v in values("." + step["field"], item)]]
    if step["index"] == "*":
        return value
    index = int(step["index"])
    return [value[index]] if -len(value) <= index < len(value) else []


def text(expression: str, root: Any) -> str:
    """What the expression finds, as kubectl prints it: values with a space between."""
    return " ".join(_text(value) for value in values(expression, root))


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list):
        import msgspec

        return msgspec.json.encode(value).decode()
    return str(value)
