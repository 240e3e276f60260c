"""The fields of a structure and their defaults, looked up once for each type: it takes long."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import msgspec


class Field(NamedTuple):
    """``written`` is its name in JSON; ``usual`` its default, ``msgspec.NODEFAULT`` where it has none."""

    name: str
    written: str
    usual: Any


@functools.cache
def of(kind: type[msgspec.Struct]) -> tuple[Field, ...]:
    """Those of a type, in their order."""
    return tuple(Field(one.name, one.encode_name, _usual(one)) for one in msgspec.structs.fields(kind))


def _usual(field: msgspec.structs.FieldInfo) -> Any:
    return field.default_factory() if field.default_factory is not msgspec.NODEFAULT else field.default
