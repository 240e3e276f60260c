"""A client of one service as a Python module: typed methods, and nothing to install. Pure.

Everything from the schema goes through ``repr``, ``isidentifier`` or an escape: a service elsewhere must not write
code of its own into the module.
"""

from __future__ import annotations

import keyword
import re
import textwrap
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from tiffin.client.service_routes import Route, routes_of

_SIMPLE = {"integer": "int", "number": "float", "boolean": "bool", "string": "str", "null": "None"}
# Names that written methods use: as an argument or a method they would hide what is meant.
_USED = {
    *("self", "body", "headers", "chunks", "id_", "encoded", "whole", "form", "text_items", "json_items", "cast"),
    *("list", "dict", "str", "int", "float", "bool", "bytes", "Any", "Literal", "Iterator"),
    *("Task", "File", "Upload", "Unset", "UNSET"),
}
_TAKEN = {"close", "is_ready", "ask", "stream"}


def module(schema: Mapping[str, Any], docs: Mapping[str, str] | None = None) -> str:
    """The text of the module.

    Args:
        schema: What ``/schema.json`` says.
        docs: Docstrings of endpoints by name, which that schema does not have.
    """
    name = _class_name(str(schema.get("name", "Service")))
    types = _Types()
    methods = [
        _method(route, types, (docs or {}).get(route.name, route.doc)) for route in routes_of(schema).values()
    ]
    base = (files("tiffin.client") / "standalone.py").read_text("utf-8")
    base = base.partition('"""\n')[2]
    head = f'"""Calls the service {name}. Written by `tiffin client`, and by it anew; it needs Python alone."""\n'
    typed = base.replace("from typing import IO, Any, Generic, TypeVar", _TYPING)
    written = "\n\n".join([*types.written, _class(name, str(schema.get("description") or ""), methods)])
    return f"{head}\n# ruff: noqa\n{typed}\n\n{written}\n"


_TYPING = "from typing import IO, Any, Generic, Literal, NotRequired, TypedDict, TypeVar, cast"


def _class(name: str, description: str, methods: list[str]) -> str:
    body = "\n\n".join(methods) or "    pass"
    return (
        f"class {name}(Calls):\n{_docstring(description or f'The endpoints of {name}.', 4)}\n\n"
        f"    def __enter__(self) -> {name}:\n        return self\n\n"
        f"    def __exit__(self, *_: object) -> None:\n        self.close()\n\n{body}"
    )


def _method(route: Route, types: _Types, doc: str) -> str:
    name = _identifier(route.name)
    name = f"api_{name}" if name in _TAKEN else name
    parameters, request = _request(route, types)
    returned, read = _answer(route, types)
    doc = _docstring(doc or f"Call {route.route}.", 8)
    signature = ", ".join(["self", *parameters])
    if route.is_stream:
        return (
            f"    def {name}({signature}) -> Iterator[{returned}]:\n{doc}\n"
            f"        body, headers = {request}\n"
            f"        chunks = self.stream({route.route!r}, body, headers)\n        return {read}"
        )
    answer = f"self.ask('POST', {route.route!r}, body, headers)"
    text = (
        f"    def {name}({signature}) -> {returned}:\n{doc}\n"
        f"        body, headers = {request}\n        return _read_{name}({answer})"
    ).replace(f"_read_{name}({answer})", read.format(answer=answer))
    if route.is_task:
        submit = f"self.ask('POST', {route.route + '/submit'!r}, body, headers)"
        text += (
            f"\n\n    def submit_{name}({signature}) -> Task[{returned}]:\n"
            f"{_docstring(f'Submit a call of {route.route}; its result is asked for later.', 8)}\n"
            f"        body, headers = {request}\n"
            f"        id_ = str({submit}.value()['task_id'])\n"
            f"        return Task(self, {route.route!r}, id_, lambda answer: {read.format(answer='answer')})"
        )
    return text


def _request(route: Route, types: _Types) -> tuple[list[str], str]:
    if route.is_root:
        schema = route.input
        kind = {"file": "application/octet-stream", "string": "text/plain"}.get(str(schema.get("type")))
        annotation = types.given(schema, f"{route.name}_input")
        return [f"value: {annotation}", "/"], f"whole(value, {kind or 'application/json'!r})"
    required = route.input.get("required", ())
    found: list[tuple[bool, str]] = []
    plain: list[str] = []
    uploads: list[str] = []
    for name, schema in route.parameters.items():
        parameter = _identifier(name)
        annotation = types.given(schema, f"{route.name}_{name}")
        default = "" if name in required else _default(schema)
        if default == "UNSET":
            annotation = f"{annotation} | Unset"
        elif default == "None":
            annotation = f"{annotation} | None"
        found.append((not default, f"{parameter}: {annotation}" + (f" = {default}" if default else "")))
        (uploads if "Upload" in annotation else plain).append(f"{name!r}: {parameter}")
    found.sort(key=lambda each: not each[0])
    values = "{" + ", ".join(plain) + "}"
    request = f"form({values}, {{{', '.join(uploads)}}})" if uploads else f"encoded({values})"
    return [text for _, text in found], request


def _default(schema: Mapping[str, Any]) -> str:
    if "default" not in schema or not isinstance(schema["default"], (type(None), bool, int, float, str)):
        return "UNSET"
    value = schema["default"]
    is_odd = isinstance(value, float) and repr(value) in ("nan", "inf", "-inf")
    return (
        "UNSET" if is_odd or (schema.get("type") in ("tensor", "dataframe") and value is not None) else repr(value)
    )


