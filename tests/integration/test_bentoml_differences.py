"""Services written for BentoML behind two servers, its own and ours: the same requests, the answers compared.

BentoML's command is the one in ``TIFFIN_BENTOML``, or in ``.venv-bench-bentoml`` or ``.venv-bentoml`` of the
checkout (``python -m venv .venv-bentoml && .venv-bentoml/bin/pip install bentoml==1.4.39 pandas pillow fastapi``).
What differs on purpose is in ``bentoml_services/different.py``, each with its reason: an entry that no longer
differs fails here, too.
"""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

HERE = Path(__file__).parent / "bentoml_services"
CHECKOUT = Path(__file__).parents[2]
READY_SECONDS = 60.0
ARGUMENTS = {"around": ["--arg", "words=5", "--arg", "name=somebody"]}
NEEDED = {"heavy": ("pandas", "PIL", "fastapi"), "inside": ("sklearn", "httpx")}


def _module(name: str) -> ModuleType:
    whole = f"bentoml_services_{name}"
    if whole not in sys.modules:
        specification = importlib.util.spec_from_file_location(whole, HERE / f"{name}.py")
        assert specification is not None
        assert specification.loader is not None
        sys.modules[whole] = module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
    return sys.modules[whole]


ASKED = _module("cases").ASKED
REASONS = _module("different").REASONS
LINES = _module("different").LINES


def bentoml() -> Path | None:
    """BentoML's command, in an environment of its own."""
    places = [os.environ.get("TIFFIN_BENTOML", "")]
    places += [str(CHECKOUT / name / "bin" / "bentoml") for name in (".venv-bench-bentoml", ".venv-bentoml")]
    return next((Path(place) for place in places if place and os.access(place, os.X_OK)), None)


def lacks(service: str, command: Path) -> str:
    """What a service imports and BentoML's environment does not have; empty when there is nothing."""
    script = "import importlib.util as u, sys; print(*[n for n in sys.argv[1:] if u.find_spec(n) is None])"
    python = command.parent / "python"
    return subprocess.run(
        [python, "-c", script, *NEEDED.get(service, ())], capture_output=True, text=True, check=True
    ).stdout.strip()


class Answer(NamedTuple):
    """What is compared: no dates, no ids, no addresses, no order of names in a list of methods."""

    status: int | str
    headers: tuple[tuple[str, str], ...]
    body: bytes


COMPARED = {
    "accept-ranges", "allow", "content-disposition", "content-encoding", "content-range", "content-type",
    "location", "set-cookie", "transfer-encoding", "vary", "x-mark", "x-own", "x-seen",
}  # fmt: skip


def answer(port: int, ask: Any) -> Answer:
    """Of one request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    with contextlib.closing(connection):
        connection.putrequest(ask.method, ask.path, skip_accept_encoding=True)
        for name, value in ask.headers:
            connection.putheader(name, value)
        if ask.chunks:
            connection.putheader("transfer-encoding", "chunked")
            connection.endheaders(iter([ask.body[:3], ask.body[3:]]), encode_chunked=True)
        else:
            if ask.body or ask.method != "GET":
                connection.putheader("content-length", str(len(ask.body)))
            connection.endheaders(ask.body)
        response = connection.getresponse()
        return Answer(response.status, tuple(sorted(_lines(response))), _without_ids(response.read()))


def _lines(response: http.client.HTTPResponse) -> Iterator[tuple[str, str]]:
    for name, value in response.getheaders():
        name = name.lower()
        if name == "allow":
            # HEAD goes wherever GET goes; only one of the two says so.
            value = ", ".join(sorted(set(value.split(", ")) - {"HEAD"}))
        elif name == "server":
            if response.status >= 400 or not response.getheader("x-bentoml-request-id"):
                continue  # Ours is on every answer, theirs on those of endpoints.
        elif name == "vary":
            value = value.replace(", Access-Control-Request-Private-Network", "")  # of newer Starlettes
        elif name == "location":
            value = re.sub(r"//[^/]+", "//host", value)
        elif name.startswith("x-bentoml-"):
            value = f"{len(value)} characters"
        elif name not in COMPARED and not name.startswith("access-control-"):
            continue
        yield name, value


def _without_ids(body: bytes) -> bytes:
    return re.sub(rb'("task_id": ?")[0-9a-f]{32}', rb"\1id", body)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[int, int]]]:
    """The ports of both, by service; all start at once, as BentoML takes its time."""
    command = bentoml()
    if command is None:
        pytest.skip("no BentoML: set TIFFIN_BENTOML to its command, or make .venv-bentoml as the module says")
    running: list[subprocess.Popen[bytes]] = []
    ports: dict[str, tuple[int, int]] = {}
    logs: dict[int, Path] = {}
    try:
        for service in ASKED:
            if lacks(service, command):
                continue
            pair = []
            for whose in ("theirs", "ours"):
                directory = tmp_path_factory.mktemp(f"{service}-{whose}")
                shutil.copy(HERE / f"{service}.py", directory)
                port = _free_port()
                running.append(_start(command, whose, service, port, directory))
                pair.append(port)
                logs[port] = directory / "log"
            ports[service] = (pair[0], pair[1])
        with ThreadPoolExecutor(8) as pool:
            for found in pool.map(_wait, [p for pair in ports.values() for p in pair], running):
                assert found is None, (found, logs[found].read_text(errors="replace")[-3000:])
        yield ports
    finally:
        for process in running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for process in running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(5)


def _start(command: Path, whose: str, service: str, port: int, directory: Path) -> subprocess.Popen[bytes]:
    target = f"{service}:{service.capitalize()}"
    own = [sys.executable, "-m", "tiffin"] if whose == "ours" else [str(command)]
    order = [*own, "serve", target, "--port", str(port), "--host", "127.0.0.1", *ARGUMENTS.get(service, ())]
    with (directory / "log").open("wb") as log:
        return subprocess.Popen(
            order, cwd=directory, env=_environment(directory), stdout=log, stderr=log, start_new_session=True
        )


def _environment(directory: Path) -> dict[str, str]:
    """Ours, with stores of their own for both."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("BENTOML_", "TIFFIN_"))},
        "BENTOML_HOME": str(directory / "home"),
        "TIFFIN_HOME": str(directory / "tiffin"),
        "BENTOML_DO_NOT_TRACK": "True",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _wait(port: int, process: subprocess.Popen[bytes]) -> int | None:
    """Until a server answers its schema; the port of one that does not."""
    import time

    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=READY_SECONDS)
            with contextlib.closing(connection):
                connection.request("GET", "/schema.json")
                if connection.getresponse().status in (200, 429):
                    return None
        time.sleep(0.05)
    return port


