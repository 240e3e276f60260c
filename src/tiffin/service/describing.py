"""What a build asks of a service: its image, variables, models and schema, beside what a deployment asks."""

from __future__ import annotations

import os
from typing import Any

import msgspec

from tiffin.errors import ServiceError
from tiffin.service.definition import Service
from tiffin.spec.description import (
    ImageDescription,
    ModelDescription,
    ServiceDescription,
    VariableDescription,
)


def for_build(service: Service[Any], target: str) -> ServiceDescription:
    """The description, with what only a build needs to know.

    Raises:
        ServiceError: an entry of ``envs``, the image or a model is not what it must be.
    """
    # A module alone means the one service in it, which is known by now.
    found = service.describe(target if ":" in target else service.import_string)
    return msgspec.structs.replace(
        found,
        image=_image(service.image),
        envs=tuple(_variable(entry) for entry in service.envs),
        models=_models(service),
        schema=service.schema(),
        text=service.description or "",
    )


def _image(image: Any) -> ImageDescription | None:
    if image is None:
        return None
    if not hasattr(image, "steps") or not hasattr(image, "options"):
        raise ServiceError(f"expected image to be images.Image(...), found {type(image).__name__}")
    steps = tuple((name, tuple(_plain(argument) for argument in arguments)) for name, arguments in image.steps)
    return ImageDescription(options={k: _plain(v) for k, v in image.options.items()}, steps=steps)


def _plain(value: Any) -> Any:
    """Paths are text from here on; what cannot be written down is refused."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise ServiceError(f"expected text, numbers and lists in images.Image(...), found {type(value).__name__}")


def _variable(entry: Any) -> VariableDescription:
    try:
        return msgspec.convert(entry, VariableDescription)
    except msgspec.ValidationError as error:
        raise ServiceError(f"expected envs of name, value and stage: {error}") from error


def _models(service: Service[Any]) -> tuple[ModelDescription, ...]:
    found = {}
    for each in service.all_services().values():
        for model in each.models:
            if hasattr(model, "describe"):
                described = model.describe()
                found[msgspec.json.encode(described)] = described
    return tuple(found[key] for key in sorted(found))
