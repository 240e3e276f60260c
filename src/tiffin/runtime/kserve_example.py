"""A call that a kserve.Model says it answers, from what it tells of itself. Pure but for one file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_FILES = ("example.json", "input.json")
_ZERO: dict[str, Any] = {"BYTES": "a", "BOOL": False}


def example_of(name: str, model: Any, directory: Path, *, prefers_v1: bool) -> dict[str, Any] | None:
    """Path, headers and body of an example; None when nothing tells one.

    From the model's attribute ``example`` (the body of a V1 or V2 call), else ``example.json`` or ``input.json``
    beside the program, else ``get_input_types()``, as zeros.
    """
    for body in (getattr(model, "example", None), _from_file(directory)):
        if isinstance(body, dict) and ("instances" in body or "inputs" in body):
            return _request(name, body, is_v2=_is_v2(body))
    return _from_types(name, model, prefers_v1=prefers_v1)


def _from_file(directory: Path) -> Any:
    for file in _FILES:
        try:
            return json.loads((directory / file).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
    return None


def _is_v2(body: dict[str, Any]) -> bool:
    inputs = body.get("inputs")
    return isinstance(inputs, list) and bool(inputs) and isinstance(inputs[0], dict) and "datatype" in inputs[0]


def _from_types(name: str, model: Any, *, prefers_v1: bool) -> dict[str, Any] | None:
    try:
        types = model.get_input_types()
        inputs = [_tensor(item) for item in types] if isinstance(types, list) else []
    except Exception:
        # An author's method: without a usable answer there is no example, and nothing else depends on it.
        return None
    if not inputs:
        return None
    if prefers_v1 and len(inputs) == 1:
        return _request(name, {"instances": _nested(inputs[0]["data"], inputs[0]["shape"])}, is_v2=False)
    return _request(name, {"inputs": inputs}, is_v2=True)


def _tensor(described: dict[str, Any]) -> dict[str, Any]:
    shape = [size if isinstance(size, int) and size > 0 else 1 for size in described["shape"]]
    count = 1
    for size in shape:
        count *= size
    if count > 100_000:
        raise ValueError("too large to show")
    datatype = str(described["datatype"])
    value = _ZERO.get(datatype, 0.0 if datatype.startswith("FP") else 0)
    return {"name": described["name"], "shape": shape, "datatype": datatype, "data": [value] * count}


def _nested(data: list[Any], shape: list[int]) -> list[Any]:
    for size in reversed(shape[1:]):
        data = [data[i : i + size] for i in range(0, len(data), size)]
    return data


def _request(name: str, body: dict[str, Any], *, is_v2: bool) -> dict[str, Any]:
    path = f"/v2/models/{name}/infer" if is_v2 else f"/v1/models/{name}:predict"
    return {"path": path, "headers": {"content-type": "application/json"}, "body": body}
