"""What a controller owns on disk, and what is left of one that was killed.

    <home>/controller.lock      locked while a controller runs; one at a time
    <home>/controller.db        what it must not forget (``store``)
    <home>/dependencies.key     makes addresses that only services know (mode 0600)
    <home>/run/state.json       the controller, its address, the gateway's process
    <home>/run/replicas/*.json  orders of replicas
    <home>/run/envoy/           files of the gateway
    <home>/run/sockets/         sockets; in the system's temporary directory when that path is too long
    <home>/logs/                a log for each replica and the gateway

``run`` outlives a controller that was killed, and so do the processes that use it: the next controller adopts
them. It is removed when a controller stops. Every process has a file of ``run`` on its command line, so a kill
between a start and the note of its pid leaves nothing that cannot be found.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import IO

import msgspec

from tiffin.errors import PlatformError, ProcessError
from tiffin.kits import files, processes
from tiffin.kits.paths import DataDirectory, make_directory
from tiffin.local.containers import Containers

LONGEST_SOCKET_DIRECTORY = 80
STOP_GRACE_SECONDS = 10.0
LOGS_KEPT = 50
LOG_MOST_BYTES = 16 * 1024 * 1024
LOG_KEPT_BYTES = 2 * 1024 * 1024
LOCK = "controller.lock"
KEY_BYTES = 32


class State(msgspec.Struct, frozen=True, kw_only=True):
    """The content of ``state.json``. ``domain`` ends the host names of deployments."""

    owner: processes.Identity
    host: str
    port: int
    gateway: processes.Identity | None = None
    is_detached: bool = False


class Home:
    """The data directory while this process is its controller; ``Home.claim`` makes one."""

    def __init__(self, data: DataDirectory, lock: IO[str], left: State | None) -> None:
        self.data = data
        self.left = left
        self._lock = lock
        self.state: State | None = None
        self.sockets = sockets_of(data)

    @classmethod
    def claim(cls, data: DataDirectory) -> Home:
        """Be the one controller of this directory; raises ProcessError when there is one, PlatformError."""
        data.make()
        lock = (data.root / LOCK).open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            raise already_runs(data) from error
        try:
            home = cls(data, lock, read_state(data))
            for part in ("replicas", "envoy"):
                make_directory(data.run / part)
            _make_private(home.sockets)
        except BaseException:
            lock.close()
            raise
        return home

    @property
    def run(self) -> Path:
        return self.data.run

    @property
    def logs(self) -> Path:
        return self.data.logs

    @property
    def orders(self) -> Path:
        return self.data.run / "replicas"

    @property
    def envoy(self) -> Path:
        return self.data.run / "envoy"

    def note(
        self, *, host: str, port: int, gateway: processes.Identity | None = None, is_detached: bool = False
    ) -> None:
        """Write down who runs here, and where it listens; raises OSError."""
        owner = processes.identify(os.getpid())
        assert owner is not None
        self.state = State(owner=owner, host=host, port=port, gateway=gateway, is_detached=is_detached)
        files.write_atomic(self.run / "state.json", msgspec.json.encode(self.state))

    def strangers(self, known: set[int]) -> list[processes.Identity]:
        """Processes with a file of ``run`` on their command line, other than those with a known pid."""
        found = processes.mentioning(f"{self.run}{os.sep}")
        return [identity for identity in found if identity.pid not in known]

    def key(self) -> bytes:
        """A secret of this directory, made when there is none; raises OSError."""
        path = self.data.root / "dependencies.key"
        with contextlib.suppress(FileNotFoundError):
            if len(found := path.read_bytes()) == KEY_BYTES:
                return found
        made = os.urandom(KEY_BYTES)
        files.write_atomic(path, made)
        return made

    def is_ours(self) -> bool:
        """Whether the directory is still the one that was claimed: somebody may have deleted it meanwhile."""
        try:
            return os.path.samestat(os.fstat(self._lock.fileno()), (self.data.root / LOCK).stat())
        except OSError:
            return False

    def remove(self) -> None:
        """Delete what a controller needs while it runs; its processes must be gone."""
        if self.is_ours():
            remove_run(self.data)

    def give_back(self) -> None:
        """Leave all as it was found, after a start that came to nothing.

        What a killed controller left goes on answering calls, so what it uses stays, and so does the note of it.
        """
        if self.left is None and not self.strangers(set()):
            self.remove()
        elif self.left is not None and self.state is not None and self.state.gateway == self.left.gateway:
            with contextlib.suppress(OSError):  # The next start finds the processes by their command lines.
                files.write_atomic(self.run / "state.json", msgspec.json.encode(self.left))

    def release(self) -> None:
        """Let another controller in."""
        self._lock.close()

    def cap_logs(self) -> None:
        """Cut logs that grew too large down to their last part: writers append, and go on at the new end."""
        for path in self.logs.glob("*.log"):
            try:
                if path.stat().st_size > LOG_MOST_BYTES:
                    _keep_end(path)
            except OSError:
                continue

    def prune_logs(self, used: set[str]) -> None:
        """Delete the oldest logs of what runs no more."""
        old = [path for path in self.logs.glob("*.log") if path.name not in used]
        for path in sorted(old, key=_age)[: -LOGS_KEPT or None]:
            path.unlink(missing_ok=True)


def sockets_of(data: DataDirectory) -> Path:
    """Where sockets go: always the same place for the same home, so that adopted processes are found there."""
    sockets = data.run / "sockets"
    if len(os.fsencode(sockets)) <= LONGEST_SOCKET_DIRECTORY:
        return sockets
    name = hashlib.sha256(os.fsencode(data.root)).hexdigest()[:16]
    return Path(tempfile.gettempdir(), f"tiffin-{os.getuid()}-{name}")


def read_state(data: DataDirectory) -> State | None:
    """Who runs here, or ran when it was killed."""
    try:
        return msgspec.json.decode((data.run / "state.json").read_bytes(), type=State)
    except (OSError, msgspec.DecodeError):
        return None


def running(data: DataDirectory) -> State | None:
    """The state of the controller that runs here now, if one does."""
    state = read_state(data)
    return state if state is not None and processes.find(state.owner) is not None else None


def is_locked(data: DataDirectory) -> bool:
    """Whether a controller runs here."""
    try:
        with (data.root / LOCK).open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def already_runs(data: DataDirectory) -> ProcessError:
    """The error of a second controller."""
    state = running(data)
    who = f"(pid {state.owner.pid}, port {state.port}) " if state else ""
    return ProcessError(
        f"another `tiffin up` {who}already runs on the data directory {data.root}",
        hint="add to it with `tiffin apply`, stop it with `tiffin down`, or set TIFFIN_HOME to another directory",
    )


def clear(data: DataDirectory, *, grace_seconds: float = STOP_GRACE_SECONDS) -> int:
    """Stop what a controller that was killed left, and delete it; the number of processes stopped.

    Call it with the lock held.
    """
    state = read_state(data)
    left = {identity.pid: identity for identity in processes.mentioning(f"{data.run}{os.sep}")}
    if state is not None and state.gateway is not None:
        left[state.gateway.pid] = state.gateway
    stopped = processes.stop(left.values(), grace_seconds=grace_seconds)
    # A replica's workers may outlive it for a moment.
    processes.stop(processes.mentioning(f"{data.run}{os.sep}"), grace_seconds=1)
    swept = Containers().sweep(data.run)
    remove_run(data)
    return len(stopped) + swept


def has_leftovers(data: DataDirectory) -> bool:
    """Whether a controller left anything: files, or processes whose files somebody deleted."""
    return (data.run.is_dir() and any(data.run.iterdir())) or bool(processes.mentioning(f"{data.run}{os.sep}"))


def remove_run(data: DataDirectory) -> None:
    """Delete what is there while a controller runs."""
    for path in {sockets_of(data), *(data.run.iterdir() if data.run.is_dir() else ())}:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _make_private(path: Path) -> None:
    """A directory of our own; one that somebody else made there is refused."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        raise PlatformError(f"cannot create the directory {path}: {error.strerror or error}") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PlatformError(
            f"the directory {path} is not ours alone", hint="remove it, or set TMPDIR to a directory of your own"
        )


def _keep_end(path: Path) -> None:
    with path.open("rb+") as file:
        file.seek(-LOG_KEPT_BYTES, os.SEEK_END)
        end = file.read(LOG_KEPT_BYTES).partition(b"\n")[2]
        file.truncate(0)
    # Appended: the writer may have gone on meanwhile.
    with path.open("ab") as file:
        file.write(b"... (the log grew too large; what came before was dropped)\n" + end)


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