def _answer(route: Route, types: _Types) -> tuple[str, str]:
    """The annotation of the result, and how it is read from ``{answer}``."""
    schema = route.output
    kind, items = schema.get("type"), schema.get("items")
    is_binary = kind == "string" and schema.get("format") == "binary"
    if route.is_stream:
        if is_binary:
            return "bytes", "chunks"
        if kind == "string":
            return "str", "text_items(chunks)"
        return types.taken(schema, f"{route.name}_item"), "json_items(chunks)"
    if kind == "file":
        return "File", "{answer}.file()"
    if kind == "array" and isinstance(items, Mapping) and items.get("type") == "file":
        return "list[File]", "{answer}.files()"
    if is_binary:
        return "bytes", "{answer}.body"
    if kind == "string" and not ("format" in schema or "enum" in schema):
        return "str", "{answer}.text()"
    if kind == "string":
        return "str", "{answer}.quoted()"
    annotation = types.taken(schema, f"{route.name}_output")
    if annotation == "Any":
        return "Any", "{answer}.value()"
    return annotation, f"cast({annotation!r}, {{answer}}.value())"


class _Types:
    """Annotations for schemas; records become typed dicts."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self._names: set[str] = set()
        self._known: dict[str, str] = {}

    def given(self, schema: Mapping[str, Any], name: str) -> str:
        """For what is sent."""
        return self._of(schema, name, schema.get("$defs", {}), is_given=True, above=())

    def taken(self, schema: Mapping[str, Any], name: str) -> str:
        """For what is answered."""
        return self._of(schema, name, schema.get("$defs", {}), is_given=False, above=())

    def _of(
        self, schema: Any, name: str, definitions: Mapping[str, Any], *, is_given: bool, above: tuple[str, ...]
    ) -> str:
        def inner(found: Any, suffix: str) -> str:
            return self._of(found, f"{name}_{suffix}", definitions, is_given=is_given, above=above)

        if not isinstance(schema, Mapping):
            return "Any"
        if "$ref" in schema:
            reference = str(schema["$ref"]).rpartition("/")[2]
            if reference in above or reference not in definitions:
                return "Any"
            return self._of(
                definitions[reference], reference, definitions, is_given=is_given, above=(*above, reference)
            )
        for word in ("anyOf", "oneOf"):
            if isinstance(schema.get(word), list):
                return " | ".join(dict.fromkeys(inner(one, str(i)) for i, one in enumerate(schema[word])))
        choices = schema["enum"] if isinstance(schema.get("enum"), list) else None
        choices = [schema["const"]] if "const" in schema else choices
        if choices and all(isinstance(choice, (str, int, bool)) for choice in choices):
            return f"Literal[{', '.join(map(repr, choices))}]"
        kind = schema.get("type")
        if kind == "file":
            return "Upload" if is_given else "File"
        if kind == "dataframe" and not is_given:
            return "dict[str, list[Any]]" if schema.get("orient") == "columns" else "list[dict[str, Any]]"
        if kind == "array":
            item = inner(schema["items"], "item") if isinstance(schema.get("items"), Mapping) else "Any"
            return f"list[{item}]"
        if kind == "object":
            if isinstance(schema.get("properties"), Mapping):
                return self._record(schema, name, inner)
            other = schema.get("additionalProperties")
            return f"dict[str, {inner(other, 'value') if isinstance(other, Mapping) else 'Any'}]"
        return _SIMPLE.get(str(kind), "Any")

    def _record(self, schema: Mapping[str, Any], name: str, inner: Any) -> str:
        members = schema["properties"]
        if not all(member.isidentifier() and not keyword.iskeyword(member) for member in members):
            return "dict[str, Any]"
        required = schema.get("required", ())
        lines = []
        for member, found in members.items():
            annotation = inner(found, member)
            lines.append(f"    {member}: {annotation if member in required else f'NotRequired[{annotation}]'}")
        body = "\n".join(lines) or "    pass"
        title = _class_name(str(schema.get("title") or name))
        if (known := self._known.get(f"{title}\n{body}")) is not None:
            return known
        unique, number = title, 2
        while unique in self._names or unique in ("Calls", "Task", "File", "Answer", "Unset", "CallFailed"):
            unique, number = f"{title}{number}", number + 1
        self._names.add(unique)
        self._known[f"{title}\n{body}"] = unique
        self.written.append(f"class {unique}(TypedDict):\n{body}")
        return unique


def _identifier(text: str) -> str:
    name = re.sub(r"\W", "_", text)
    name = f"_{name}" if not name.isidentifier() else name
    return f"{name}_" if keyword.iskeyword(name) or name in _USED else name


def _class_name(text: str) -> str:
    words = re.split(r"[\W_]+", text.removesuffix("IODescriptor"))
    name = "".join(word[:1].upper() + word[1:] for word in words) or "Service"
    return _identifier(name)


def _docstring(text: str, indent: int) -> str:
    safe = text.strip().replace("\\", "\\\\").replace('"""', "'''").replace("\0", "")
    safe = safe + " " if safe.endswith('"') else safe
    first, _, rest = safe.partition("\n")
    lines = textwrap.indent(textwrap.dedent(rest), " " * indent, lambda line: bool(line.strip()))
    pad = " " * indent
    return f'{pad}"""{first}\n{lines.rstrip()}\n{pad}"""' if rest.strip() else f'{pad}"""{first}"""'
