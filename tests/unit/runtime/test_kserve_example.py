"""An example is taken from where a model tells one, and is never a guess."""

import json
from pathlib import Path
from typing import Any

import pytest

from tiffin.runtime.kserve_example import example_of


class Model:
    def __init__(self, types: Any = None, example: Any = None) -> None:
        self.types = types
        self.example = example

    def get_input_types(self) -> Any:
        if isinstance(self.types, Exception):
            raise self.types
        return self.types or []


ROW = [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]


def test_its_types_become_zeros_in_the_protocol_of_the_deployment(tmp_path: Path) -> None:
    v2 = example_of("m", Model(ROW), tmp_path, prefers_v1=False)
    assert v2 is not None
    assert v2["path"] == "/v2/models/m/infer"
    assert v2["body"] == {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [0.0, 0.0]}]}
    v1 = example_of("m", Model(ROW), tmp_path, prefers_v1=True)
    assert v1 is not None
    assert (v1["path"], v1["body"]) == ("/v1/models/m:predict", {"instances": [[0.0, 0.0]]})


def test_an_attribute_goes_before_a_file_and_a_file_before_types(tmp_path: Path) -> None:
    (tmp_path / "input.json").write_text(json.dumps({"instances": [2]}))
    first = example_of("m", Model(ROW, {"instances": [1]}), tmp_path, prefers_v1=False)
    second = example_of("m", Model(ROW), tmp_path, prefers_v1=False)
    assert first is not None
    assert second is not None
    assert (first["body"], second["body"]) == ({"instances": [1]}, {"instances": [2]})


@pytest.mark.parametrize(
    "types",
    [[], None, "x", RuntimeError("no"), [{}], [{"name": "x", "datatype": "FP32", "shape": [10**9]}], [3]],
)
def test_without_a_usable_word_there_is_none(types: Any, tmp_path: Path) -> None:
    (tmp_path / "input.json").write_text("{")
    assert example_of("m", Model(types), tmp_path, prefers_v1=False) is None
