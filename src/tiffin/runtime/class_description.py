"""What a plain class says of itself: Seldon's metadata of a node and a graph, and an example request."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tiffin.service.plain_class import BadMetadata, PlainClass, checked_metadata

CONTRACT = "contract.json"
_VARIABLE = "MODEL_METADATA"
_MOST_ELEMENTS = 4096


def node_metadata(served: PlainClass, image: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """``/metadata``: what the image's name says, then ``init_metadata()``, then ``MODEL_METADATA`` (YAML or JSON).

    Raises:
        BadMetadata: one of them is malformed.
    """
    name, version = split_image(image)
    found: dict[str, Any] = {
        "name": name,
        "versions": [version] if version else [],
        "platform": "",
        "inputs": [],
        "outputs": [],
        "custom": {},
    }
    found |= served.metadata()
    if written := environment.get(_VARIABLE):
        import yaml

        try:
            override = yaml.safe_load(written)
        except yaml.YAMLError as error:
            raise BadMetadata(f"expected YAML or JSON: {error}", at=_VARIABLE) from error
        found |= checked_metadata(override, _VARIABLE) if override is not None else {}
    return found


def graph_metadata(name: str, unit: str, node: Mapping[str, Any]) -> dict[str, Any]:
    """``/api/v1.0/metadata`` of a graph of one node."""
    return {
        "name": name,
        "models": {unit: dict(node)},
        "graphinputs": node.get("inputs", []),
        "graphoutputs": node.get("outputs", []),
    }


def split_image(image: str) -> tuple[str, str]:
    """The name and tag of an image; the colon of a registry's port belongs to the name."""
    head, colon, last = image.partition("@")[0].rpartition(":")
    return (head, last) if colon and "/" not in last else (image.partition("@")[0], "")


def example_of(served: PlainClass, metadata: Mapping[str, Any], directory: Path) -> dict[str, Any] | None:
    """A message the class can be called with, when it is known; it is never guessed.

    In this order: ``example`` or ``examples`` of the class, ``contract.json`` beside it, the shape and names in
    the metadata's only input.
    """
    for name in ("example", "examples"):
        found = served.attribute(name)
        if found is not None:
            return _as_message(found)
    contract = directory / CONTRACT
    if contract.is_file():
        return _from_contract(contract)
    inputs = metadata.get("inputs") or []
    return _from_input(inputs[0]) if len(inputs) == 1 else None


def _as_message(found: Any) -> dict[str, Any] | None:
    found = found.tolist() if hasattr(found, "tolist") else found
    if isinstance(found, dict):
        is_message = not {"data", "jsonData", "strData", "binData"}.isdisjoint(found)
        return found if is_message else {"jsonData": found}
    if isinstance(found, str):
        return {"strData": found}
    return {"data": {"ndarray": found}} if isinstance(found, list) else None


def _from_contract(file: Path) -> dict[str, Any] | None:
    """One row inside the ranges of Seldon's contract.json, the same each time."""
    try:
        features = json.loads(file.read_text(encoding="utf-8"))["features"]
        names: list[str] = []
        row: list[Any] = []
        for feature in features:
            repeat = int(feature.get("repeat", 1))
            if not 1 <= repeat <= _MOST_ELEMENTS - len(row):
                return None
            names += [feature["name"] if repeat == 1 else f"{feature['name']}{i + 1}" for i in range(repeat)]
            row += [_inside(feature)] * repeat
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return {"data": {"names": names, "ndarray": [row]}} if row else None


def _inside(feature: Mapping[str, Any]) -> Any:
    if feature.get("ftype") == "categorical":
        return feature["values"][0]
    low, high = feature.get("range", ["inf", "inf"])
    bounds = [float(bound) for bound in (low, high) if bound != "inf"]
    middle = sum(bounds) / len(bounds) if bounds else 0.0
    return round(middle) if feature.get("dtype") == "INT" else middle


def _from_input(described: Mapping[str, Any]) -> dict[str, Any] | None:
    """Zeros of the declared shape: Seldon's ``{messagetype, schema}``, or V2's ``{name, datatype, shape}``."""
    schema = described.get("schema")
    schema = schema if isinstance(schema, dict) else described
    shape, names = schema.get("shape"), schema.get("names")
    if described.get("messagetype") in ("strData", "jsonData", "binData") or described.get("datatype") == "BYTES":
        return None
    if not isinstance(shape, list) or not shape or not all(type(size) is int for size in shape):
        return None
    count = 1
    for size in shape:
        count *= abs(size)
    # Only the batch may be left open.
    if not 0 < count <= _MOST_ELEMENTS or any(size < 1 for size in shape[1:]):
        return None
    zeros: Any = 0.0
    for size in reversed([abs(shape[0]), *shape[1:]]):
        zeros = [zeros] * size
    named = {"names": names} if isinstance(names, list) and len(shape) > 1 and len(names) == shape[1] else {}
    return {"data": named | {"ndarray": zeros}}
