"""``IODescriptor``: a pydantic model whose fields may be arrays, frames, images and files."""

from __future__ import annotations

import warnings
from typing import Annotated, Any

from pydantic import BaseModel, GetCoreSchemaHandler, create_model
from pydantic_core import CoreSchema

from tiffin.codec.annotations import adapt


class IODescriptor(BaseModel):
    """Base class for input and output models with fields such as ``numpy.ndarray``."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Put our schemas into the fields before pydantic reads them."""
        for field in cls.model_fields.values():
            adapted = adapt(Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation)
            metadata = getattr(adapted, "__metadata__", ())
            field.annotation = adapted.__origin__ if metadata else adapted
            field.metadata = list(metadata)
        return super().__get_pydantic_core_schema__(source, handler)


def described(model: type[BaseModel]) -> type[BaseModel]:
    """The model, or a subclass of it that reads arrays and files in its fields."""
    if issubclass(model, IODescriptor) or all(
        adapt(field.annotation) == field.annotation and not field.metadata for field in model.model_fields.values()
    ):
        return model
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return create_model(
            f"{model.__name__}IODescriptor", __base__=(IODescriptor, model), __module__=model.__module__
        )
