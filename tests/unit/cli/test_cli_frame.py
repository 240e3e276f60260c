"""The command line's frame: words to commands, errors to exit codes."""

import errno
import importlib
from pathlib import Path
from typing import Any

import pytest

from tiffin.cli import frame, table
from tiffin.errors import PortInUse, ProcessError, SpecError, UntrustedArtefact


def run(monkeypatch: pytest.MonkeyPatch, raised: BaseException | None, *arguments: str) -> int:
    """Run a command line in which ``check`` raises something."""

    def check(word: str = "") -> None:
        if raised is not None:
            raised.__traceback__ = None
            raise raised

    from tiffin.cli import check as module

    monkeypatch.setattr(module, "check", check)
    return frame.run(arguments or ("check",))


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (None, 0),
        (SpecError("x"), 1),
        (UntrustedArtefact("x"), 1),
        (PortInUse("x"), 3),
        (ProcessError("x"), 3),
        (KeyboardInterrupt(), 130),
        (SystemExit(5), 5),
        (ValueError("x"), 1),
    ],
)
def test_what_a_command_raises_becomes_its_exit_code(
    raised: BaseException | None, code: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TIFFIN_HOME", str(tmp_path))
    assert run(monkeypatch, raised) == code


def test_an_error_is_two_paragraphs_on_stderr_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, SpecError("expected a, found b", at="spec.x", hint="write a"))
    captured = capsys.readouterr()
    assert captured.err == "error: spec.x: expected a, found b\n\nhint: write a\n"
    assert captured.out == ""


def test_a_defect_says_where_its_traceback_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("TIFFIN_HOME", str(tmp_path))
    run(monkeypatch, ValueError("odd"))
    error = capsys.readouterr().err
    assert error.startswith("error: unexpected ValueError: odd\n")
    assert "Traceback" not in error
    log = tmp_path / "logs" / "errors.log"
    assert str(log) in error
    assert "ValueError: odd" in log.read_text()


def test_debugging_shows_the_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TIFFIN_DEBUG", "1")
    run(monkeypatch, SpecError("x"))
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("chek",), "did you mean `tiffin check`?"),
        (("zzz",), "there is no command 'zzz'"),
        (("--nope",), "there is no option --nope"),
        (("check", "--nope"), "no such option: --nope"),
        ((), "Usage: tiffin"),
    ],
)
def test_wrong_usage_exits_2_and_says_what_is_wrong(
    arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert frame.run(arguments) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.out == ""


def test_help_lists_every_command_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert frame.run(["--help"]) == 0
    text = capsys.readouterr().out
    for entry in table.COMMANDS:
        assert f"\n  {entry.name} " in text


@pytest.mark.parametrize("entry", table.COMMANDS, ids=lambda entry: str(entry.name))
def test_every_command_has_a_function_with_a_docstring_and_help(
    entry: table.Entry, capsys: pytest.CaptureFixture[str]
) -> None:
    module, _, name = entry.home.partition(":")
    function: Any = getattr(importlib.import_module(module), name)
    assert function.__doc__
    assert frame.run([entry.name, "--help"]) == 0
    assert f"Usage: tiffin {entry.name}" in capsys.readouterr().out


def test_a_full_disk_is_no_defect(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, OSError(errno.ENOSPC, "No space left on device", "/data/x")) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: cannot write /data/x: No space left on device\n\nhint: make room on the disk")


@pytest.mark.parametrize("option", ["--port=65536", "--port=-1", "--max-body=0", "--timeout=-1", "--threads=-1"])
def test_numbers_that_tiffin_serve_cannot_use_are_wrong_usage(
    option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert frame.run(["serve", "model.joblib", option]) == 2
    assert option.partition("=")[0] in capsys.readouterr().err
