"""Forms a value of a file can have: each reads a value, and describes itself as JSON Schema.

One table of forms (``tiffin_fields``) is the parser and the published schema at once, so that an editor and
Tiffin agree. A mapping reads as a dict of the fields that are there; ``null`` counts as absent.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from tiffin.dialects import kubernetes, pods
from tiffin.dialects.documents import child
from tiffin.dialects.fields import Reader, describe, one_of


class Shape(Protocol):
    """``read`` raises SpecError, with the path, when a value has another form."""

    def read(self, reader: Reader, value: Any, path: str) -> Any: ...

    def schema(self) -> dict[str, Any]: ...


class Text:
    """A string; ``pattern`` must match all of it (syntax that Python and JavaScript share)."""

    def __init__(self, pattern: str = "", expected: str = "", hint: str = "") -> None:
        self._pattern = re.compile(pattern) if pattern else None
        self._expected = expected
        self._hint = hint or None

    def read(self, reader: Reader, value: Any, path: str) -> str:
        if not isinstance(value, str):
            hint = "put it in quotes" if isinstance(value, bool | int | float) else None
            raise reader.error(path, f"expected {self._expected or 'a string'}, found {describe(value)}", hint)
        if not value:
            raise reader.error(path, "required, found an empty string")
        if "\0" in value:
            raise reader.error(path, "expected text without a zero character")
        if self._pattern is not None and not self._pattern.fullmatch(value):
            raise reader.error(path, f"expected {self._expected}, found {describe(value)}", self._hint)
        return value

    def schema(self) -> dict[str, Any]:
        found: dict[str, Any] = {"type": "string", "minLength": 1}
        return found | ({"pattern": f"^(?:{self._pattern.pattern})$"} if self._pattern else {})


class AnyText:
    """A string, which may be empty."""

    def read(self, reader: Reader, value: Any, path: str) -> str:
        if not isinstance(value, str):
            hint = "put it in quotes" if isinstance(value, bool | int | float) else None
            raise reader.error(path, f"expected a string, found {describe(value)}", hint)
        if "\0" in value:
            raise reader.error(path, "expected text without a zero character")
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "string"}


class Choice:
    """One of some strings; reads as what it stands for."""

    def __init__(self, choices: Mapping[str, Any] | tuple[str, ...]) -> None:
        self._choices = choices if isinstance(choices, Mapping) else {name: name for name in choices}

    def read(self, reader: Reader, value: Any, path: str) -> Any:
        if not isinstance(value, str) or value not in self._choices:
            raise reader.error(path, f"expected {one_of(self._choices)}, found {describe(value)}")
        return self._choices[value]

    def schema(self) -> dict[str, Any]:
        return {"enum": list(self._choices)}


class Flag:
    """True or false; ``only`` allows one of them."""

    def __init__(self, only: bool | None = None) -> None:
        self._only = only

    def read(self, reader: Reader, value: Any, path: str) -> bool:
        if not isinstance(value, bool):
            raise reader.error(path, f"expected true or false, found {describe(value)}")
        if self._only not in (None, value):
            raise reader.error(path, f"expected {describe(self._only)}, found {describe(value)}")
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"} if self._only is None else {"const": self._only}


class Whole:
    """An integer within bounds."""

    def __init__(self, least: int = 0, most: int = 2**31 - 1, hint: str = "") -> None:
        self._least, self._most = least, most
        self._hint = hint or None

    def read(self, reader: Reader, value: Any, path: str) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise reader.error(path, f"expected an integer, found {describe(value)}")
        if value < self._least:
            raise reader.error(path, f"expected at least {self._least}, found {describe(value)}", self._hint)
        if value > self._most:
            raise reader.error(path, f"expected at most {self._most}, found {describe(value)}")
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "integer", "minimum": self._least, "maximum": self._most}


class Number:
    """A number of at least ``least``, or more than ``above``."""

    def __init__(self, *, least: float | None = None, above: float | None = None, most: float = 1e18) -> None:
        self._least, self._above, self._most = least, above, most

    def read(self, reader: Reader, value: Any, path: str) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool) or math.isnan(value):
            raise reader.error(path, f"expected a number, found {describe(value)}")
        if self._least is not None and value < self._least:
            raise reader.error(path, f"expected at least {self._least:g}, found {describe(value)}")
        if self._above is not None and value <= self._above:
            raise reader.error(path, f"expected more than {self._above:g}, found {describe(value)}")
        if not -self._most <= value <= self._most:
            raise reader.error(path, f"expected at most {self._most:g}, found {describe(value)}")
        return float(value)

    def schema(self) -> dict[str, Any]:
        found: dict[str, Any] = {"type": "number", "minimum": -self._most, "maximum": self._most}
        if self._least is not None:
            found["minimum"] = self._least
        if self._above is not None:
            del found["minimum"]
            found["exclusiveMinimum"] = self._above
        return found


class Written:
    """A string in a notation; ``convert`` gives its value."""

    def __init__(self, pattern: str, expected: str, convert: Callable[[str], Any]) -> None:
        self._text = Text(pattern, expected)
        self._convert = convert

    def read(self, reader: Reader, value: Any, path: str) -> Any:
        return self._convert(self._text.read(reader, value, path))

    def schema(self) -> dict[str, Any]:
        return self._text.schema()


class Either:
    """One of several forms, told apart by the kind of value: ``bool``, ``number``, ``str``, ``dict``, ``list``."""

    def __init__(self, expected: str, hint: str = "", **shapes: Shape) -> None:
        self._expected = expected
        self._hint = hint or None
        self._shapes = shapes

    def read(self, reader: Reader, value: Any, path: str) -> Any:
        kind = "bool" if isinstance(value, bool) else type(value).__name__
        kind = "number" if kind in ("int", "float") else kind
        if kind not in self._shapes:
            raise reader.error(path, f"expected {self._expected}, found {describe(value)}", self._hint)
        return self._shapes[kind].read(reader, value, path)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [shape.schema() for shape in self._shapes.values()]}


class ListOf:
    """A list."""

    def __init__(self, shape: Shape, *, least: int = 0, most: int = 1000) -> None:
        self._shape, self._least, self._most = shape, least, most

    def read(self, reader: Reader, value: Any, path: str) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise reader.error(path, f"expected a list, found {describe(value)}")
        if not self._least <= len(value) <= self._most:
            raise reader.error(path, f"expected {self._least} to {self._most} items, found {len(value)}")
        return tuple(self._shape.read(reader, item, child(path, index)) for index, item in enumerate(value))

    def schema(self) -> dict[str, Any]:
        return {"type": "array", "items": self._shape.schema(), "minItems": self._least, "maxItems": self._most}


class MapOf:
    """A mapping whose keys are the author's own."""

    def __init__(self, shape: Shape, key: Text | None = None, *, least: int = 0) -> None:
        self._shape, self._key, self._least = shape, key or Text(), least

    def read(self, reader: Reader, value: Any, path: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise reader.error(path, f"expected a mapping, found {describe(value)}")
        if len(value) < self._least:
            raise reader.error(path, f"expected at least {self._least} entries, found {len(value)}")
        found = {}
        for name, item in value.items():
            at = child(path, name)
            found[self._key.read(reader, name, at)] = self._shape.read(reader, item, at)
        return found

    def schema(self) -> dict[str, Any]:
        names = {key: item for key, item in self._key.schema().items() if key != "type"}
        found = {"type": "object", "additionalProperties": self._shape.schema(), "propertyNames": names}
        return found | ({"minProperties": self._least} if self._least else {})


class Foreign:
    """A mapping in another system's words, as it is; ``null`` counts as absent in it, too."""

    def read(self, reader: Reader, value: Any, path: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise reader.error(path, f"expected a mapping, found {describe(value)}")
        found: dict[str, Any] = pods.compact(value)
        return found

    def schema(self) -> dict[str, Any]:
        return {"type": "object"}


class Anything:
    """Whatever is there: fields that only a server writes."""

    def read(self, reader: Reader, value: Any, path: str) -> Any:
        return value

    def schema(self) -> dict[str, Any]:
        return {}


class Scalar:
    """A string, number or boolean, as it is."""

    def read(self, reader: Reader, value: Any, path: str) -> str | int | float | bool:
        if isinstance(value, str):
            return AnyText().read(reader, value, path)
        if isinstance(value, bool) or (isinstance(value, int | float) and -1e18 <= value <= 1e18):
            return value
        raise reader.error(path, f"expected a string, number or boolean, found {describe(value)}")

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": ["string", "boolean"]}, {"type": "number", "minimum": -1e18, "maximum": 1e18}]}


class Field:
    """A field of a mapping: its form, and what is said of it."""

    def __init__(self, shape: Shape, about: str = "", *, required: bool = False, example: Any = None) -> None:
        self.shape, self.about, self.required, self.example = shape, about, required, example

    def schema(self) -> dict[str, Any]:
        found = self.shape.schema()
        if self.about:
            found = {"description": self.about} | found
        return found | ({"examples": [self.example]} if self.example is not None else {})


class Record:
    """A mapping of known fields.

    Of each group of ``one_of`` exactly one field is there, of ``at_least`` one or more, of ``not_both`` at most
    one. A field of ``needs`` is there only beside the one it maps to.
    """

    def __init__(
        self,
        fields: Mapping[str, Field],
        *,
        one_of: tuple[tuple[str, ...], ...] = (),
        at_least: tuple[tuple[str, ...], ...] = (),
        not_both: tuple[tuple[str, str], ...] = (),
        needs: Mapping[str, str] | None = None,
    ) -> None:
        self.fields = dict(fields)
        self._one_of, self._at_least, self._not_both, self._needs = one_of, at_least, not_both, dict(needs or {})

    def read(self, reader: Reader, value: Any, path: str) -> dict[str, Any]:
        opened = reader.open(value, path)
        opened.known.update(self.fields)
        required = [name for name, field in self.fields.items() if field.required]
        if any(not opened.has(name) for name in required) or not self._fits(opened.value):
            opened.finish()  # a misspelt field is better news than a missing one
        for name in required:
            opened.require(name)
        self._check(reader, opened.value, path)
        return {
            name: field.shape.read(reader, opened.value[name], child(path, name))
            for name, field in self.fields.items()
            if opened.has(name)
        }

    def _present(self, value: Mapping[str, Any], names: tuple[str, ...]) -> list[str]:
        return [name for name in names if value.get(name) is not None]

    def _fits(self, value: Mapping[str, Any]) -> bool:
        one = all(len(self._present(value, names)) == 1 for names in self._one_of)
        return one and all(self._present(value, names) for names in self._at_least)

    def _check(self, reader: Reader, value: Mapping[str, Any], path: str) -> None:
        for names in self._one_of:
            found = self._present(value, names)
            if len(found) != 1:
                wanted = f"{', '.join(names[:-1])} and {names[-1]}"
                raise reader.error(path, f"expected one of {wanted}, found {' and '.join(found) or 'none'}")
        for names in self._at_least:
            if not self._present(value, names):
                raise reader.error(path, f"expected {' or '.join(names)}, found none of them")
        for first, second in self._not_both:
            if len(self._present(value, (first, second))) == 2:
                raise reader.error(child(path, second), f"expected {first} or {second}, found both")
        for name, other in self._needs.items():
            if value.get(name) is not None and value.get(other) is None:
                raise reader.error(child(path, name), f"has a meaning beside {other} only")

    def schema(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "type": "object",
            "properties": {name: field.schema() for name, field in self.fields.items()},
            "additionalProperties": False,
        }
        if required := [name for name, field in self.fields.items() if field.required]:
            found["required"] = required
        rules: list[dict[str, Any]] = []
        rules += [{"oneOf": [{"required": [name]} for name in names]} for names in self._one_of]
        rules += [{"anyOf": [{"required": [name]} for name in names]} for names in self._at_least]
        rules += [{"not": {"required": list(names)}} for names in self._not_both]
        if rules:
            found["allOf"] = rules
        if self._needs:
            found["dependentRequired"] = {name: [other] for name, other in self._needs.items()}
        return found


# ---- notations


_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_PERCENT = r"(?:100(?:\.0{1,9})?|[0-9]{1,2}(?:\.[0-9]{1,9})?)%"
QUANTITY = r"(?:[0-9]{1,30}(?:\.[0-9]{0,30})?|\.[0-9]{1,30})(?:[numkMGTPE]|[KMGTPE]i|[eE][-+]?[0-9]{1,2})?"


def _seconds(text: str) -> float:
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))


