"""A process in which a framework is imported already, and which forks a replica whenever it is told to.

    orders in, a JSON object a line:   {"file": ..., "log": ..., "directory": ..., "environment": {...}}
    answers out, likewise:             {"file": ..., "pid": 7} | {"file": ..., "error": ...}
                                       {"pid": 7, "ready": {"import": 0.01, ...}}
                                       {"pid": 7, "exit": 0}

It serves one client, of its own user, on a Unix socket, and ends with it; replicas have sessions of their own and
live on. A fork copies one thread only, so nothing may be imported here that starts threads: what does is left
for the replica to import, and what can be told not to is told (``QUIET``).
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import logging
import os
import select
import signal
import socket
import struct
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

log = logging.getLogger(__name__)

OK, COULD_NOT_START = 0, 3
CLIENT_SECONDS = 60.0
"""How long it waits for its client to connect."""
_LOOK_SECONDS = 1.0
_MOST_BYTES = 1 << 20

QUIET = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
"""Variables that keep libraries from starting threads when they are imported; a replica does not see them."""

_ALWAYS = (
    "uvloop",
    "prometheus_client",
    "tiffin.runtime.__main__",
    "tiffin.runtime.supervisor",
    "tiffin.runtime.model_application",
)
_SKLEARN = (
    "tiffin.models.pickles",
    "tiffin.models.sklearn",
    *(
        f"sklearn.{module}"
        for module in (
            "compose",
            "ensemble",
            "linear_model",
            "neighbors",
            "pipeline",
            "preprocessing",
            "svm",
            "tree",
        )
    ),
)
MODULES = {
    "sklearn": _SKLEARN,
    "xgboost": ("tiffin.models.xgboost",),
    "lightgbm": ("tiffin.models.lightgbm",),
    "onnx": ("tiffin.models.table",),
}
"""What is imported for each format. onnxruntime is not: it starts a thread as soon as it is imported."""


@dataclass
class _Replica:
    """A fork: the pipe it reports on, and what it said so far."""

    pipe: int
    said: bytes = b""


@dataclass
class _Client:
    connection: socket.socket
    said: bytes = b""


def run(path: str, format: str, orders: str = "/") -> int:
    """Import, listen at ``path``, fork what is ordered; returns when the client has gone or it is told to stop.

    Only files below ``orders`` are obeyed.
    """
    _import(format)
    threads = _threads()
    if threads > 1:
        log.error("could not start: %d threads run after importing for %s, so forks are not safe", threads, format)
        return COULD_NOT_START
    gc.collect()
    gc.freeze()  # Forks then do not write to the pages they share with this process.
    return Zygote(path, orders).run()


def _import(format: str) -> None:
    for name in (*_ALWAYS, *MODULES[format]):
        # What is missing, or broken, is told by the replica that needs it.
        with contextlib.suppress(Exception):
            importlib.import_module(name)


def _threads() -> int:
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        import threading

        return threading.active_count()


class Zygote:
    """Listens, forks, and tells of ends. One thread, one loop."""

    def __init__(self, path: str, orders: str) -> None:
        self._path = path
        self._directory = Path(orders).resolve()
        self._parent = os.getppid()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._client: _Client | None = None
        self._replicas: dict[int, _Replica] = {}
        self._stopping = False
        self._waited = 0.0
        # A signal ends the select below, and is seen.
        self._woken, self._wake = os.pipe()
        for end in (self._woken, self._wake):
            os.set_blocking(end, False)

    def run(self) -> int:
        """Serve until the client has gone."""
        with contextlib.suppress(OSError):
            os.unlink(self._path)
        mask = os.umask(0o177)
        try:
            self._listener.bind(self._path)
        finally:
            os.umask(mask)
        self._listener.listen(4)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._told_to_stop)
        signal.signal(signal.SIGCHLD, _noted)
        try:
            while not self._stopping and self._is_wanted():
                self._turn()
        finally:
            self._listener.close()
            with contextlib.suppress(OSError):
                os.unlink(self._path)
        return OK

    def _is_wanted(self) -> bool:
        return os.getppid() == self._parent and self._waited < CLIENT_SECONDS

    def _turn(self) -> None:
        client = self._client
        sources: list[Any] = [self._woken, self._listener if client is None else client.connection]
        sources += [replica.pipe for replica in self._replicas.values() if replica.pipe >= 0]
        readable, _, _ = select.select(sources, [], [], _LOOK_SECONDS)
        self._waited = 0.0 if client is not None or readable else self._waited + _LOOK_SECONDS
        if self._woken in readable:
            os.read(self._woken, 4096)
        for pid in list(self._replicas):
            if self._replicas[pid].pipe in readable:
                self._hear(pid)
        self._reap()
        if self._listener in readable:
            self._accept()
        if client is not None and client.connection in readable:
            self._read(client)

    # -- the client ----------------------------------------------------------------------------------------

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        if not is_own(connection):
            log.warning("a process of another user wanted to give orders")
            connection.close()
            return
        self._client = _Client(connection)

    def _read(self, client: _Client) -> None:
        try:
            data = client.connection.recv(65_536)
        except OSError:
            data = b""
        client.said += data
        if not data or len(client.said) > _MOST_BYTES:
            self._stopping = True  # Whoever wanted replicas has gone.
            return
        *lines, client.said = client.said.split(b"\n")
        for line in lines:
            self._obey(line)

    def _tell(self, **answer: object) -> None:
        if self._client is not None:
            with contextlib.suppress(OSError):
                self._client.connection.sendall(json.dumps(answer).encode() + b"\n")

    def _obey(self, line: bytes) -> None:
        try:
            order = Order.read(line)
        except (ValueError, TypeError) as error:
            self._tell(file="", error=f"expected an order, found {line[:100]!r}: {error}")
            return
        try:
            if not Path(order.file).resolve().is_relative_to(self._directory):
                raise PermissionError(f"{order.file} is not below {self._directory}")
            pid = self._fork(order)
        except OSError as error:
            self._tell(file=order.file, error=str(error))
        else:
            self._tell(file=order.file, pid=pid)

    # -- the replicas --------------------------------------------------------------------------------------

    def _fork(self, order: Order) -> int:
        output = os.open(order.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        reader, writer = os.pipe()
        try:
            pid = os.fork()
        except OSError:
            os.close(reader)
            self._close(output, writer)
            raise
        if not pid:
            os.close(reader)
            self._become(order, output, writer)
        self._close(output, writer)
        self._replicas[pid] = _Replica(reader)
        return pid

    @staticmethod
    def _close(*descriptors: int) -> None:
        for descriptor in descriptors:
            os.close(descriptor)

    def _become(self, order: Order, output: int, writer: int) -> None:
        """In the fork: a replica like any other, which never returns from here."""
        code = COULD_NOT_START
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            self._let_go()
            _take_place(order, output)
            from tiffin.runtime import __main__, phases

            phases.start.restart()
            code = __main__.run_file(Path(order.file), ready=lambda seconds: _report(writer, seconds))
        except BaseException:
            log.exception("could not start")
        finally:
            with contextlib.suppress(Exception):
                logging.shutdown()
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def _let_go(self) -> None:
        """Of everything that is the zygote's own."""
        self._listener.close()
        if self._client is not None:
            self._client.connection.close()
        for end in (self._woken, self._wake, *(r.pipe for r in self._replicas.values() if r.pipe >= 0)):
            os.close(end)

    def _hear(self, pid: int) -> None:
        replica = self._replicas[pid]
        data = os.read(replica.pipe, 65_536)
        replica.said += data
        if replica.said.endswith(b"\n"):
            self._tell(pid=pid, ready=json.loads(replica.said))
        if not data or replica.said.endswith(b"\n"):
            os.close(replica.pipe)
            replica.pipe = -1

    def _reap(self) -> None:
        while self._replicas:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            replica = self._replicas.pop(pid, None)
            if replica is not None:
                if replica.pipe >= 0:
                    os.close(replica.pipe)
                self._tell(pid=pid, exit=os.waitstatus_to_exitcode(status))

    def _told_to_stop(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True


@dataclass(frozen=True)
class Order:
    """What to fork: where its ``ReplicaSpec`` is, and what is around it."""

    file: str
    log: str
    directory: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    threads: int = 1

    @classmethod
    def read(cls, line: bytes) -> Order:
        """Raises ValueError or TypeError."""
        fields = json.loads(line)
        if not isinstance(fields, dict) or not isinstance(fields.get("environment", {}), dict):
            raise TypeError("it is no object with an environment")
        file, log, directory = (fields.get(name, "") for name in ("file", "log", "directory"))
        if not all(isinstance(text, str) for text in (file, log, directory)) or not (file and log):
            raise ValueError("it names no file and log")
        environment = {str(name): str(value) for name, value in fields.get("environment", {}).items()}
        return cls(file, log, directory, environment, int(fields.get("threads", 1)))


def is_own(connection: socket.socket) -> bool:
    """Whether the process at the other end is of this user, or of root."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True  # The socket's mode lets nobody else in.
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, user, _ = struct.unpack("3i", credentials)
    return user in (0, os.getuid())


def _take_place(order: Order, output: int) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(nothing)
    os.close(output)
    for name in QUIET:
        os.environ.pop(name, None)
    os.environ.update(order.environment)
    if order.directory:
        os.chdir(order.directory)
    with contextlib.suppress(OSError), open("/proc/self/comm", "w") as file:
        file.write("tiffin-replica")
    sys.argv = ["tiffin.runtime", "--replica", order.file]
    # Else every replica would draw the same numbers.
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()
    if order.threads > 1:
        with contextlib.suppress(ImportError):
            limits = importlib.import_module("threadpoolctl").threadpool_limits
            limits(order.threads, user_api="blas")


def _report(writer: int, seconds: dict[str, float]) -> None:
    with contextlib.suppress(OSError):
        os.write(writer, json.dumps(seconds).encode() + b"\n")
        os.close(writer)


def _noted(number: int, frame: FrameType | None) -> None:
    """A child's end is read in the loop; without a handler the signal would wake nobody."""
