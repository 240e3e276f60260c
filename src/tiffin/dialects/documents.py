"""Text to plain values: YAML and JSON, bounded, with the line of every field.

Stricter than a YAML library by itself, because a deployment file is configuration that somebody depends on:
a key written twice is refused (a library keeps the last one), language-specific tags are refused, and size,
nesting and the growth that anchors can cause are bounded. Scalars mean what Kubernetes takes them to mean:
keys are text, dates stay text, ``yes`` and ``on`` are booleans, ``1:30`` is text.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import yaml

from tiffin.errors import SpecError

MAX_BYTES = 1_048_576
MAX_NESTING = 64
MAX_VALUES = 100_000


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """One document of a file.

    ``index`` counts from 0; ``path`` is where ``value`` stands in the document (an item of a ``List``), empty
    at its root; ``lines`` gives the line, from 1, of a field by its path.
    """

    value: Any
    file: str = ""
    index: int = 0
    path: str = ""
    lines: dict[str, int] = {}

    def place(self, path: str) -> str:
        """``file:line`` of a field, or of the nearest thing around it whose line is known."""
        while path and path not in self.lines:
            path = parent(path)
        line = self.lines.get(path)
        return f"{self.file}:{line}" if line else self.file


def child(path: str, key: str | int) -> str:
    """The path of a field or an item: ``a.b``, ``a[0]``, ``a["x/y"]``."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    if re.fullmatch(r"[\w-]+", key):
        return f"{path}.{key}" if path else key
    return f"{path}[{json.dumps(key, ensure_ascii=False)}]"


def parent(path: str) -> str:
    """The path one level up; empty at the root."""
    if path.endswith('"]'):
        return path[: path.rfind('["')]
    if path.endswith("]"):
        return path[: path.rfind("[")]
    return path.rpartition(".")[0]


def parse(text: str, file: str = "") -> list[Document]:
    """The documents of a YAML or JSON text, empty ones left out.

    JSON is what opens with a bracket in a file that ends in ``.json``: some such files hold YAML.

    Raises:
        SpecError: the text is malformed, over a bound, or says a key twice.
    """
    if len(text) > MAX_BYTES:
        raise SpecError(f"expected at most {MAX_BYTES} characters, found {len(text)}", place=file)
    is_json = file.endswith(".json") and text.lstrip().startswith(("{", "["))
    documents = _parse_json(text, file) if is_json else _parse_yaml(text, file)
    return [document for document in documents if document.value is not None]


# ---- JSON


def _parse_json(text: str, file: str) -> list[Document]:
    def constant(name: str) -> Any:
        raise SpecError(f"expected JSON, found {name}", place=file)

    def mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise SpecError(f"the field {twice!r} is written twice", place=file)
        return found

    try:
        value = json.loads(text, object_pairs_hook=mapping, parse_constant=constant)
        json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair cannot be written anywhere
    except json.JSONDecodeError as error:
        raise SpecError(
            f"expected JSON: {error.msg}, in column {error.colno}", place=f"{file}:{error.lineno}"
        ) from None
    except RecursionError:
        raise SpecError(f"expected at most {MAX_NESTING} levels of nesting", place=file) from None
    except ValueError as error:  # an integer of thousands of digits
        raise SpecError(f"expected JSON: {error}", place=file) from None
    _check_nesting(value, file)
    return [Document(value=value, file=file)]


def _check_nesting(value: Any, file: str) -> None:
    level = [value]
    for _ in range(MAX_NESTING + 1):
        level = [item for found in level for item in _items(found)]
        if not level:
            return
    raise SpecError(f"expected at most {MAX_NESTING} levels of nesting", place=file)


