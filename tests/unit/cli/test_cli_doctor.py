"""``tiffin doctor`` on homes and machines in several states."""

import json
import shutil
import socket
from collections import namedtuple
from pathlib import Path

import pytest

from tiffin.cli import doctor, frame


def level(check: str, found: list[dict[str, str]]) -> tuple[str, str]:
    one = next(one for one in found if one["check"] == check)
    return one["level"], one["found"]


def run(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> list[dict[str, str]]:
    assert frame.run(["doctor", "--json", *arguments]) == code
    found: list[dict[str, str]] = json.loads(capsys.readouterr().out)
    return found


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TIFFIN_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("TIFFIN_API", raising=False)
    return tmp_path / "home"


def test_every_line_says_what_was_found_and_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert frame.run(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    checks = [line for line in lines if not line.strip().startswith("hint:")]
    assert all(line[:4] in ("ok  ", "warn") for line in checks)
    assert any("none runs here" in line for line in lines)
    assert any(line.strip() == "hint: start one: tiffin up -d" for line in lines)


def test_a_taken_port_is_named_with_its_holder(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = level("port", run(capsys, "--port", str(port)))
    assert found[0] == "warn"
    assert f"port {port} on 127.0.0.1 is in use" in found[1]


def test_a_home_that_others_can_enter_is_a_warning(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    home.mkdir()
    home.chmod(0o755)
    assert level("home", run(capsys))[0] == "warn"


def test_a_full_disk_and_no_envoy_fail(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1, 1, 1000))
    monkeypatch.setenv("TIFFIN_ENVOY", "/no/such/envoy")
    found = run(capsys, code=1)
    assert level("disk", found)[0] == "fail"
    assert level("envoy", found)[0] == "fail"


def test_what_a_killed_controller_left_is_seen(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    home.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(home / "api.sock"))
    found = level("controller", run(capsys))
    assert found[0] == "warn"
    assert "one was killed there" in found[1]


def test_a_check_that_breaks_does_not_end_the_others(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> doctor.Finding:
        raise ValueError("odd")

    monkeypatch.setattr(doctor, "_memory", broken)
    found = run(capsys)
    assert ("warn", "could not be looked at: odd") in [(one["level"], one["found"]) for one in found]
    assert level("containers", found)
