"""The errors page lists every code, with its status, and nothing else."""

import re
from pathlib import Path

from tiffin import errors

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "errors.md").read_text()


def classes(root: type[errors.TiffinError]) -> list[type[errors.TiffinError]]:
    """A part of the tree, without what other packages add for their own use."""
    below = [found for child in root.__subclasses__() for found in classes(child)]
    return [found for found in (root, *below) if found.__module__ == "tiffin.errors"]


def documented() -> dict[str, str]:
    """Code to status; empty where the table has no status column."""
    rows = re.findall(r"^\| `([a-z-]+)` \|(?: (\d{3}) \|)?", PAGE, re.MULTILINE)
    return dict(rows)


def test_every_error_code_is_on_the_page() -> None:
    own = {error.code for error in classes(errors.TiffinError)}
    assert own - {"error"} <= set(documented())


def test_the_status_of_every_call_error_is_on_the_page() -> None:
    found = {error.code: str(error.status) for error in classes(errors.CallError)}
    assert {code: status for code, status in documented().items() if code in found} == found


def test_a_code_a_package_adds_for_its_own_use_is_on_the_page() -> None:
    sources = (ROOT / "src" / "tiffin").rglob("*.py")
    added = {
        code for path in sources for code in re.findall(r'^    code = "([a-z-]+)"', path.read_text(), re.MULTILINE)
    }
    assert added - {"error"} == set(documented())


def test_every_class_has_a_code_of_its_own() -> None:
    codes = [error.code for error in classes(errors.TiffinError)]
    assert len(codes) == len(set(codes))