def _items(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


# ---- YAML


_CORE = "tag:yaml.org,2002:"
_PLAIN = "plain"


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Composes nodes only; values are built by ``_Builder``. Written in Python, so that nesting is counted."""

    depth = 0

    def resolve(self, kind: Any, value: Any, implicit: Any) -> str:
        """The tag of a node that has none; plain scalars get one of our own."""
        if kind is yaml.ScalarNode:
            plain = implicit[0]
            return _CORE + "merge" if plain and value == "<<" else _PLAIN if plain else _CORE + "str"
        return _CORE + ("seq" if kind is yaml.SequenceNode else "map")

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.depth += 1
        if self.depth > MAX_NESTING:
            mark = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(None, None, f"expected at most {MAX_NESTING} levels of nesting", mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*|0o?[0-7]+|0x[0-9a-fA-F]+)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_TRUE = frozenset(("true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"))
_FALSE = frozenset(("false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"))
_NULL = frozenset(("", "~", "null", "Null", "NULL"))


def _parse_yaml(text: str, file: str) -> Iterator[Document]:
    try:
        loader = _Loader(text)
    except yaml.YAMLError as error:
        raise _syntax_error(error, file) from None
    try:
        index = 0
        while loader.check_node():
            loader.depth = 0
            builder = _Builder(file)
            value = builder.build(loader.get_node(), "")
            yield Document(value=value, file=file, index=index, lines=builder.lines)
            index += 1
    except yaml.YAMLError as error:
        raise _syntax_error(error, file) from None
    except (ValueError, IndexError, OverflowError) as error:  # PyYAML on escapes beyond Unicode
        raise SpecError(f"expected YAML: {error}", place=file) from None
    finally:
        loader.dispose()


def _syntax_error(error: yaml.YAMLError, file: str) -> SpecError:
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        text = ", ".join(part for part in (error.context, error.problem) if part)
        place = f"{file}:{mark.line + 1}" if mark else file
        return SpecError(f"expected YAML: {text}", place=place)
    if isinstance(error, yaml.reader.ReaderError):
        return SpecError(f"expected YAML: {error.reason} (position {error.position})", place=file)
    return SpecError(f"expected YAML: {error}", place=file)


class _Builder:
    """Turns composed nodes into values, and notes the line of each path."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.lines: dict[str, int] = {}
        self.count = 0
        self.open: list[yaml.Node] = []

    def error(self, message: str, node: yaml.Node, path: str = "") -> SpecError:
        return SpecError(message, at=path or None, place=f"{self.file}:{node.start_mark.line + 1}")

    def build(self, node: yaml.Node, path: str) -> Any:
        self.count += 1
        # An alias is built again at each use: that is where a short file can become a huge value.
        if self.count > MAX_VALUES:
            raise self.error(f"expected at most {MAX_VALUES} values, counting each use of an anchor", node)
        self.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.ScalarNode):
            self.check_text(node, path)
            return self.scalar(node, path)
        if any(node is opened for opened in self.open):
            raise self.error("an anchor contains itself", node, path)
        if len(self.open) >= MAX_NESTING:
            raise self.error(f"expected at most {MAX_NESTING} levels of nesting", node)
        self.open.append(node)
        try:
            if isinstance(node, yaml.SequenceNode):
                self.check_tag(node, "seq", path)
                return [self.build(item, child(path, index)) for index, item in enumerate(node.value)]
            self.check_tag(node, "map", path)
            return self.mapping(node, path)
        finally:
            self.open.pop()

    def mapping(self, node: yaml.Node, path: str) -> dict[str, Any]:
        own: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self.error("expected a text as the name of a field, found a list or mapping", key, path)
            if key.tag == _CORE + "merge":
                for name, found in self.merge(value, path).items():
                    merged.setdefault(name, found)
                continue
            self.check_text(key, path)
            field = child(path, key.value)
            if key.value in own:
                raise self.error("the field is written twice", key, field)
            self.lines[field] = key.start_mark.line + 1
            own[key.value] = self.build(value, field)
        return merged | own

    def merge(self, node: yaml.Node, path: str) -> dict[str, Any]:
        found = self.build(node, path)
        mappings = found if isinstance(found, list) else [found]
        result: dict[str, Any] = {}
        for mapping in mappings:
            if not isinstance(mapping, dict):
                raise self.error("expected a mapping, or a list of them, after <<", node, path)
            for name, value in mapping.items():
                result.setdefault(name, value)
        return result

    def check_tag(self, node: yaml.Node, kind: str, path: str) -> None:
        if node.tag != _CORE + kind:
            raise self.error(f"the tag {_short(node.tag)} is not taken here", node, path)

    def check_text(self, node: yaml.ScalarNode, path: str) -> None:
        try:
            node.value.encode()
        except UnicodeEncodeError:
            raise self.error("expected text, found half a surrogate pair", node, path) from None

    def scalar(self, node: yaml.Node, path: str) -> Any:
        text: str = node.value
        if node.tag in (_CORE + "str", _CORE + "merge"):
            return text
        value: Any = _plain(text)
        if node.tag == _PLAIN:
            return value
        kinds: dict[str, tuple[type, ...]] = {"int": (int,), "float": (float, int), "bool": (bool,)}
        kind = node.tag.removeprefix(_CORE)
        if kind == "null" and value is None:
            return None
        if kind not in kinds or not isinstance(value, kinds[kind]) or (kind != "bool" and isinstance(value, bool)):
            raise self.error(f"the tag {_short(node.tag)} is not taken here", node, path)
        return float(value) if isinstance(value, int) and kind == "float" else value


def _short(tag: str) -> str:
    return tag.replace(_CORE, "!!")


def _plain(text: str) -> Any:
    """The value of an unquoted scalar."""
    if text in _NULL:
        return None
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    if len(text) <= 64 and _INTEGER.fullmatch(text):
        return _integer(text)
    if len(text) <= 64 and _FLOAT.fullmatch(text):
        number = float(text)
        return number if math.isfinite(number) else text
    return text


def _integer(text: str) -> int:
    digits = text.lstrip("+-")
    sign = -1 if text.startswith("-") else 1
    if digits.startswith("0x"):
        return sign * int(digits, 16)
    if len(digits) > 1 and digits.startswith("0"):  # YAML 1.1, as Kubernetes reads it: 0644 is octal
        return sign * int(digits.replace("o", ""), 8)
    return sign * int(digits)
