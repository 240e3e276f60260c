"""What a service's ``/schema.json`` says of its endpoints, and calls of them as requests. Pure."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tiffin.client.service_files import Files, Part
from tiffin.client.service_values import plain

JSON_HEADERS = {"content-type": "application/json"}


@dataclass(frozen=True)
class Route:
    """One endpoint: its name, its path, the schemas of what it takes and gives."""

    name: str
    route: str
    input: dict[str, Any] = field(repr=False)
    output: dict[str, Any] = field(repr=False)
    doc: str = ""
    is_task: bool = False

    @property
    def is_stream(self) -> bool:
        """Whether it answers bit by bit."""
        return bool(self.output.get("is_stream"))

    @property
    def is_root(self) -> bool:
        """Whether its one argument is the whole body."""
        return bool(self.input.get("root_input")) and "properties" not in self.input

    @property
    def parameters(self) -> dict[str, dict[str, Any]]:
        """Schemas of the arguments, by name."""
        return dict(self.input.get("properties", {}))

    def signature(self) -> inspect.Signature:
        """The parameters as ``help()`` shows them; those with a default may be left out."""
        if self.is_root:
            return inspect.Signature([inspect.Parameter("value", inspect.Parameter.POSITIONAL_ONLY)])
        required = self.input.get("required", ())
        found = [
            inspect.Parameter(
                name,
                inspect.Parameter.POSITIONAL_OR_KEYWORD,
                default=inspect.Parameter.empty if name in required else schema.get("default"),
            )
            for name, schema in self.parameters.items()
            if name.isidentifier()
        ]
        found.sort(key=lambda parameter: parameter.default is not inspect.Parameter.empty)
        return inspect.Signature(found)


def routes_of(schema: Mapping[str, Any]) -> dict[str, Route]:
    """The endpoints by name."""
    return {
        route["name"]: Route(
            route["name"],
            route["route"],
            route["input"],
            route["output"],
            route.get("doc") or "",
            bool(route.get("is_task")),
        )
        for route in schema["routes"]
    }


@dataclass
class Outgoing:
    """A request: either ``content``, or the ``data`` and ``files`` of a form."""

    headers: dict[str, str]
    content: bytes | None = None
    data: dict[str, list[str]] = field(default_factory=dict)
    files: list[tuple[str, Part]] = field(default_factory=list)

    def options(self) -> dict[str, Any]:
        """Keywords for httpx."""
        if self.content is not None or not (self.data or self.files):
            return {"headers": self.headers, "content": self.content}
        return {"headers": self.headers, "data": self.data, "files": self.files or None}


def outgoing(route: Route, args: Sequence[Any], kwargs: Mapping[str, Any], files: Files) -> Outgoing:
    """A call as a request; files that are opened for it are given to ``files``, which closes them.

    Raises:
        TypeError: an argument is missing, unknown or given twice.
    """
    if route.is_root:
        return _root(route, args, kwargs, files)
    if route.input.get("root_input") and len(args) == 1 and not kwargs:
        given = plain(args[0], route.input)
        return Outgoing(dict(JSON_HEADERS), json.dumps(given).encode())
    values = _named(route, args, kwargs)
    parameters = route.parameters
    if not any(_is_file(schema) for schema in parameters.values()):
        body = {name: plain(value, parameters[name]) for name, value in values.items()}
        return Outgoing(dict(JSON_HEADERS), json.dumps(body).encode())
    request = Outgoing({})
    for name, value in values.items():
        if not _is_file(parameters[name]):
            request.data[name] = [json.dumps(plain(value, parameters[name]))]
            continue
        for one in value if isinstance(value, (list, tuple)) else [value]:
            part = files.part(one)
            if isinstance(part, str):
                request.data.setdefault(name, []).append(part)
            elif part is not None:
                request.files.append((name, part))
    return request


def _root(route: Route, args: Sequence[Any], kwargs: Mapping[str, Any], files: Files) -> Outgoing:
    if len(args) > 1 or kwargs:
        raise TypeError(f"{route.name}() takes one positional argument, which is the whole body")
    if not args:
        return Outgoing(dict(JSON_HEADERS), b"")
    value, kind = args[0], route.input.get("type")
    if kind == "file":
        part = files.part(value)
        if part is None or isinstance(part, str):
            raise TypeError(f"{route.name}() takes a file as its whole body; open it, or give its path")
        return Outgoing({"content-type": part[2]}, part[1].read())
    if kind == "string" and isinstance(value, (str, bytes)):
        return Outgoing({"content-type": "text/plain"}, value.encode() if isinstance(value, str) else value)
    return Outgoing(dict(JSON_HEADERS), json.dumps(plain(value, route.input)).encode())


def _named(route: Route, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    names = list(route.parameters)
    if len(args) > len(names):
        raise TypeError(f"{route.name}() takes {len(names)} arguments, {len(args)} were given")
    values = dict(zip(names, args, strict=False))
    twice = sorted(values.keys() & kwargs.keys())
    if twice:
        raise TypeError(f"{route.name}() got several values for {', '.join(twice)}")
    unknown = sorted(kwargs.keys() - set(names))
    if unknown:
        raise TypeError(
            f"{route.name}() has no parameter {', '.join(unknown)}; it has {', '.join(names) or 'none'}"
        )
    values.update(kwargs)
    missing = [name for name in route.input.get("required", ()) if name not in values]
    if missing:
        raise TypeError(f"{route.name}() misses {', '.join(missing)}")
    return values


def _is_file(schema: Mapping[str, Any]) -> bool:
    items = schema.get("items")
    is_list = schema.get("type") == "array" and isinstance(items, Mapping)
    return schema.get("type") == "file" or (is_list and isinstance(items, Mapping) and items.get("type") == "file")
