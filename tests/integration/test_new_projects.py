"""What ``tiffin new`` makes: its own tests pass, it is served, and it builds."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.integration.conftest import until

NEEDS = {"sklearn": "sklearn", "torch": "torch"}
FIRST_CALL: dict[str, tuple[str, Any]] = {
    "plain": ("/measure", {"text": "banana"}),
    "sklearn": ("/predict", {"rows": [[5.1, 3.5, 1.4, 0.2]]}),
    "torch": ("/predict", {"rows": [[0.5]]}),
    "graph": ("/describe", {"text": "a good one"}),
    "task": ("/add_up_now", {"numbers": [1, 2]}),
}


def run(*command: str, directory: Path, home: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=directory,
        env=os.environ | {"TIFFIN_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("template", ["plain", "sklearn", "torch", "llm", "graph", "task"])
def test_a_new_project_tests_serves_and_builds(template: str, tmp_path: Path, serving: Callable[..., Any]) -> None:
    needed = NEEDS.get(template)
    if needed is not None and importlib.util.find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed: pip install {needed}")
    home = tmp_path / "home"
    made = json.loads(run("tiffin", "new", "my-thing", "-t", template, "--json", directory=tmp_path, home=home))
    project = tmp_path / made["path"]
    assert made["trained"] == (project / "train.py").exists()
    tested = run("pytest", "-q", "-p", "no:cacheprovider", ".", directory=project, home=home)
    assert " passed" in tested
    checked = run("tiffin", "check", "tiffin.yaml", directory=project, home=home)
    assert "my-thing" in checked
    if template in FIRST_CALL:
        path, body = FIRST_CALL[template]
        with serving(directory=project) as served:
            assert until(lambda: served.ask("GET", "/readyz")[0] == 200)
            status, answer = served.ask("POST", path, body, {"content-type": "application/json"})
            assert status == 200, answer
        built = json.loads(run("tiffin", "build", "--json", directory=project, home=home))
        assert built["target"] == "service:MyThing"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("9x",), "expected a name of letters and digits"),
        (("class",), "expected a name of letters and digits"),
        (("../up",), "expected a name of letters and digits"),
        (("x", "-t", "sklern"), "did you mean sklearn?"),
        (("taken",), "expected an empty place"),
    ],
)
def test_what_cannot_be_made_is_said_and_nothing_is_written(
    arguments: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    done = subprocess.run(
        [sys.executable, "-m", "tiffin", "new", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert said in done.stderr
    assert sorted(tmp_path.rglob("*")) == before
