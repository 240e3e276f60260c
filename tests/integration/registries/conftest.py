"""A real registry (Debian's docker-registry) on loopback, and a proxy before it that misbehaves as a test says."""

import contextlib
import hashlib
import http.client
import http.server
import re
import shutil
import signal
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

BINARY = shutil.which("docker-registry") or shutil.which("registry")
START_SECONDS = 30.0


class RunningRegistry:
    """A registry process with a directory of its own, on a port the system chose."""

    def __init__(self, directory: Path, users: str = "") -> None:
        assert BINARY is not None
        self.storage = directory / "storage"
        self.log = directory / "registry.log"
        directory.mkdir(parents=True, exist_ok=True)
        auth = ""
        if users:
            (directory / "users").write_text(users)
            auth = f"auth:\n  htpasswd:\n    realm: tests\n    path: {directory / 'users'}\n"
        (directory / "config.yml").write_text(
            "version: 0.1\nlog:\n  level: info\n"
            f"storage:\n  filesystem:\n    rootdirectory: {self.storage}\n"
            "http:\n  addr: 127.0.0.1:0\n  secret: of-the-tests\n" + auth
        )
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [BINARY, "serve", str(directory / "config.yml")],
                stdout=output,
                stderr=output,
                env={"PATH": "/usr/bin:/bin", "OTEL_TRACES_EXPORTER": "none"},
            )
        self.port = self._port()

    def _port(self) -> int:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()
            if found := re.search(r"listening on 127\.0\.0\.1:([0-9]+)", self.log.read_text()):
                return int(found[1])
            time.sleep(0.02)
        pytest.fail(f"the registry did not start: {self.log.read_text()}")

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def requests(self, method: str) -> list[str]:
        """The paths it was asked with ``method``, in order."""
        return re.findall(rf'"{method} (\S+) HTTP', self.log.read_text())

    def uploads(self) -> int:
        """How many blobs were uploaded from their first byte to their last."""
        return len([path for path in self.requests("PUT") if "/blobs/uploads/" in path])

    def blob(self, digest: str) -> Path:
        value = digest.removeprefix("sha256:")
        return self.storage / "docker/registry/v2/blobs/sha256" / value[:2] / value / "data"

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)


@pytest.fixture
def start_registry(tmp_path: Path) -> Iterator[Callable[..., RunningRegistry]]:
    """Starts registries; all are stopped at the end."""
    if BINARY is None:
        pytest.skip("there is no docker-registry here: apt-get install docker-registry")
    started: list[RunningRegistry] = []

    def start(users: str = "") -> RunningRegistry:
        started.append(RunningRegistry(tmp_path / f"registry-{len(started)}", users))
        return started[-1]

    yield start
    for one in started:
        one.stop()
        assert one.process.poll() is not None


@pytest.fixture
def registry(start_registry: Callable[..., RunningRegistry]) -> RunningRegistry:
    return start_registry()


class Proxy:
    """Hands bytes on between clients and a registry; a test may cut connections or change bytes.

    ``cut_up`` and ``cut_down`` are bytes of one connection after which it is broken, once for each number.
    ``change`` maps the bytes that go to the client.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self.cut_up: list[int] = []
        self.cut_down: list[int] = []
        self.change: Callable[[bytes], bytes] = bytes
        self.down = 0
        self.up = 0
        proxy = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with socket.create_connection(target) as other:
                    back = threading.Thread(target=proxy._down, args=(other, self.request))
                    back.start()
                    proxy._up(self.request, other)
                    back.join()

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

        self.server = Server(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server.server_address[1]}"

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        self._pass(client, server, self.cut_up, up=True)

    def _down(self, server: socket.socket, client: socket.socket) -> None:
        self._pass(server, client, self.cut_down, up=False)

    def _pass(self, source: socket.socket, target: socket.socket, cuts: list[int], *, up: bool) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                data = data if up else self.change(data)
                if cuts and passed + len(data) > cuts[0]:
                    target.sendall(data[: max(0, cuts.pop(0) - passed)])
                    break
                target.sendall(data)
                passed += len(data)
                self.up += len(data) if up else 0
                self.down += 0 if up else len(data)
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(10)


@pytest.fixture
def start_proxy() -> Iterator[Callable[[RunningRegistry], Proxy]]:
    started: list[Proxy] = []

    def start(registry: RunningRegistry) -> Proxy:
        started.append(Proxy(("127.0.0.1", registry.port)))
        return started[-1]

    yield start
    for one in started:
        one.stop()


def get(host: str, path: str) -> bytes:
    """One plain answer's body."""
    connection = http.client.HTTPConnection(host, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().read()
    finally:
        connection.close()


class KeepingRegistry:
    """Uploads as the distribution spec has them, of a registry that keeps the part of a piece that arrived.

    It breaks the first PATCH of a large blob after ``BREAKS`` bytes.
    """

    BREAKS = 1_234_567

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.ranges: list[str] = []
        uploads: dict[str, bytes] = {}
        registry = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments: object) -> None:
                pass

            def answer(self, status: int, **headers: str) -> None:
                self.send_response(status)
                for name, value in {"Content_Length": "0", **headers}.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()

            def session(self) -> str:
                return self.path.partition("?")[0].rpartition("/")[2]

            def progress(self, status: int) -> None:
                size = len(uploads[self.session()])
                self.answer(status, Location=self.path.partition("?")[0], Range=f"0-{max(0, size - 1)}")

            def do_HEAD(self) -> None:
                self.answer(200 if self.path.rpartition("/")[2] in registry.blobs else 404)

            def do_POST(self) -> None:
                uploads[f"u{len(uploads)}"] = b""
                self.answer(202, Location=f"{self.path.partition('?')[0]}u{len(uploads) - 1}")

            def do_GET(self) -> None:
                self.progress(204)

            def do_PATCH(self) -> None:
                length = int(self.headers["Content-Length"])
                if length > registry.BREAKS:
                    registry.ranges.append(self.headers["Content-Range"])
                if length > registry.BREAKS and len(registry.ranges) == 1:
                    uploads[self.session()] += self.rfile.read(registry.BREAKS)
                    self.connection.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True
                    return
                assert self.headers["Content-Range"].startswith(f"{len(uploads[self.session()])}-")
                uploads[self.session()] += self.rfile.read(length)
                self.progress(202)

            def do_PUT(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                if "/manifests/" not in self.path:
                    content = uploads.pop(self.session())
                    registry.blobs[f"sha256:{hashlib.sha256(content).hexdigest()}"] = content
                self.answer(201)

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *arguments: object) -> None:
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def keeping_registry() -> Iterator[KeepingRegistry]:
    running = KeepingRegistry()
    yield running
    running.server.shutdown()
    running.server.server_close()
    running.thread.join(10)
