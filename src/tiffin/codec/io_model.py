"""``IODescriptor``: a pydantic model whose fields may be arrays, frames, images and files."""

from __future__ import annotations

import functools
import warnings
from typing import Annotated, Any

from pydantic import BaseModel, GetCoreSchemaHandler, create_model
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema

from tiffin.codec.annotations import adapt


class IODescriptor(BaseModel):
    """Base class for input and output models with fields such as ``numpy.ndarray``."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Put our schemas into the fields before pydantic reads them."""
        for field in cls.model_fields.values():
            adapted = adapt(_whole(field))
            metadata = getattr(adapted, "__metadata__", ())
            field.annotation = adapted.__origin__ if metadata else adapted
            field.metadata = list(metadata)
        return handler(source)


def has_adapted_fields(model: type[BaseModel]) -> bool:
    """Whether a model has arrays, frames, images or files among its fields."""
    return any(adapt(_whole(field)) != _whole(field) for field in model.model_fields.values())


def _whole(field: FieldInfo) -> Any:
    return Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation


@functools.cache
def described(model: type[BaseModel]) -> type[BaseModel]:
    """A subclass of the model that reads arrays and files in its fields.

    Its name, the model's with ``IODescriptor`` behind it, shows in schemas and error messages, as in BentoML.
    """
    if issubclass(model, IODescriptor):
        return model
    bases = (IODescriptor, model) if has_adapted_fields(model) else (model,)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return create_model(f"{model.__name__}IODescriptor", __base__=bases, __module__=model.__module__)
