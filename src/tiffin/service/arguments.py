"""Template arguments: values a service's module reads while it is imported, given when it is built or served."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, TypeVar, overload

from tiffin.errors import ServiceError

M = TypeVar("M")

VARIABLES = ("TIFFIN_ARGS", "BENTOML_ARGS")
"""Where a replica finds them, as a JSON object."""

_defaults: dict[str, Any] = {}


@overload
def use_arguments() -> Any: ...
@overload
def use_arguments(model: type[M], /) -> M: ...
def use_arguments(model: type[Any] | None = None, /) -> Any:
    """The values of ``--arg name=value``, ``--arg-file`` and the build file's ``args``.

    Example::

        class Arguments(pydantic.BaseModel):
            model: str = "iris:latest"

        arguments = tiffin.use_arguments(Arguments)

    Args:
        model: A pydantic model that says what there is; without one, every value is an attribute, as it came.

    Raises:
        ServiceError: the values do not fit the model.
    """
    values = given()
    if model is None:
        return SimpleNamespace(**values)
    try:
        return model(**values)
    except Exception as error:
        if type(error).__name__ != "ValidationError":
            raise
        raise ServiceError(
            f"the template arguments do not fit {model.__name__}: {error}",
            hint="give them with --arg NAME=VALUE or --arg-file FILE",
        ) from None


def given(environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Every argument by name; those of the build file give way to those of the environment."""
    environment = os.environ if environment is None else environment
    values = dict(_defaults)
    for name in reversed(VARIABLES):
        if text := environment.get(name):
            try:
                found = json.loads(text)
            except json.JSONDecodeError as error:
                raise ServiceError(f"expected a JSON object in ${name}: {error}") from None
            if not isinstance(found, dict):
                raise ServiceError(f"expected a JSON object in ${name}, found {text[:60]!r}")
            values |= found
    return values


def set_defaults(values: Mapping[str, Any]) -> None:
    """What the build file says, before the service's module is imported."""
    _defaults.clear()
    _defaults.update(values)


def parse(words: list[str], file: str | None = None) -> dict[str, Any]:
    """Arguments from a command line: ``name=value`` words, whose values stay text, over those of a YAML file.

    Raises:
        ServiceError: a word without ``=``, or a file that is no mapping.
    """
    import yaml

    values: dict[str, Any] = {}
    if file is not None:
        try:
            with open(file, encoding="utf-8") as stream:
                found = yaml.safe_load(stream)
        except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
            raise ServiceError(f"cannot read the arguments: {error}", at=file) from None
        if not isinstance(found, dict):
            raise ServiceError("expected names and values", at=file)
        values |= {str(name): value for name, value in found.items()}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise ServiceError(f"expected --arg NAME=VALUE, found {word!r}")
        values[name] = text
    return values
