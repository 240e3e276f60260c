"""A class in an image of Seldon's, as the container Seldon would start: what it is told, and understands."""

from __future__ import annotations

import json
from collections.abc import Mapping

import msgspec

from tiffin.dialects import seldon_graph
from tiffin.dialects.documents import Document
from tiffin.dialects.fields import Reader
from tiffin.dialects.seldon_pods import PORT
from tiffin.errors import SpecError
from tiffin.spec import ClassSource, Component, ContainerSource, Parameter

_KINDS = {bool: "BOOL", int: "INT", float: "FLOAT", str: "STRING"}


def parameter(one: Parameter) -> dict[str, str]:
    """A parameter as Seldon writes it: its value is always text."""
    text = str(one.value).lower() if isinstance(one.value, bool) else str(one.value)
    return {"name": one.name, "value": text, "type": _KINDS[type(one.value)]}


def program(component: Component, source: ClassSource) -> Component:
    """The component as a container of its image, told by variables what Seldon tells it.

    What the file sets by itself counts before them.
    """
    variables = {
        "PREDICTIVE_UNIT_SERVICE_PORT": str(PORT),
        "PREDICTIVE_UNIT_HTTP_SERVICE_PORT": str(PORT),
        "PREDICTIVE_UNIT_ID": source.unit,
        "PREDICTIVE_UNIT_IMAGE": source.image,
        "PREDICTIVE_UNIT_PARAMETERS": json.dumps([parameter(one) for one in source.parameters]),
        "SELDON_EXECUTOR_ENABLED": "true",
    }
    return msgspec.structs.replace(
        component,
        source=ContainerSource(image=source.image, port=PORT),
        environment={**variables, **component.environment},
    )


def told(source: ClassSource, environment: Mapping[str, str]) -> ClassSource:
    """The class with what its container was told, as ``program`` and Seldon's operator do.

    Raises:
        SpecError: the parameters are not written as Seldon writes them.
    """
    unit = environment.get("PREDICTIVE_UNIT_ID", "") or source.unit
    image = environment.get("PREDICTIVE_UNIT_IMAGE", "") or source.image
    text = environment.get("PREDICTIVE_UNIT_PARAMETERS", "")
    parameters = _parameters(text) if text else source.parameters
    return msgspec.structs.replace(source, unit=unit, image=image, parameters=parameters)


def _parameters(text: str) -> tuple[Parameter, ...]:
    try:
        written = json.loads(text)
    except ValueError as error:
        raise SpecError(f"expected a JSON list, {error}", at="PREDICTIVE_UNIT_PARAMETERS") from None
    reader = Reader(Document(value={"parameters": written}), "")
    return seldon_graph.parameters(reader.root())
