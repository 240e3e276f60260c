import json
import subprocess
import sys
import textwrap

import pytest

from tiffin.errors import ServiceError
from tiffin.service.definition import Service
from tiffin.service.loading import load

SERVICE = """
import tiffin

@tiffin.service
class Iris:
    @tiffin.api
    def predict(self, x: list[float]) -> float:
        return sum(x)
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A directory of files; what is imported from it is forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def write(**files: str):
        for name, text in files.items():
            path = tmp_path / name.replace("__", "/").replace("_yaml", ".yaml").replace("_toml", ".toml")
            path = path if path.suffix else path.with_suffix(".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))
        return tmp_path

    yield write
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.mark.parametrize("target", ["service:Iris", "service", "service.py:Iris", "./service.py:Iris", "", "."])
def test_a_target_may_be_written_in_many_ways(project, target):
    found = load(target, project(service=SERVICE))
    assert isinstance(found, Service)
    assert found.name == "Iris"


@pytest.mark.parametrize("target", ["sub.service:Iris", "sub/service.py:Iris"])
def test_a_module_may_lie_deeper(project, target):
    assert load(target, project(sub__service=SERVICE)).name == "Iris"


def test_a_file_may_have_a_name_that_cannot_be_imported(project):
    directory = project(service=SERVICE)
    (directory / "service.py").rename(directory / "my-service.py")
    assert load("my-service.py:Iris", directory).name == "Iris"


def test_neighbours_are_found(project):
    directory = project(sub__helper="VALUE = 1", sub__service="from helper import VALUE\n" + SERVICE)
    assert load("sub/service.py:Iris", directory).name == "Iris"


def test_a_build_file_names_the_service(project):
    directory = project(bentofile_yaml="service: 'app:Iris'\ninclude: ['*.py']", app=SERVICE)
    assert load(".", directory).name == "Iris"


def test_a_pyproject_names_the_service(project):
    directory = project(pyproject_toml='[tool.bentoml.build]\nservice = "app:Iris"', app=SERVICE)
    assert load("", directory).name == "Iris"


def test_a_built_bento_names_the_service(project):
    directory = project(bento_yaml="service: app:Iris\nname: iris", src__app=SERVICE)
    assert load("", directory).name == "Iris"


def test_a_second_project_has_a_service_module_of_its_own(project, tmp_path):
    project(one__service=SERVICE, two__service=SERVICE.replace("Iris", "Rose"))
    assert load("service:Iris", tmp_path / "one").name == "Iris"
    assert load("service:Rose", tmp_path / "two").name == "Rose"


def test_the_only_service_nobody_depends_on_is_meant(project):
    inner = SERVICE + "\n@tiffin.service\nclass Outer:\n    iris = tiffin.depends(Iris)\n"
    assert load("service", project(service=inner)).name == "Outer"
    assert load("service:Outer.iris", project(service=inner)).name == "Iris"


def test_a_plain_class_is_given_back_as_it_is(project):
    found = load("model:Plain", project(model="class Plain:\n    def predict(self, X): return X"))
    assert found.__name__ == "Plain"


@pytest.mark.parametrize(
    ("files", "target", "says"),
    [
        ({"service": SERVICE}, "nothere:Iris", "no module named 'nothere'"),
        ({"service": SERVICE}, "service:Rose", "has no 'Rose'"),
        ({"service": "import nowhere_at_all"}, "service:X", "imports 'nowhere_at_all', which is not installed"),
        ({"service": "1/0"}, "service:X", "ZeroDivisionError: division by zero"),
        ({"service": "def f(:"}, "service:X", "SyntaxError"),
        ({"service": "raise SystemExit(3)"}, "service:X", "SystemExit: 3"),
        ({"service": "x = 1"}, "service", "found none"),
        ({"service": "x = 1"}, "service:x", "expected a class decorated"),
        ({"service": SERVICE + SERVICE.replace("Iris", "Rose")}, "service", "expected one service"),
        ({"service": SERVICE}, "none.py:Iris", "expected a file"),
        ({}, "", "bentofile.yaml or service.py"),
        ({"bentofile_yaml": "name: x"}, "", "expected service:"),
        ({"bentofile_yaml": "service: ["}, "", "expected YAML"),
        ({"service": "import tiffin\ntiffin.ray()"}, "service:X", "ray is not part of this version"),
        (
            {"service": "import tiffin\n@tiffin.service\nclass X:\n  @tiffin.api\n  def f(self, a: 5j): ..."},
            "service:X",
            "cannot serve the parameters",
        ),
    ],
)
def test_what_is_wrong_is_said(project, files, target, says):
    with pytest.raises(ServiceError) as caught:
        load(target, project(**files))
    assert says in str(caught.value)


def test_a_failure_shows_the_authors_lines_only(project):
    directory = project(service="def broken():\n    return 1/0\n\nbroken()\n")
    with pytest.raises(ServiceError) as caught:
        load("service:X", directory)
    (note,) = caught.value.__notes__
    assert "return 1/0" in note
    assert "importlib" not in note
    assert caught.value.at.endswith("service.py:2")


def test_a_syntax_error_shows_the_line_and_not_how_python_came_there(project):
    with pytest.raises(ServiceError) as caught:
        load("service:X", project(service="def f(:"))
    (note,) = caught.value.__notes__
    assert "def f(:" in note
    assert "importlib" not in note


def test_a_directory_must_be_there(tmp_path):
    with pytest.raises(ServiceError, match="expected a directory"):
        load("service:X", tmp_path / "none")


def describe(target: str, directory) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "tiffin.service", "describe", target, "--directory", str(directory)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_describe_prints_json_whatever_the_service_prints(project):
    noise = "import os\nprint('hello')\nos.write(1, b'raw')\n"
    done = describe("service:Iris", project(service=noise + SERVICE))
    assert done.returncode == 0
    assert json.loads(done.stdout)["endpoints"][0]["route"] == "/predict"
    assert "hello" in done.stderr
    assert "raw" in done.stderr


def test_describe_says_what_failed_in_one_line(project):
    done = describe("service:X", project(service="1/0"))
    assert done.returncode == 1
    (line,) = done.stdout.splitlines()
    failure = json.loads(line)
    assert failure["code"] == "service"
    assert "ZeroDivisionError" in failure["message"]
    assert "1/0" in failure["traceback"]
    assert "ZeroDivisionError" in done.stderr


def test_describe_refuses_a_plain_class(project):
    done = describe("model:Plain", project(model="class Plain: ..."))
    assert (done.returncode, json.loads(done.stdout)["code"]) == (1, "service")
