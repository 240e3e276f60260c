"""From the JSON Schema of Tiffin's own file to what an API server takes for a schema.

A structural schema says one type for every field. Where a field may be a string or a mapping it has none, and
what holds for either kind of value stands side by side: a pattern says nothing of a mapping, properties say
nothing of a string. What cannot be said at all is left to the operator, which reads every object again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tiffin.kube.crds.forms import KEPT, RULES, Schema, count, present, rule

MOST_ENTRIES = 100
"""Of a mapping whose keys or entries have rules; without a bound their cost has none either."""

_KEPT_WORDS = (
    "description", "type", "minLength", "minItems", "maxItems", "minProperties", "minimum", "maximum", "enum",
)  # fmt: skip
_OF_MAPPINGS = ("properties", "required", "additionalProperties")
_EXPLAINED = 3
_LOOKAHEAD = re.compile(r"\(\?=((?:[^()\[\]]|\[[^\]]*\])*)\)")
_LEADING = re.compile(r"\^\(\?:" + _LOOKAHEAD.pattern)


def structural(schema: Schema, *, depth: int = 0, in_cel: bool = True) -> Schema:
    """The same in words of a structural schema; what is far below goes without a description.

    ``in_cel``: whether rules may be said in CEL, which does not see below a field of several types.
    """
    found = {name: schema[name] for name in _KEPT_WORDS if name in schema}
    if depth > _EXPLAINED:
        found.pop("description", None)
    if "anyOf" in schema:
        return found | _mixed(schema["anyOf"], depth)
    if "const" in schema:
        return found | {"type": "boolean", "enum": [schema["const"]]}
    if "enum" in schema:
        found["type"] = "string"
    if "exclusiveMinimum" in schema:
        found |= {"minimum": schema["exclusiveMinimum"], "exclusiveMinimum": True}
    if "pattern" in schema:
        found |= _pattern(schema["pattern"])
    if schema.get("type") == "array":
        found["items"] = structural(schema["items"], depth=depth + 1, in_cel=in_cel)
    if schema.get("type") == "object":
        found |= _mapping(schema, depth, in_cel=in_cel)
    if "type" not in found:
        found[KEPT] = True
    return found


def _mapping(schema: Schema, depth: int, *, in_cel: bool) -> Schema:
    if "properties" not in schema:
        return _table(schema, depth, in_cel=in_cel)
    properties = {
        name: structural(inner, depth=depth + 1, in_cel=in_cel) for name, inner in schema["properties"].items()
    }
    found: Schema = {"properties": properties}
    if "required" in schema:
        found["required"] = schema["required"]
    rules, junctors = [], []
    for names, said, junctor in _between(schema):
        if in_cel and all(_is_seen(properties[name]) for name in names):
            rules.append(said)
        else:
            junctors.append(junctor)
    return found | ({RULES: rules} if rules else {}) | ({"allOf": junctors} if junctors else {})


def _table(schema: Schema, depth: int, *, in_cel: bool) -> Schema:
    if "additionalProperties" not in schema:
        return {KEPT: True}  # in another system's words, which are checked there
    entry = structural(schema["additionalProperties"], depth=depth + 1, in_cel=in_cel)
    found: Schema = {"additionalProperties": entry}
    pattern = schema.get("propertyNames", {}).get("pattern")
    if pattern is not None and in_cel and _is_seen(entry):
        plain = _pattern(pattern)["pattern"]
        expected = f"expected keys that match {plain}"
        found[RULES] = [rule(f"self.all(key, key.matches({_quoted(plain)}))", expected)]
    if RULES in found or _has_rules(entry):
        found["maxProperties"] = MOST_ENTRIES
    return found


def _between(schema: Schema) -> Iterator[tuple[list[str], Schema, Schema]]:
    """What holds between fields: which, in CEL, and in words that also say it of fields of several types."""
    for one in schema.get("allOf", ()):
        if "oneOf" in one:
            names = [each["required"][0] for each in one["oneOf"]]
            expected = f"expected one of {', '.join(names[:-1])} and {names[-1]}"
            yield names, rule(f"{count(names)} == 1", expected), one
        elif "anyOf" in one:
            names = [each["required"][0] for each in one["anyOf"]]
            expected = f"expected {' or '.join(names)}, found none of them"
            yield names, rule(f"{count(names)} > 0", expected), one
        else:
            names = one["not"]["required"]
            yield names, rule(f"{count(names)} < 2", f"expected {' or '.join(names)}, found both"), one
    for name, (other,) in schema.get("dependentRequired", {}).items():
        expected = f"{name} has a meaning beside {other} only"
        junctor = {"anyOf": [{"not": {"required": [name]}}, {"required": [other]}]}
        yield [name, other], rule(f"!{present(name)} || {present(other)}", expected), junctor


def _is_seen(schema: Schema) -> bool:
    """Whether CEL knows the field: it has one type, and so has what is in it."""
    inner = [schema[name] for name in ("additionalProperties", "items") if name in schema]
    return "type" in schema and all(map(_is_seen, inner))


def _has_rules(schema: Any) -> bool:
    if isinstance(schema, dict):
        return RULES in schema or any(map(_has_rules, schema.values()))
    return False


def _pattern(pattern: str) -> Schema:
    """Without looking ahead, which Go's expressions cannot; what is looked for first stands by itself."""
    found: Schema = {"pattern": _LOOKAHEAD.sub("", pattern)}
    if leading := _LEADING.match(pattern):
        found["allOf"] = [{"pattern": f"^{leading[1]}"}]
    return found


def _quoted(pattern: str) -> str:
    """A pattern as a string of CEL."""
    return "'" + pattern.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _mixed(forms: list[Schema], depth: int) -> Schema:
    """A field of several types."""
    found: Schema = {KEPT: True}
    is_bool = False
    for form in forms:
        if form.get("type") == ["string", "boolean"]:
            is_bool = True
            continue
        read = structural(form, depth=depth, in_cel=False)
        kind = read.pop("type", "")
        if kind == "boolean":
            is_bool = True
            if values := read.pop("enum", None):
                found["not"] = {"enum": [value for value in (True, False) if value not in values]}
        elif kind == "string" and "enum" in read:
            found["pattern"] = "^(?:" + "|".join(map(re.escape, read["enum"])) + ")$"
        elif kind == "object":
            # What would say something of a string as well is left to the operator.
            found |= {name: read[name] for name in _OF_MAPPINGS if name in read}
        else:
            found |= read
    if not is_bool:
        found["not"] = {"enum": [True, False]}
    return found
