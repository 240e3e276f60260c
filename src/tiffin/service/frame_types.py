"""What came in a frame, made into what annotations say: models, dataclasses, dates, sets and tuples.

A frame keeps arrays, frames, images and files; of the rest it has the fields only, and the annotation of the
receiving side knows whose they were.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tiffin.codec.annotations import adapt
from tiffin.codec.files import Scratch
from tiffin.codec.inputs import MISSING, Arguments, resolve_default
from tiffin.service.endpoint import Endpoint

Convert = Callable[[Any], Any]

_EXACT = (str, int, float, bool, bytes)
_KEPT = frozenset({"numpy", "pandas", "polars", "torch", "tensorflow", "PIL", "pathlib"})
"""Packages whose values come as what they were."""


class ArgumentTypes:
    """The parameters of an endpoint, on the side that is called."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._named: dict[str, Convert] = {}
        self._positional: list[Convert] = []
        self._rest: Convert | None = None
        self._defaults: dict[str, Any] = {}
        for parameter in endpoint.parameters:
            convert = converter(parameter.annotation)
            if parameter.kind == "args":
                self._rest = convert
            elif parameter.kind != "kwargs":
                self._positional.append(convert)
                if parameter.kind == "plain":
                    self._named[parameter.name] = convert
                if type(parameter.default).__name__ == "FieldInfo":
                    self._defaults[parameter.name] = parameter.default

    def arguments(self, tree: Any) -> Arguments:
        """What to call the method with.

        Raises:
            pydantic.ValidationError: a value is not what its annotation says.
            TypeError: it is no pair of positional and named arguments.
        """
        positional, named = tree
        args = tuple(
            self._checked(self._positional[index] if index < len(self._positional) else self._rest, value)
            for index, value in enumerate(positional)
        )
        kwargs = {str(name): self._checked(self._named.get(name), value) for name, value in named.items()}
        for name, default in self._defaults.items():
            if name not in kwargs and not args and (value := resolve_default(default)) is not MISSING:
                kwargs[name] = value
        return Arguments(args, kwargs)

    def _checked(self, convert: Convert | None, value: Any) -> Any:
        if convert is None:
            return value
        try:
            return convert(value)
        except ValueError:
            # In one process nothing is checked: what is what it was goes through as it would there.
            if type(value).__module__.partition(".")[0] in _KEPT:
                return value
            raise


def result_converter(endpoint: Endpoint) -> Convert:
    """A function for what an endpoint gave back, or yielded, on the side that called.

    In one process nothing is checked, so what does not fit is given as it came.
    """
    convert = converter(endpoint.output.annotation)

    def converted(value: Any) -> Any:
        try:
            return convert(value)
        except ValueError:
            return value

    return converted


def converter(annotation: Any) -> Convert:
    """A function that makes of a value what the annotation says; raises pydantic's ValidationError."""
    if annotation is Any:
        return _as_it_is
    from pydantic import TypeAdapter

    try:
        adapter: TypeAdapter[Any] = TypeAdapter(adapt(annotation))
    except Exception:  # pydantic's schema errors have no common base; a class it cannot make is not made
        return _as_it_is
    context = {"scratch": Scratch()}  # only paths from outside need one, and they came as paths

    def convert(value: Any) -> Any:
        if type(value) is annotation and annotation in _EXACT:
            return value
        return adapter.validate_python(value, context=context, by_alias=True, by_name=True)

    return convert


def _as_it_is(value: Any) -> Any:
    return value
