"""Walk a mapping by path: take what is known, then name everything else.

A dialect takes each field once, by name and type; ``Reader.finish`` then refuses what nobody took. Fields that
are known but not honoured are refused (``refuse``) or listed as warnings (``ignore``), by their path. So nothing
in a file is dropped without a word.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from tiffin.dialects import pods
from tiffin.dialects.documents import Document, child
from tiffin.errors import SpecError
from tiffin.spec import SpecWarning
from tiffin.spec.views import Target, warnings_for

LATER = "belongs to a later version of Tiffin"
NO_EFFECT = "has no effect on this machine"
ELSEWHERE = "has no effect on this cluster"
UNKNOWN = "is not known to this version of Tiffin, and has no effect"
NO_BURST = f"{NO_EFFECT}: the gateway is in the path always, and lets calls wait for the replicas there are"
NO_GRACE = f"{NO_EFFECT}: the last replica goes only once calls are held, however long that takes"

_KINDS = {str: "a string", bool: "true or false", int: "an integer", float: "a number", dict: "a mapping",
          list: "a list", type(None): "nothing"}  # fmt: skip


class Reader:
    """Reads one document; collects its warnings and remembers every mapping that was opened.

    ``target`` is where it is to run: what only another target can do is refused, or warned of.
    """

    def __init__(self, document: Document, target: Target = "local") -> None:
        self.document = document
        self.target = target
        self.warnings: list[SpecWarning] = []
        self._opened: list[Fields] = []

    def root(self) -> Fields:
        """The document itself, which must be a mapping."""
        return self.open(self.document.value, self.document.path)

    def open(self, value: Any, path: str) -> Fields:
        if not isinstance(value, dict):
            raise self.error(path, f"expected a mapping, found {describe(value)}")
        fields = Fields(self, value, path)
        self._opened.append(fields)
        return fields

    def error(self, path: str, message: str, hint: str | None = None) -> SpecError:
        return SpecError(message, hint=hint, at=path or None, place=self.document.place(path) or None)

    def warn(self, path: str, message: str, target: Target = "") -> None:
        """``target``: the only one that the warning is true of."""
        self.warnings.append(SpecWarning(path, message, target))

    def warn_each(self, path: str, on_machine: str, on_cluster: str) -> None:
        """Warn of what neither target honours, each in its own words."""
        self.warn(path, on_machine, "local")
        self.warn(path, on_cluster, "kubernetes")

    def refuse_here(self, path: str, message: str, hint: str | None = None) -> None:
        """Raise where it is read for one machine, which cannot do what a cluster can."""
        if self.target == "local":
            raise self.error(path, message, hint)
        self.warn(path, message, "local")

    def finish(self) -> tuple[SpecWarning, ...]:
        """Refuse every field nobody took; the warnings for the target, in the order they were found."""
        for fields in self._opened:
            fields.finish()
        return warnings_for(self.warnings, self.target)


class Fields:
    """One mapping of a document. A field that is ``null`` counts as absent, as in Kubernetes.

    Every method that takes a field raises SpecError when its value has another type.
    """

    def __init__(self, reader: Reader, value: Mapping[str, Any], path: str) -> None:
        self.reader = reader
        self.value = value
        self.path = path
        self.known: set[str] = set()

    def at(self, name: str) -> str:
        return child(self.path, name)

    def error(self, name: str, message: str, hint: str | None = None) -> SpecError:
        return self.reader.error(self.at(name) if name else self.path, message, hint)

    def warn(self, name: str, message: str, target: Target = "") -> None:
        self.reader.warn(self.at(name), message, target)

    def has(self, name: str) -> bool:
        return self.value.get(name) is not None

    def raw(self, name: str) -> Any:
        """The value as it is, ``None`` when absent; the field counts as taken."""
        self.known.add(name)
        return self.value.get(name)

    def require(self, name: str) -> None:
        """Raise unless the field is there; a field of nearly that name is taken for a slip of the pen."""
        self.miss(name)
        if not self.has(name):
            raise self.error(name, "required, found nothing")

    def miss(self, name: str) -> None:
        """Raise when an absent field is there under nearly its name."""
        self.known.add(name)
        if self.has(name):
            return
        unknown = {key.lower(): key for key in self.value if key not in self.known}
        for key in difflib.get_close_matches(name.lower(), unknown, n=1, cutoff=0.75):
            raise self._unknown(unknown[key])

    # ---- values

    def text(self, name: str, default: str = "", *, required: bool = False, choices: Iterable[str] = ()) -> str:
        if required:
            self.require(name)
        found = self.raw(name)
        if found is None:
            return default
        found = self._scalar(found, self.at(name), scalars=False)
        if required and not found:
            raise self.error(name, "required, found an empty string")
        choices = tuple(choices)
        if choices and found not in choices:
            raise self.error(name, f"expected {one_of(choices)}, found {describe(found)}")
        return found

    def integer(self, name: str, *, minimum: int | None = None, maximum: int = 2**31 - 1) -> int | None:
        found = self.raw(name)
        if isinstance(found, float) and found.is_integer():
            found = int(found)
        if found is None:
            return None
        if not isinstance(found, int) or isinstance(found, bool):
            raise self.error(name, f"expected an integer, found {describe(found)}")
        if (minimum is not None and found < minimum) or found > maximum:
            least = f"at least {minimum}" if minimum is not None and found < minimum else f"at most {maximum}"
            raise self.error(name, f"expected {least}, found {describe(found)}")
        return found

    def number(self, name: str, *, above: float | None = None) -> float | None:
        found = self.raw(name)
        if found is None:
            return None
        if not isinstance(found, int | float) or isinstance(found, bool) or abs(found) > 1e18 or math.isnan(found):
            raise self.error(name, f"expected a number, found {describe(found)}")
        if above is not None and found <= above:
            raise self.error(name, f"expected more than {above:g}, found {describe(found)}")
        return float(found)

    def flag(self, name: str) -> bool | None:
        found = self.raw(name)
        if found is not None and not isinstance(found, bool):
            raise self.error(name, f"expected true or false, found {describe(found)}")
        return found

    def mapping(self, name: str) -> Fields | None:
        found = self.raw(name)
        return None if found is None else self.reader.open(found, self.at(name))

    def section(self, name: str) -> Fields:
        """A mapping that must be there."""
        self.require(name)
        return self.reader.open(self.raw(name), self.at(name))

    def items(self, name: str, *, required: bool = False) -> list[Any]:
        if required:
            self.require(name)
        found = self.raw(name)
        if found is None:
            return []
        if not isinstance(found, list):
            raise self.error(name, f"expected a list, found {describe(found)}")
        return found

    def mappings(self, name: str, *, required: bool = False) -> list[Fields]:
        """A list of mappings."""
        found = self.items(name, required=required)
        return [self.reader.open(item, child(self.at(name), index)) for index, item in enumerate(found)]

    def scalar(self, name: str) -> str | None:
        """A string, or a number or boolean written without quotes, as text."""
        found = self.raw(name)
        return None if found is None else self._scalar(found, self.at(name), scalars=True)

    def _scalar(self, value: Any, path: str, *, scalars: bool) -> str:
        written = isinstance(value, bool | int | float)
        if scalars and written:
            return json.dumps(value)
        if not isinstance(value, str):
            message = f"expected a string, found {describe(value)}"
            raise self.reader.error(path, message, "put it in quotes" if written else None)
        if "\0" in value:
            raise self.reader.error(path, "expected text without a zero character")
        return value

    def texts(self, name: str, *, or_one: bool = False) -> tuple[str, ...]:
        """A list of strings; with ``or_one`` a single string will do."""
        if or_one and isinstance(self.value.get(name), str):
            return (self.text(name),)
        found = self.items(name)
        for index, item in enumerate(found):
            if not isinstance(item, str):
                path = child(self.at(name), index)
                raise self.reader.error(path, f"expected a string, found {describe(item)}")
        return tuple(found)

    def text_map(self, name: str, *, scalars: bool = False) -> dict[str, str]:
        """A mapping of strings; with ``scalars`` numbers and booleans become text."""
        found = self.raw(name)
        if found is None:
            return {}
        if not isinstance(found, dict):
            raise self.error(name, f"expected a mapping, found {describe(found)}")
        return {
            key: self._scalar(value, child(self.at(name), key), scalars=scalars) for key, value in found.items()
        }

    # ---- fields that are known, but not honoured

    def accept(self, *names: str) -> None:
        """Take fields that say nothing about what should run (what a server wrote into the file)."""
        self.known.update(names)

    def refuse(self, name: str, message: str, hint: str | None = None) -> None:
        """Raise when the field is there and says something."""
        if not is_empty(self.raw(name)):
            raise self.error(name, message, hint)

    def ignore(self, names: Iterable[str], message: str, target: Target = "") -> None:
        """Warn of each of these fields that is there and says something."""
        for name in names:
            if not is_empty(self.raw(name)):
                self.warn(name, message, target)

    def ignore_each(self, names: Iterable[str], on_cluster: str) -> None:
        """Warn of each of these fields, which no target honours."""
        for name in names:
            if not is_empty(self.raw(name)):
                self.reader.warn_each(self.at(name), NO_EFFECT, on_cluster)

    def for_pods(self, names: Iterable[str]) -> dict[str, Any]:
        """Those of the fields that are there, as they are: a cluster honours them, one machine warns."""
        names = [name for name in names if self.raw(name) is not None]
        self.ignore(names, NO_EFFECT, "local")
        return {name: pods.compact(self.value[name]) for name in names}

    def mapping_for_pods(self, name: str) -> dict[str, Any]:
        """The same for one field, which is a mapping."""
        found = self.for_pods((name,)).get(name, {})
        if not isinstance(found, dict):
            raise self.error(name, f"expected a mapping, found {describe(found)}")
        return found

    def ignore_unknown(self) -> None:
        """Warn of every field not taken so far."""
        for name in [name for name in self.value if name not in self.known]:
            nearest = self._nearest(name)
            told = (f"unknown field, {NO_EFFECT}{nearest}", f"unknown field, {ELSEWHERE}{nearest}")
            self.reader.warn_each(self.at(name), *told)
            self.known.add(name)

    def finish(self) -> None:
        """Refuse every field nobody took.

        What an API server took for a field of a newer version than is known here is warned of, when it is no slip
        of the pen.
        """
        for name in self.value:
            if name not in self.known:
                if self.reader.target != "kubernetes" or self._nearest(name):
                    raise self._unknown(name)
                self.warn(name, UNKNOWN)
                self.known.add(name)

    def _unknown(self, name: str) -> SpecError:
        nearest = self._nearest(name)
        hint = None if nearest else f"the fields here are {', '.join(sorted(self.known))}"
        return self.error(name, f"unknown field{nearest}", hint)

    def _nearest(self, name: str) -> str:
        folded = {known.lower(): known for known in sorted(self.known)}
        for found in difflib.get_close_matches(name.lower(), folded, n=1):
            return f'; did you mean "{folded[found]}"?'
        return ""


def is_empty(value: Any) -> bool:
    """Whether a value says nothing."""
    return value is None or value in ({}, [], "")


def describe(value: Any) -> str:
    """A value for a message: what it is, and the value itself when short."""
    if isinstance(value, str):
        return json.dumps(value[:80] + "..." if len(value) > 80 else value, ensure_ascii=False)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        text = str(value) if abs(value) < 1e30 else "a number beyond bounds"
        return f"{text} ({_KINDS[type(value)]})"
    return _KINDS.get(type(value), type(value).__name__)


def one_of(names: Iterable[str]) -> str:
    """``a, b or c``."""
    quoted = [f'"{name}"' for name in names]
    return " or ".join((", ".join(quoted[:-1]), quoted[-1])) if len(quoted) > 1 else quoted[0]


def slug(text: str) -> str:
    """Text as a name: lower case letters, digits and dashes; ``model`` when nothing is left."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:63].strip("-") or "model"
