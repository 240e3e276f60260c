"""The commands page names every command, every option and every environment variable."""

import re
from importlib import import_module
from pathlib import Path

import pytest
import typer

from tiffin.cli.table import COMMANDS, Entry

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "commands.md").read_text()


def section(name: str) -> str:
    return PAGE.partition(f"\n## tiffin {name}\n")[2].partition("\n## ")[0]


def options(entry: Entry) -> set[str]:
    module, _, function = entry.home.partition(":")
    app = typer.Typer(add_completion=False)
    app.command()(getattr(import_module(module), function))
    command = typer.main.get_command(app)
    return {option for parameter in command.params for option in parameter.opts if option.startswith("-")}


@pytest.mark.parametrize("entry", COMMANDS, ids=lambda entry: entry.name)
def test_a_section_lists_exactly_the_options_of_its_command(entry: Entry) -> None:
    assert section(entry.name), f"there is no section for tiffin {entry.name}"
    named = set(re.findall(r"`(--?[A-Za-z][a-z-]*)`", section(entry.name)))
    assert named == options(entry) - {"--help", "-h"}


def test_there_is_no_section_for_a_command_that_is_gone() -> None:
    assert set(re.findall(r"^## tiffin ([a-z]+)$", PAGE, re.MULTILINE)) == {entry.name for entry in COMMANDS}


def test_every_environment_variable_is_on_the_page() -> None:
    sources = "\n".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    assert set(re.findall(r"\bTIFFIN_[A-Z_]+\b", sources)) == set(re.findall(r"`(TIFFIN_[A-Z_]+)`", PAGE))
