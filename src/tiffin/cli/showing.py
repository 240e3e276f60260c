"""Values in the format that ``-o`` asks for."""

from __future__ import annotations

from typing import Any

from tiffin.cli import jsonpath, output
from tiffin.errors import SpecError

FORMATS = ("", "wide", "name", "json", "yaml")


def form(given: str, as_json: bool) -> str:
    """The format asked for; raises SpecError for one that is not known."""
    if as_json and given not in ("", "json"):
        raise SpecError(f"expected --json or -o {given}, found both")
    found = "json" if as_json else given.strip().lstrip("=")
    if found not in FORMATS and not found.startswith("jsonpath="):
        raise SpecError(f"expected -o to be one of json, yaml, wide, name, jsonpath=..., found {given!r}")
    return found


def is_data(form: str) -> bool:
    """Whether the format is one for machines."""
    return form in ("json", "yaml") or form.startswith("jsonpath=")


def data(value: Any, form: str) -> None:
    """Print a value as JSON, YAML or what a path finds in it."""
    if form == "json":
        output.data(value)
    elif form == "yaml":
        print(yaml(value), end="", flush=True)
    else:
        print(jsonpath.text(form.removeprefix("jsonpath=").strip("'\""), plain(value)), flush=True)


def plain(value: Any) -> Any:
    """Structs as mappings, tuples as lists."""
    import msgspec

    return msgspec.json.decode(msgspec.json.encode(value))


def yaml(value: Any) -> str:
    """A value as YAML, in the order of its fields."""
    import yaml as library

    text: str = library.safe_dump(plain(value), sort_keys=False, allow_unicode=True, width=110)
    return text