@pytest.mark.parametrize("service", list(ASKED))
def test_both_answer_alike(service: str, servers: dict[str, tuple[int, int]]) -> None:
    if service not in servers:
        pytest.skip(f"BentoML's environment lacks one of {', '.join(NEEDED[service])}")
    theirs, ours = servers[service]
    wrong = []
    for ask in ASKED[service]:
        expected, found = answer(theirs, ask), answer(ours, ask)
        reason = REASONS.get((service, ask.label))
        if ask.path == "/schema.json":
            expected, found = _same_lines(expected), _same_lines(found)
        if (expected == found) == (reason is None):
            continue
        if reason is None:
            wrong.append(f"{ask.label}\n  theirs {expected}\n  ours   {found}")
        else:
            wrong.append(f"{ask.label}: no longer differs ({reason}); take it out of different.py")
    assert not wrong, "\n".join(wrong)


def test_scripts_of_authors_give_the_same(tmp_path: Path) -> None:
    command = bentoml()
    if command is None:
        pytest.skip("no BentoML: set TIFFIN_BENTOML to its command, or make .venv-bentoml as the module says")
    if missing := lacks("inside", command):
        pytest.skip(f"BentoML's environment lacks {missing}")
    begin = "from tiffin.service.compat import provide; provide(); "
    run = "import runpy, sys; sys.path.insert(0, '.'); runpy.run_path('inside.py', run_name='__main__')"
    said = {}
    for whose, python, code in (("theirs", command.parent / "python", run), ("ours", sys.executable, begin + run)):
        directory = tmp_path / whose
        directory.mkdir()
        shutil.copy(HERE / "inside.py", directory)
        found = subprocess.run(
            [python, "-c", code], cwd=directory, env=_environment(directory), capture_output=True, text=True
        )
        assert found.returncode == 0, found.stderr
        said[whose] = found.stdout.splitlines()
    assert said["ours"] == said["theirs"]
    assert len(said["ours"]) > 30


def test_objects_of_the_real_bentoml_are_served_at_the_same_paths(tmp_path: Path) -> None:
    command = bentoml()
    if command is None:
        pytest.skip("no BentoML: set TIFFIN_BENTOML to its command, or make .venv-bentoml as the module says")
    ask = "import sys, bentoml; print(*sys.version_info[:2], *[p for p in sys.path if 'packages' in p], sep='|')"
    said = subprocess.run([command.parent / "python", "-c", ask], capture_output=True, text=True, check=True)
    *version, places = said.stdout.strip().split("|", 2)
    if tuple(map(int, version)) != sys.version_info[:2]:
        pytest.skip(f"BentoML's environment has Python {'.'.join(version)}, this one another")
    code = f"""
import sys
sys.path.extend({places.split("|")!r})
sys.path.insert(0, ".")
from starlette.testclient import TestClient
from tiffin.service import loading
found = loading.load("around:Around", ".")
assert type(found).__name__ == "AdaptedService"
with TestClient(found.to_asgi()) as client:
    for path in ("/v1/app/hello", "/app/hello", "/v1/v1/app/hello", "/v1/livez"):
        print(path, client.get(path).status_code)
    print(client.post("/v1/sum", json={{"x": 1}}).text)
"""
    shutil.copy(HERE / "around.py", tmp_path)
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=_environment(tmp_path), capture_output=True, text=True
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.splitlines() == [
        "/v1/app/hello 200", "/app/hello 404", "/v1/v1/app/hello 404", "/v1/livez 200", "10"
    ]  # fmt: skip


def test_every_difference_is_of_a_request() -> None:
    asked = {(service, ask.label) for service, asks in ASKED.items() for ask in asks}
    assert REASONS.keys() <= asked
    assert all(len([a for a in asks if a.label == ask.label]) == 1 for asks in ASKED.values() for ask in asks)


def _same_lines(found: Answer) -> Answer:
    body = found.body
    for pattern, instead in LINES:
        body = re.sub(pattern, instead, body)
    return found._replace(body=body)
