import ast
import subprocess
import sys

import pytest

from tiffin.client import writing

FILE = {"type": "file", "format": "binary"}


def service(**routes):
    return {
        "name": "Iris",
        "description": "Flowers.",
        "routes": [
            {"name": name, "route": f"/{name}", "input": given, "output": taken, "is_task": name == "later"}
            for name, (given, taken) in routes.items()
        ],
    }


def takes(required=(), **properties):
    return {"type": "object", "properties": properties, "required": list(required)}


POINT = {"type": "object", "title": "P", "properties": {"x": {"type": "number"}}, "required": ["x"]}
EVERYTHING = service(
    add=(takes(["a"], a={"type": "integer"}, b={"type": "integer", "default": 2}), {"type": "integer"}),
    point=(
        takes(
            ["p"], p={"type": "object", "title": "P", "properties": {"x": {"type": "number"}}, "required": ["x"]}
        ),
        POINT,
    ),
    odd=(takes(["class", "a-b", "list"], **{"class": {}, "a-b": {}, "list": {}}), {}),
    list=(takes(), {"type": "array", "items": {"type": "string"}}),
    choose=(takes(["c"], c={"enum": ["a", 1, True]}), {"anyOf": [{"type": "string"}, {"type": "null"}]}),
    maybe=(takes(x={"type": "array", "default": [1]}, y={"type": "string", "default": None}), {"type": "null"}),
    upload=(takes(["f"], f=FILE, fs={"type": "array", "items": FILE}, n={"type": "integer", "default": 1}), FILE),
    several=(takes(), {"type": "array", "items": FILE}),
    shout=({"type": "string", "root_input": True}, {"type": "string"}),
    raw=({**FILE, "root_input": True}, {"type": "string", "format": "binary"}),
    day=(takes(), {"type": "string", "format": "date"}),
    words=(takes(), {"type": "string", "is_stream": True}),
    items=(takes(), {"type": "object", "is_stream": True}),
    tree=(
        takes(),
        {
            "$ref": "#/$defs/Node",
            "$defs": {
                "Node": {
                    "type": "object",
                    "title": "Node",
                    "properties": {"next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]}},
                }
            },
        },
    ),
    array=(takes(["x"], x={"type": "tensor"}), {"type": "dataframe", "orient": "columns"}),
    later=(takes(["a"], a={"type": "integer"}), {"type": "integer"}),
    close=(takes(), {}),
)


def test_mypy_accepts_what_is_written_in_its_strict_mode(tmp_path):
    pytest.importorskip("mypy", reason="mypy is not installed: pip install mypy")
    path = tmp_path / "written.py"
    path.write_text(writing.module(EVERYTHING, {"add": 'Adds "two"'}))
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), str(path)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout


def signatures(text):
    [found] = [n for n in ast.parse(text).body if isinstance(n, ast.ClassDef) and n.name == "Iris"]
    return {
        node.name: f"({ast.unparse(node.args)}) -> {ast.unparse(node.returns)}"
        for node in found.body
        if isinstance(node, ast.FunctionDef)
    }


def test_methods_have_the_types_of_the_schema():
    found = signatures(writing.module(EVERYTHING))
    assert found["add"] == "(self, a: int, b: int=2) -> int"
    assert found["point"] == "(self, p: P) -> P"
    assert found["odd"] == "(self, class_: Any, a_b: Any, list_: Any) -> Any"
    assert found["list_"] == "(self) -> list[str]"
    assert found["choose"] == "(self, c: Literal['a', 1, True]) -> str | None"
    assert found["maybe"] == "(self, x: list[Any] | Unset=UNSET, y: str | None=None) -> None"
    assert found["upload"] == "(self, f: Upload, fs: list[Upload] | Unset=UNSET, n: int=1) -> File"
    assert found["shout"] == "(self, value: str, /) -> str"
    assert found["words"] == "(self) -> Iterator[str]"
    assert found["submit_later"] == "(self, a: int) -> Task[int]"
    assert found["array"] == "(self, x: Any) -> dict[str, list[Any]]"
    assert "api_close" in found


@pytest.mark.parametrize(
    "schema",
    [
        {"name": 'x"""\nimport os\n"""', "description": '"""\nimport os\n"""', "routes": []},
        service(**{'f(): pass\nimport os\nimport x"""': (takes(), {})}),
        service(f=(takes(**{"a): pass\nimport os": {"default": '"""'}}), {"title": "X:\n import os"})),
        service(f=(takes(a={"type": "object", "title": "A:\nimport os\nclass B", "properties": {"x\n": {}}}), {})),
        service(f=(takes(a={"enum": ["'], x := import os"]}), {"type": "import os"})),
    ],
)
def test_a_schema_cannot_write_code(schema):
    tree = ast.parse(writing.module(schema, {"f": '"""\nimport os\n"""\\'}))
    plain = ast.parse(writing.module(service()))
    imports = [ast.unparse(n) for n in ast.walk(tree) if isinstance(n, (ast.Import, ast.ImportFrom))]
    assert imports == [ast.unparse(n) for n in ast.walk(plain) if isinstance(n, (ast.Import, ast.ImportFrom))]
