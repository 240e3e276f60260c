"""``serve``: ``tiffin serve`` in a process of its own, from Python."""

from __future__ import annotations

import contextlib
import http.client
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from tiffin.errors import PlatformError, ProcessError

if TYPE_CHECKING:
    from tiffin.service.definition import Service

START_SECONDS = 120.0
STOP_SECONDS = 40.0
_TAIL_LINES = 20


class Server:
    """A service that is served by another process; also a context manager, which stops it at its end.

    Attributes:
        url: Where, for example ``http://127.0.0.1:3000``.
    """

    def __init__(self, command: list[str], environment: Mapping[str, str], log: IO[bytes]) -> None:
        self._log = log
        self._process = subprocess.Popen(command, env=dict(environment), stderr=subprocess.STDOUT, stdout=log)
        self.url = ""

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process that serves."""
        return self._process

    def wait_until_ready(self, seconds: float = START_SECONDS) -> None:
        """Return when it answers; raises ProcessError, with the end of its log, when it does not."""
        pause = threading.Event()
        deadline = time.monotonic() + seconds
        while not (self._find_url() and self._is_ready()):
            if self._process.poll() is not None:
                raise ProcessError(
                    f"the service ended with status {self._process.returncode} before it was ready\n{self._tail()}"
                )
            if time.monotonic() > deadline:
                self.stop()
                raise ProcessError(f"expected the service to be ready within {seconds:g} s\n{self._tail()}")
            pause.wait(0.05)

    def _find_url(self) -> bool:
        if not self.url:
            for line in self._tail(1000).splitlines():
                if line.startswith("Serving at "):
                    self.url = line.split()[2]
        return bool(self.url)

    def _is_ready(self) -> bool:
        scheme, _, place = self.url.partition("://")
        if scheme == "https":
            return True  # It says where only once it is ready.
        try:
            connection = http.client.HTTPConnection(place, timeout=5)
            with contextlib.closing(connection):
                connection.request("GET", "/readyz")
                return connection.getresponse().status == 200
        except OSError:
            return False

    def _tail(self, lines: int = _TAIL_LINES) -> str:
        text = Path(self._log.name).read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def stop(self) -> None:
        """Let calls in hand come to their end, then end the process; once is enough."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._log.close()
        with contextlib.suppress(OSError):
            os.unlink(self._log.name)

    def wait(self) -> int:
        """Its exit code, once it has ended."""
        return self._process.wait()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()


def serve(
    target: Service[Any] | str | Path,
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    working_dir: str | Path | None = None,
    reload: bool = False,
    args: Mapping[str, Any] | None = None,
    env: Mapping[str, str] | None = None,
    blocking: bool = False,
    timeout: float = START_SECONDS,
    **ignored: Any,
) -> Server:
    """Serve a target in a process of its own, and return when it is ready.

    Example::

        with tiffin.serve("service:Iris", port=3000) as server:
            print(server.url)

    Args:
        target: What ``tiffin serve`` takes, or a class decorated with ``@service``.
        host: Where to listen.
        port: Where to listen; the service's own, or 3000, without one, and 0 for a free one.
        working_dir: Where the target is looked for; a Service is found by itself.
        reload: Restart on every change of a file.
        args: Template arguments, as ``use_arguments`` gives them.
        env: Further variables of the process.
        blocking: Return only when it has ended.
        timeout: Seconds it may take to be ready.
        ignored: Options of BentoML that have no effect; a TypeError for any that is not None.

    Raises:
        ProcessError: it could not start; the message ends with its log.
    """
    given = sorted(name for name, value in ignored.items() if value is not None and name not in _WITHOUT_EFFECT)
    if given:
        raise TypeError(f"serve() takes no {', '.join(given)}; set it in the decorator, or run `tiffin serve`")
    from tiffin.service.definition import Service

    if isinstance(target, Service):
        target, found = place_of(target)
        working_dir = working_dir or found
    command = [sys.executable, "-m", "tiffin", "serve", str(target), "--host", host]
    command += ["--working-dir", str(working_dir or ".")]
    command += ["--port", str(port)] if port is not None else []
    command += ["--reload"] if reload else []
    for name, value in (args or {}).items():
        command += ["--arg", f"{name}={value}"]
    log = tempfile.NamedTemporaryFile(prefix="tiffin-serve-", suffix=".log", delete=False)  # noqa: SIM115
    server = Server(command, {**os.environ, **(env or {})}, log)
    try:
        server.wait_until_ready(timeout)
        if blocking:
            server.wait()
    except BaseException:
        server.stop()
        raise
    if blocking:
        server.stop()
    return server


_WITHOUT_EFFECT = frozenset(("server_type", "production", "development"))


def place_of(service: Service[Any]) -> tuple[str, Path]:
    """Target and directory of a Service, from the file its class was written in.

    Raises:
        PlatformError: it was written in no file.
    """
    module = sys.modules.get(service.inner.__module__)
    file = getattr(module, "__file__", None)
    if file is None:
        raise PlatformError(f"expected {service.name} to be in a file, found it in {service.inner.__module__}")
    path = Path(file).resolve()
    if service.inner.__module__ == "__main__":
        return f"{path.name}:{service.inner.__name__}", path.parent
    above = (
        path.parent.parents[service.inner.__module__.count(".") - 1]
        if "." in service.inner.__module__
        else path.parent
    )
    return service.import_string, above