def _percent(text: str) -> float:
    return float(text[:-1])


def _amount(text: str) -> float:
    return kubernetes.quantity(_NOBODY, text, "")


_NOBODY: Any = None  # The pattern has matched by then, so nobody is told of an error.

_EXPECTED_TIME = "a time such as 30s, 2m or 1.5 (seconds)"
_EXPECTED_PERCENT = "a percentage from 0 to 100, such as 5%"
_EXPECTED_SIZE = 'a size such as "64Mi", or bytes'
_EXPECTED_AMOUNT = 'an amount such as "500m", "2" or "4Gi"'

_TIME = r"(?:[0-9]{1,9}(?:\.[0-9]{1,9})?(?:ms|s|m|h|d)){1,5}"
DURATION = Either(_EXPECTED_TIME, number=Number(least=0, most=1e15), str=Written(_TIME, _EXPECTED_TIME, _seconds))
"""Seconds, or text with units. Reads as seconds."""
TIMEOUT = Either(
    _EXPECTED_TIME,
    number=Number(above=0, most=1e15),
    str=Written(rf"(?=.*[1-9]){_TIME}", f"{_EXPECTED_TIME} above zero", _seconds),
)
"""A duration above zero."""
PERCENT = Either(
    _EXPECTED_PERCENT, number=Number(least=0, most=100), str=Written(_PERCENT, _EXPECTED_PERCENT, _percent)
)
"""``5`` or ``5%``. Reads as a percentage."""
SHARE = Written(_PERCENT, "a percentage with its sign, such as 1%", lambda text: round(_percent(text) / 100, 12))
"""``1%`` only, since a bare 0.01 could mean two things. Reads as a share from 0 to 1."""
SIZE = Either(
    _EXPECTED_SIZE,
    number=Whole(1, 2**60),
    str=Written(rf"(?=[0-9.]*[1-9]){QUANTITY}", _EXPECTED_SIZE, lambda text: math.ceil(_amount(text))),
)
"""Bytes."""
AMOUNT = Either(
    _EXPECTED_AMOUNT, number=Number(least=0, most=1e18), str=Written(QUANTITY, _EXPECTED_AMOUNT, _amount)
)
"""A Kubernetes quantity."""
