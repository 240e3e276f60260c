"""A class in an image of Seldon's, as the container Seldon would start: for machines with a container engine."""

from __future__ import annotations

import json

import msgspec

from tiffin.dialects.seldon_pods import PORT
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
