"""What the page is told: endpoints, and a field for each thing a caller fills in. Made from JSON Schema; pure."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from tiffin.types import TensorSpec

Kind = Literal["integer", "number", "boolean", "choice", "text", "table", "file", "json"]
Form = Literal["matrix", "vector", "records", "columns"]
Encoding = Literal["json", "root", "form", "text", "file", "tensors"]
"""How fields become a body: an object, one bare value, a form, bare text, a bare file, tensors of V2."""

ANY_SIZE = -1


class PageField(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing to fill in. ``form`` and what follows it are for tables, ``accept`` and ``many`` for files.

    ``sample`` is where a field without a default starts from. ``width`` is a fixed number of columns.
    """

    name: str
    kind: Kind
    required: bool
    about: str = ""
    hint: str = ""
    default: Any = msgspec.UNSET
    sample: Any = msgspec.UNSET
    choices: list[Any] | msgspec.UnsetType = msgspec.UNSET
    minimum: float | msgspec.UnsetType = msgspec.UNSET
    maximum: float | msgspec.UnsetType = msgspec.UNSET
    form: Form | msgspec.UnsetType = msgspec.UNSET
    columns: list[str] | msgspec.UnsetType = msgspec.UNSET
    width: int | msgspec.UnsetType = msgspec.UNSET
    dtype: str = ""
    datatype: str = ""
    accept: str = ""
    many: bool = False


class PageEndpoint(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint, its fields, and how they become a body."""

    name: str
    route: str
    about: str
    encoding: Encoding
    media_type: str
    fields: list[PageField]
    task: bool = False
    stream: bool = False
    batchable: bool = False


class PageDescription(msgspec.Struct, frozen=True, kw_only=True):
    """The whole page; ``links`` and ``ready`` are paths below the page's own."""

    name: str
    kind: Literal["service", "model", "class"]
    about: str
    links: list[str]
    endpoints: list[PageEndpoint]
    ready: str = "readyz"


def field_of(name: str, schema: dict[str, Any], *, required: bool, sample: Any = msgspec.UNSET) -> PageField:
    """The field for one property of a schema (as ``/schema.json`` has it, without references).

    Args:
        name: The property's.
        schema: JSON Schema, or ``type`` tensor, dataframe or file as BentoML writes them.
        required: Whether it must be sent.
        sample: What to start from where the schema has neither a default nor an example.
    """
    common: dict[str, Any] = {
        "name": name,
        "required": required,
        "about": schema.get("description", ""),
        "default": schema.get("default", msgspec.UNSET),
        "sample": sample,
    }
    kind = schema.get("type")
    if kind == "file":
        return PageField(kind="file", accept=_accept(schema), hint=_file_hint(schema), **common)
    if kind == "array" and (schema.get("items") or {}).get("type") == "file":
        return PageField(kind="file", accept=_accept(schema["items"]), hint="files", many=True, **common)
    if kind == "tensor":
        return _tensor(schema, common)
    if kind == "dataframe":
        form: Form = "columns" if schema.get("orient") == "columns" else "records"
        columns = list(schema["columns"]) if schema.get("columns") else msgspec.UNSET
        return PageField(kind="table", form=form, columns=columns, hint="table", **common)
    if schema.get("enum"):
        return PageField(kind="choice", choices=list(schema["enum"]), **common)
    if kind in ("integer", "number"):
        return PageField(kind=kind, hint=_bounds(schema, kind), **_limits(schema), **common)
    if kind == "boolean":
        return PageField(kind="boolean", **common)
    if kind == "string":
        return PageField(kind="text", hint=schema.get("format", "text"), **common)
    return PageField(kind="json", hint="JSON", **common)


def _tensor(schema: dict[str, Any], common: dict[str, Any]) -> PageField:
    shape = schema.get("shape")
    dtype = schema.get("dtype") or ""
    words = " ".join(part for part in (dtype, _shape(shape) if shape else "") if part)
    return _array(list(shape) if shape else None, common, hint=words or "array", dtype=dtype)


def _array(shape: list[int] | None, common: dict[str, Any], **more: Any) -> PageField:
    """Two dimensions are a table, one is a row; others are written as JSON."""
    if shape is None or len(shape) == 2:
        width = shape[1] if shape and shape[1] > 0 else msgspec.UNSET
        return PageField(kind="table", form="matrix", width=width, **more, **_in_form(common, 2))
    if len(shape) == 1:
        width = shape[0] if shape[0] > 0 else msgspec.UNSET
        return PageField(kind="table", form="vector", width=width, **more, **_in_form(common, 1))
    return PageField(kind="json", **more, **common)


def _in_form(common: dict[str, Any], dimensions: int) -> dict[str, Any]:
    """Without start values that a table of so many dimensions cannot hold."""
    return {
        key: msgspec.UNSET if key in ("default", "sample") and _depth(value) != dimensions else value
        for key, value in common.items()
    }


def _depth(value: Any) -> int:
    depth = 0
    while isinstance(value, list) and value:
        depth, value = depth + 1, value[0]
    return depth


def tensor_field(spec: TensorSpec, sample: Any) -> PageField:
    """The field for an input of a V2 model; ``sample`` is nested lists of its shape."""
    shape = [size if size > 0 else ANY_SIZE for size in spec.shape]
    common = {"name": spec.name, "required": True, "sample": sample}
    text = "text" if spec.datatype == "BYTES" else ""
    return _array(shape, common, hint=f"{spec.datatype} {_shape(shape)}", dtype=text, datatype=spec.datatype)


def _shape(shape: list[int]) -> str:
    return f"[{', '.join('any' if size < 0 else str(size) for size in shape)}]"


def _limits(schema: dict[str, Any]) -> dict[str, Any]:
    return {word: schema[word] for word in ("minimum", "maximum") if word in schema}


def _bounds(schema: dict[str, Any], kind: str) -> str:
    words = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}
    found = " ".join(f"{word} {schema[key]:g}" for key, word in words.items() if key in schema)
    return f"{kind} {found}".rstrip()


def _file_hint(schema: dict[str, Any]) -> str:
    found = schema.get("format", "binary")
    return str(schema.get("content_type") or (found if found in ("image", "audio", "video") else "file"))


def _accept(schema: dict[str, Any]) -> str:
    if schema.get("content_type"):
        return str(schema["content_type"])
    found = schema.get("format", "binary")
    return f"{found}/*" if found in ("image", "audio", "video") else ""
