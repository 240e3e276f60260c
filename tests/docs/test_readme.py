"""Every command in the console blocks of the READMEs runs, and says what is written below it.

Commands that stay (`tiffin serve`, `tiffin up`, `make demo`) are started on a free port; the commands after them
are asked of it; the next one that stays, or the end of the page, stops it with Ctrl-C. Commands before the first
one that stays (training, building) are run before it. `tiffin up -d` stays as well, and `tiffin down` stops it.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "examples").glob("*/README.md"))]
STAYING = ("tiffin serve", "tiffin up", "make demo")
ADDRESS_IN_TEXT = re.compile(r"127\.0\.0\.1:\d+")
START_SECONDS = 90


@dataclass
class Scene:
    """A command that stays, what is done before, and what is asked while it runs, with the expected output."""

    page: Path
    command: str = ""
    directory: Path = ROOT
    before: list[str] = field(default_factory=list)
    asked: list[tuple[str, list[str]]] = field(default_factory=list)


def commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """Each ``$`` line of the console blocks with the lines below it."""
    for block in re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *output = part.rstrip("\n").split("\n")
            yield command, output


def scenes(page: Path) -> list[Scene]:
    found: list[Scene] = []
    directory = ROOT
    before: list[str] = []
    for command, output in commands(page.read_text()):
        if command.startswith("cd "):
            directory = ROOT / command[3:]
        elif command.startswith(STAYING):
            found.append(Scene(page, command, directory, before))
            before = []
        elif found:
            found[-1].asked.append((command, output))
        else:
            before.append(command)
    assert not before, f"{page} starts nothing after {before}"
    return found


ALL = [scene for page in PAGES for scene in scenes(page)]


def title(scene: Scene) -> str:
    return f"{scene.page.parent.name if scene.page != README else 'README'}: {scene.command.split(' examples')[0]}"


@pytest.fixture
def home() -> Iterator[Path]:
    # pytest's own directories are long, and the path of a Unix socket must not be.
    with tempfile.TemporaryDirectory(prefix="tiffin-") as directory:
        yield Path(directory)


def environment(home: Path) -> dict[str, str]:
    # Under `make`, MAKEFLAGS and friends of the outer make would reach the inner one.
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    path = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", "")])
    return {**kept, "PATH": path, "TIFFIN_HOME": str(home)}


def test_the_readme_has_its_scenes() -> None:
    assert {scene.command.split(" examples")[0] for scene in scenes(README)} == {*STAYING, "tiffin up -d"}


def test_make_targets_named_in_the_readme_exist() -> None:
    named = set(re.findall(r"`make ([a-z-]+)", README.read_text()))
    defined = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert named
    assert named <= defined


@pytest.mark.slow
@pytest.mark.parametrize("scene", ALL, ids=title)
def test_the_commands_run(scene: Scene, tmp_path: Path, home: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    if not (ROOT / "examples" / "01-kserve-iris" / "model" / "model.joblib").exists():
        pytest.skip("the examples' models are not trained; `make models` does it")
    command = scene.command
    port = free_port()
    if command.startswith("make"):
        if not (ROOT / ".venv" / "stamps" / "run").exists():
            pytest.skip("there is no .venv; `make demo` would install one")
        command += f" PORT={port}"
    else:
        command += f" --port {port}"
    for earlier in scene.before:
        ask(earlier, home)
    if "-d" in shlex.split(command):
        ask_in_background(command, scene, port, home)
        return
    with (tmp_path / "log").open("w+") as log:
        process = subprocess.Popen(
            shlex.split(command),
            cwd=scene.directory,
            env=environment(home),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            wait_until_listening(process, port, tmp_path / "log")
            check_answers(scene, port, home)
        finally:
            # As a terminal does on Ctrl-C: everybody in the foreground group.
            os.killpg(process.pid, signal.SIGINT)
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                raise
    assert not group_is_alive(process.pid)
    # make itself reports an interrupted recipe as a failure; Tiffin's own commands end well on Ctrl-C.
    assert process.returncode == 0 or command.startswith("make"), (tmp_path / "log").read_text()


def ask_in_background(command: str, scene: Scene, port: int, home: Path) -> None:
    ask(command, home)
    try:
        check_answers(scene, port, home)
    finally:
        ask("tiffin down", home)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def check_answers(scene: Scene, port: int, home: Path) -> None:
    for asked, expected in scene.asked:
        output = ask(ADDRESS_IN_TEXT.sub(f"127.0.0.1:{port}", asked), home)
        if expected:
            assert output.strip() == "\n".join(expected)


def ask(command: str, home: Path) -> str:
    """Run a command until it succeeds (what it asks may still be loading); its output."""
    until = time.monotonic() + 60
    # curl ends with 0 on a 503, so ask it to tell them apart.
    words = shlex.split(command)
    words[1:1] = ["--fail-with-body"] if words[0] == "curl" else []
    while True:
        done = subprocess.run(
            words, cwd=ROOT, env=environment(home), capture_output=True, text=True, timeout=600, check=False
        )
        if done.returncode == 0:
            return done.stdout
        assert time.monotonic() < until, f"{command}\nended with {done.returncode}: {done.stdout}{done.stderr}"
        time.sleep(0.2)


def wait_until_listening(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    pytest.fail(f"nothing listens on port {port}; it said:\n{log.read_text()}")


def group_is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
