"""What one ``tiffin up`` owns on disk while it lives, and what is left when it was killed.

    <home>/run/<id>/state.json       the owner, its port, and every process it started
    <home>/run/<id>/replicas/*.json  orders of replicas
    <home>/run/<id>/envoy/           files of the gateway
    <home>/run/<id>/sockets/         sockets; in the system's temporary directory when that path is too long
    <home>/logs/<id>/                logs, kept for the last few runs

The run exists before its first process, and every process has a file of the run on its command line: a kill
between a start and the note of its pid leaves nothing that cannot be found.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from tiffin.kits import files, processes
from tiffin.kits.paths import DataDirectory, make_directory

LOGS_KEPT = 5
LONGEST_SOCKET_DIRECTORY = 80
STOP_GRACE_SECONDS = 10.0


class State(msgspec.Struct, frozen=True, kw_only=True):
    """The content of ``state.json``. ``sockets`` is their directory."""

    owner: processes.Identity
    host: str
    port: int
    sockets: str
    processes: dict[str, processes.Identity] = {}
    """By name, each noted as soon as it has a pid."""


class Run:
    """The run of this process."""

    def __init__(self, directory: Path, logs: Path, state: State) -> None:
        self.directory = directory
        self.logs = logs
        self.state = state

    @property
    def id(self) -> str:
        return self.directory.name

    @property
    def sockets(self) -> Path:
        return Path(self.state.sockets)

    def started(self, name: str, identity: processes.Identity) -> None:
        """Note a process that started."""
        self._save(msgspec.structs.replace(self.state, processes={**self.state.processes, name: identity}))

    def ended(self, name: str) -> None:
        """Note that a process is gone; on a full disk the old note stays, which does no harm."""
        left = {known: identity for known, identity in self.state.processes.items() if known != name}
        with contextlib.suppress(OSError):
            self._save(msgspec.structs.replace(self.state, processes=left))

    def bound(self, port: int) -> None:
        """Note the port that the system chose."""
        self._save(msgspec.structs.replace(self.state, port=port))

    def remove(self) -> None:
        """Delete everything but the logs; its processes must be gone."""
        _remove(self.directory, self.state)

    def _save(self, state: State) -> None:
        self.state = state
        files.write_atomic(self.directory / "state.json", msgspec.json.encode(state))


def create(data: DataDirectory, *, host: str, port: int) -> Run:
    """Make a new run owned by this process; call it with the lock held."""
    name = secrets.token_hex(4)
    directory = make_directory(data.run / name)
    for part in ("replicas", "envoy"):
        make_directory(directory / part)
    sockets = _sockets_of(directory)
    # The name is a new one: a directory that somebody else made there is not used.
    sockets.mkdir(mode=0o700)
    owner = processes.identify(os.getpid())
    assert owner is not None
    state = State(owner=owner, host=host, port=port, sockets=str(sockets))
    run = Run(directory, make_directory(data.logs / name), state)
    run._save(state)
    _prune_logs(data)
    return run


@contextlib.contextmanager
def lock(data: DataDirectory) -> Iterator[None]:
    """Only one process at a time looks at the runs and makes or removes one."""
    with (data.run / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def found(data: DataDirectory) -> list[tuple[Path, State | None]]:
    """Every run on disk; without a state when it was killed before it wrote one."""
    runs = []
    for directory in sorted(data.run.iterdir()) if data.run.is_dir() else ():
        if directory.is_dir():
            try:
                state = msgspec.json.decode((directory / "state.json").read_bytes(), type=State)
            except (OSError, msgspec.DecodeError):
                state = None
            runs.append((directory, state))
    return runs


def is_alive(state: State | None) -> bool:
    """Whether the ``tiffin up`` that owns it runs."""
    return state is not None and processes.find(state.owner) is not None


def stop_owner(state: State, *, seconds: float) -> None:
    """Ask the owner to stop, which drains and removes its run; kill it when it takes longer than ``seconds``."""
    processes.stop([state.owner], grace_seconds=seconds)


def clear(directory: Path, state: State | None, *, grace_seconds: float = STOP_GRACE_SECONDS) -> int:
    """Stop what a run without an owner left, and delete it; the number of processes stopped."""
    left = {identity.pid: identity for identity in processes.mentioning(f"{directory}{os.sep}")}
    left |= {identity.pid: identity for identity in (state.processes.values() if state else ())}
    stopped = processes.stop(left.values(), grace_seconds=grace_seconds)
    # A replica's workers may outlive it for a moment.
    processes.stop(processes.mentioning(f"{directory}{os.sep}"), grace_seconds=1)
    _remove(directory, state)
    return len(stopped)


def _sockets_of(directory: Path) -> Path:
    """Where a run's sockets go; known from the run's name, so that it is found without a state."""
    sockets = directory / "sockets"
    if len(os.fsencode(sockets)) <= LONGEST_SOCKET_DIRECTORY:
        return sockets
    return Path(tempfile.gettempdir(), f"tiffin-{directory.name}")


def _remove(directory: Path, state: State | None) -> None:
    for sockets in {_sockets_of(directory), Path(state.sockets) if state else _sockets_of(directory)}:
        shutil.rmtree(sockets, ignore_errors=True)
    shutil.rmtree(directory, ignore_errors=True)


def _prune_logs(data: DataDirectory) -> None:
    running = {directory.name for directory, _ in found(data)}
    old = [path for path in data.logs.iterdir() if path.is_dir() and path.name not in running]
    for path in sorted(old, key=lambda path: path.stat().st_mtime)[: -LOGS_KEPT or None]:
        shutil.rmtree(path, ignore_errors=True)
