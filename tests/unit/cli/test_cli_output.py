import json
import sys

import msgspec
import pytest

from tiffin.cli import output
from tiffin.errors import SpecError


class Terminal:
    """A stderr that is a terminal."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return True


def a_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Not a fixture: pytest puts its own stderr in place again before the test begins."""
    made = Terminal()
    monkeypatch.setattr(sys, "stderr", made)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return made


def test_off_a_terminal_a_download_is_two_lines(capsys: pytest.CaptureFixture[str]) -> None:
    downloads = output.Downloads()
    for done in (0, 500_000, 1_500_000):
        downloads.show("s3://a/b", done, 1_500_000)
    downloads.close()
    assert capsys.readouterr().err == "downloading s3://a/b\ndownloaded s3://a/b (1.5 MB)\n"


def test_data_is_json_on_stdout_and_structs_are_welcome(capsys: pytest.CaptureFixture[str]) -> None:
    class Point(msgspec.Struct):
        x: int

    output.data({"points": [Point(1)]})
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"points": [{"x": 1}]}
    assert captured.err == ""


def test_an_error_is_coloured_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = a_terminal(monkeypatch)
    output.report(SpecError("x"))
    assert terminal.text == "\x1b[31merror:\x1b[0m x\n"


def test_no_colour_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = a_terminal(monkeypatch)
    monkeypatch.setenv("NO_COLOR", "1")
    output.report(SpecError("x", hint="y"))
    assert terminal.text == "error: x\n\nhint: y\n"


def test_a_dumb_terminal_gets_no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = a_terminal(monkeypatch)
    monkeypatch.setenv("TERM", "dumb")
    with output.busy("working"):
        pass
    assert terminal.text == ""
