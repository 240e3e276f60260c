"""What CONTRIBUTING.md names is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
FOLDERS = ("src", "tests", "examples", "demo", "bench", "chaos", "docs", "requirements", "changelog.d", ".ci")


def named_paths() -> list[str]:
    quoted = re.findall(r"`([^`\s]+)`", TEXT)
    linked = re.findall(r"\]\(([^)#]+)\)", TEXT)
    inside = [path for path in quoted if path.split("/")[0] in FOLDERS and "/" in path]
    return sorted({*inside, *linked, "pyproject.toml", "constraints.txt"})


@pytest.mark.parametrize("path", named_paths())
def test_a_path_it_names_exists(path: str) -> None:
    # Git keeps no empty folders, so a folder that is named has something in it.
    assert (ROOT / path).exists()


def test_its_make_targets_are_those_of_the_makefile() -> None:
    named = set(re.findall(r"`make ([a-z-]+)[^`]*`", TEXT))
    makefile = (ROOT / "Makefile").read_text()
    assert named <= set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    documented = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
    assert documented - named == {"help", "docs-serve"}


def test_every_package_is_on_the_map() -> None:
    packages = {path.parent.name for path in (ROOT / "src" / "tiffin").glob("*/__init__.py")}
    assert packages == set(re.findall(r"^\| `src/tiffin/([a-z]+)/`", TEXT, re.MULTILINE))
