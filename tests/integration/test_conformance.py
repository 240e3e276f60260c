"""The conformance vectors against ``tiffin serve``, and the checker against itself."""

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def _load() -> Any:
    spec = importlib.util.spec_from_file_location("checking", ROOT / "tests/conformance/checking.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


checking = _load()
VECTORS = [(protocol, vector) for protocol in checking.protocols() for vector in checking.vectors(protocol)]


@pytest.fixture(scope="module")
def url(serving: Any, iris_model: Path) -> Iterator[str]:
    with serving(str(iris_model), "--name", "iris") as served:
        yield f"http://127.0.0.1:{served.port}"


@pytest.mark.parametrize(
    "vector", [vector for _, vector in VECTORS], ids=[f"{p}: {v['name']}" for p, v in VECTORS]
)
def test_a_vector(url: str, vector: dict[str, Any]) -> None:
    assert checking.problems(url, vector) == []


def test_the_command_asks_them_all(url: str) -> None:
    command = [sys.executable, "-m", "tests.conformance", url]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(VECTORS)} of {len(VECTORS)} answers were right" in done.stdout


def test_every_vector_has_a_name_of_its_own() -> None:
    names = [(protocol, vector["name"]) for protocol, vector in VECTORS]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("expected", "found", "count"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, 0),
        ({"a": 1, "b": 2}, {"a": 1}, 1),
        ({"a": [1, 2]}, {"a": [1]}, 1),
        ([1, {"a": None}], [2, {"a": 0}], 2),
        (1, True, 1),
        (0, False, 1),
        (1, 1.0, 0),
        (None, None, 0),
        ({"$matches": "^x"}, "xy", 0),
        ({"$matches": "^x"}, "yx", 1),
        ({"$matches": "x"}, None, 1),
    ],
)
def test_what_counts_as_a_difference(expected: Any, found: Any, count: int) -> None:
    assert len(checking.differences(expected, found, "body")) == count
