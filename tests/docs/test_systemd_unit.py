"""The systemd unit of the operations guide can be used as it stands."""

import configparser
import re
import shlex
import shutil
import subprocess
from importlib import import_module
from pathlib import Path

import pytest
import typer

from tiffin.cli.table import COMMANDS

PAGE = (Path(__file__).parents[2] / "docs" / "guides" / "operations.md").read_text()
UNIT = re.search(r"^```ini\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
TEXT = UNIT.group(1) if UNIT else ""


@pytest.fixture
def unit() -> configparser.ConfigParser:
    found = configparser.ConfigParser(interpolation=None, strict=True)
    found.optionxform = str  # type: ignore[assignment,method-assign]
    found.read_string(TEXT)
    return found


def test_a_restart_ends_the_controller_alone_and_a_stop_everything(unit: configparser.ConfigParser) -> None:
    service = unit["Service"]
    assert service["KillMode"] == "process"
    assert service["Restart"] == "always"
    assert service["ExecStop"].endswith("/tiffin down")
    assert set(unit.sections()) == {"Unit", "Service", "Install"}


def test_its_commands_are_commands_with_the_options_they_have(unit: configparser.ConfigParser) -> None:
    for setting in ("ExecStart", "ExecStop"):
        program, name, *arguments = shlex.split(unit["Service"][setting])
        assert program.startswith("/")
        entry = next(entry for entry in COMMANDS if entry.name == name)
        module, _, function = entry.home.partition(":")
        app = typer.Typer(add_completion=False)
        app.command()(getattr(import_module(module), function))
        typer.main.get_command(app).make_context(name, list(arguments))


def test_every_setting_with_a_surprise_is_explained(unit: configparser.ConfigParser) -> None:
    explained = PAGE.partition("What the settings are for:")[2]
    for setting in ("KillMode", "Restart", "ExecStop", "RestartPreventExitStatus", "Delegate", "TimeoutStopSec"):
        assert f"{setting}=" in explained or f"`{setting}`" in explained


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not on this machine")
def test_systemd_takes_it(tmp_path: Path) -> None:
    program = tmp_path / "tiffin"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    path = tmp_path / "tiffin.service"
    # The program of the page is not here; nor is its user.
    path.write_text(TEXT.replace("/opt/tiffin/bin/tiffin", str(program)).replace("User=tiffin\n", ""))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", path], capture_output=True, text=True)
    assert str(path.name) not in done.stderr, done.stderr
    assert done.returncode == 0, done.stderr
