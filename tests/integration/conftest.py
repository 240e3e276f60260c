"""What integration tests share: a small model, and ``tiffin serve`` as a process that is gone at the end."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

READY_SECONDS = 30.0
STOP_SECONDS = 15.0


def until(ask: Callable[[], Any], *, seconds: float = READY_SECONDS) -> Any:
    """The first answer that is true; fails when ``seconds`` pass without one."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = ask()
        if answer:
            return answer
        time.sleep(0.02)
    pytest.fail(f"{ask} was not true within {seconds} seconds")


class Served:
    """One running ``tiffin serve``: its process, its address, and a plain client."""

    def __init__(self, arguments: tuple[str, ...], directory: Path, log: Path) -> None:
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tiffin", "serve", *arguments],
                cwd=directory,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env=os.environ | {"PYTHONUNBUFFERED": "1", "COLUMNS": "200"},
            )
        self.port = 0

    def text(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(errors="replace")

    def wait_ready(self) -> "Served":
        """Return when it says where it serves."""

        def announced() -> bool:
            assert self.process.poll() is None, self.text()
            return "Serving at " in self.text()

        until(announced)
        address = self.text().split("Serving at ", 1)[1].split()[0]
        if address.startswith("http"):
            self.port = int(address.rpartition(":")[2])
        return self

    def connect(self) -> socket.socket:
        """A raw connection; reads time out after 10 seconds."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        """One request on a connection of its own: status and body; bytes are sent as they are, else JSON."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        with contextlib.closing(connection):
            connection.request(method, path, data, headers or {})
            response = connection.getresponse()
            return response.status, response.read()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(STOP_SECONDS)

    def end(self) -> None:
        """Whatever happened: nothing is left running."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(STOP_SECONDS)


@pytest.fixture(scope="session")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., contextlib.AbstractContextManager[Served]]:
    """``with serving("iris.joblib", directory=..., ready=True) as served``; on a free port unless told."""

    @contextlib.contextmanager
    def start(*arguments: str, directory: Path | None = None, ready: bool = True) -> Iterator[Served]:
        home = tmp_path_factory.mktemp("serving")
        chosen = any(argument in ("--port", "--unix") for argument in arguments)
        where = () if chosen else ("--port", "0")
        served = Served((*arguments, *where), directory or home, home / "log")
        try:
            yield served.wait_ready() if ready else served
        finally:
            served.end()

    return start


@pytest.fixture(scope="session")
def iris_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LogisticRegression on the iris data, in a file ``iris.joblib``."""
    import joblib
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    path = tmp_path_factory.mktemp("model") / "iris.joblib"
    features, classes = load_iris(return_X_y=True)
    joblib.dump(LogisticRegression(max_iter=1000).fit(features, classes), path)
    return path


@pytest.fixture
def root() -> Iterator[Path]:
    """A directory with a short name: sockets need one."""
    path = Path(tempfile.mkdtemp(prefix="tf-"))
    yield path
    shutil.rmtree(path)
