"""Processes: start one, know it again later, end it politely and then for certain.

A pid alone is no name: the system reuses it. Pid and creation time together are (``Identity``), so what an
earlier run left behind can be told from a stranger that got its number.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
import psutil

from tiffin.errors import ProcessError
from tiffin.kits import files, waiting

CLOCK_SLACK_SECONDS = 0.05
UNKNOWN = 256
"""The exit code of a process that was no child of this one: nobody can know it."""

_LOOK_SECONDS = 0.2
_TICKS = os.sysconf("SC_CLK_TCK")


class Identity(msgspec.Struct, frozen=True):
    """A process for all time: its pid, and when it was created.

    Seconds since the machine was started, where the system tells: that clock nobody sets. Else since 1970.
    """

    pid: int
    created: float


def identify(pid: int) -> Identity | None:
    """The identity of a running process; ``None`` when there is none."""
    try:
        return Identity(pid, _born(psutil.Process(pid)))
    except psutil.Error:
        return None


def find(identity: Identity) -> psutil.Process | None:
    """The process, when it still runs; a zombie does not."""
    try:
        process = psutil.Process(identity.pid)
        same = abs(_born(process) - identity.created) <= CLOCK_SLACK_SECONDS
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.Error:
        return None


def _born(process: psutil.Process) -> float:
    """When a process was created; psutil adds the time the machine was started, which moves with the clock."""
    try:
        with open(f"/proc/{process.pid}/stat", "rb") as file:
            # The name in parentheses may hold anything; the time is the 22nd field, in ticks.
            return int(file.read().rpartition(b")")[2].split()[19]) / _TICKS
    except FileNotFoundError:
        return float(process.create_time())
    except ProcessLookupError as error:
        raise psutil.NoSuchProcess(process.pid) from error


def mentioning(text: str) -> list[Identity]:
    """Processes of this user, other than this one, with ``text`` in their command line."""
    user = os.getuid()
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid == os.getpid() or process.uids().real != user:
                continue
            if any(text in argument for argument in process.cmdline()):
                found.append(Identity(process.pid, _born(process)))
        except psutil.Error:
            continue
    return found


def stop(identities: Iterable[Identity], *, grace_seconds: float) -> list[Identity]:
    """SIGTERM to all, SIGKILL to those still there after ``grace_seconds``; returns the ones that ran."""
    running = [identity for identity in identities if find(identity) is not None]
    for identity in running:
        if (process := find(identity)) is not None:
            with contextlib.suppress(psutil.Error):
                process.terminate()
    for identity in wait_gone(running, seconds=grace_seconds):
        if (process := find(identity)) is not None:
            with contextlib.suppress(psutil.Error):
                process.kill()
    wait_gone(running, seconds=5)
    return running


def wait_gone(identities: Iterable[Identity], *, seconds: float) -> list[Identity]:
    """Wait until they have ended; the ones that have not after ``seconds``.

    A zombie has ended: its parent may take long to notice.
    """
    deadline = time.monotonic() + seconds
    left = list(identities)
    while left := [identity for identity in left if find(identity) is not None]:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            break
        processes = [process for identity in left if (process := find(identity)) is not None]
        psutil.wait_procs(processes, timeout=min(remaining, 0.1))
    return left


class Child:
    """A child process in a session of its own, so that Ctrl-C in the terminal reaches only its parent.

    Output goes to ``log``. Use ``await Child.start(...)``, then ``exited`` or ``stop``.
    """

    def __init__(self, process: asyncio.subprocess.Process, log: Path, name: str) -> None:
        self._process = process
        self.log = log
        self.name = name
        self.identity = identify(process.pid) or Identity(process.pid, 0.0)

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        *,
        name: str,
        log: Path,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
    ) -> Child:
        """Start ``command``; raises ProcessError when the system cannot."""
        with log.open("ab") as output:
            try:
                process = await asyncio.create_subprocess_exec(
                    *command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=None if environment is None else dict(environment),
                    cwd=directory,
                    start_new_session=True,
                )
            except OSError as error:
                raise ProcessError(
                    f"{name} cannot be started: {error.strerror or error} ({command[0]})"
                ) from error
        return cls(process, log, name)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """``None`` while it runs; negative is the signal that ended it."""
        return self._process.returncode

    async def exited(self) -> int:
        """Wait for its end; the exit code."""
        return await self._process.wait()

    def signal(self, number: int) -> None:
        """Send a signal; nothing happens when it has ended."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def stop(self, *, grace_seconds: float) -> None:
        """SIGTERM, then SIGKILL to it and what it started, after ``grace_seconds``. Returns when it is gone."""
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace_seconds):
                await self._process.wait()
        except TimeoutError:
            self.kill_group()
            await self._process.wait()
        # Workers it forked and could not end are still in its session.
        self.kill_group()

    def kill_group(self) -> None:
        """SIGKILL to its whole process group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def describe_end(self) -> str:
        """How it ended, with its last log lines, for an error message."""
        return _described(self.name, self.exit_code, self.log)


class Adopted:
    """A process that somebody else started, in a session of its own, with the same methods as a ``Child``.

    Its end is learnt from a pidfd, or by looking where the system has none. Call ``close`` when it is of no
    interest any more but goes on running.
    """

    def __init__(self, identity: Identity, *, name: str, log: Path) -> None:
        self.identity = identity
        self.name = name
        self.log = log
        self._ended = asyncio.Event()
        self._watched: int | None = None
        self._looking: asyncio.Task[None] | None = None
        try:
            self._watched = os.pidfd_open(identity.pid)
            asyncio.get_running_loop().add_reader(self._watched, self._has_ended)
        except ProcessLookupError:
            self._ended.set()
        except (AttributeError, OSError):
            self._looking = asyncio.create_task(self._look())
        # The pid may have become a stranger's before the descriptor was opened.
        if find(identity) is None:
            self._has_ended()

    @property
    def pid(self) -> int:
        return self.identity.pid

    @property
    def exit_code(self) -> int | None:
        """``None`` while it runs; then ``UNKNOWN``."""
        return UNKNOWN if self._ended.is_set() else None

    async def exited(self) -> int:
        """Wait for its end; ``UNKNOWN``."""
        await self._ended.wait()
        return UNKNOWN

    def signal(self, number: int) -> None:
        """Send a signal; nothing happens when it has ended."""
        if not self._ended.is_set() and find(self.identity) is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(self.identity.pid, number)

    async def stop(self, *, grace_seconds: float) -> None:
        """As ``Child.stop``."""
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace_seconds):
                await self._ended.wait()
        except TimeoutError:
            self.kill_group()
            await self._ended.wait()
        self.kill_group()

    def kill_group(self) -> None:
        """SIGKILL to its whole process group, also when only what it started is left of that."""
        pid = self.identity.pid
        if pid <= 1:
            return  # 0 would be our own group.
        # A stranger with its number leads a group of its own only if the number was free as a group's too.
        found = identify(pid)
        if found is None or abs(found.created - self.identity.created) <= CLOCK_SLACK_SECONDS:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)

    def describe_end(self) -> str:
        """As ``Child.describe_end``."""
        return _described(self.name, self.exit_code, self.log)

    def close(self) -> None:
        """Watch it no longer."""
        if self._watched is not None:
            with contextlib.suppress(RuntimeError):
                asyncio.get_running_loop().remove_reader(self._watched)
            os.close(self._watched)
            self._watched = None
        if self._looking is not None:
            self._looking.cancel()

    def _has_ended(self) -> None:
        self._ended.set()
        self.close()

    async def _look(self) -> None:
        async def gone() -> bool | None:
            return True if find(self.identity) is None else None

        await waiting.until(gone, seconds=math.inf, every_seconds=_LOOK_SECONDS)
        self._ended.set()


def _described(name: str, code: int | None, log: Path) -> str:
    lines = files.last_lines(log)
    text = "".join(f"\n    {line}" for line in lines) or "\n    (its log is empty)"
    return f"{name} {ending(code)}; its last log lines:{text}"


def as_signal(code: int | None) -> int | None:
    """What a parent in between told: 137 of a program that was killed by signal 9 is -9."""
    return 128 - code if code is not None and 128 < code < 128 + 65 else code


def ending(code: int | None) -> str:
    """An exit code in words."""
    if code is None:
        return "is still running"
    if code == UNKNOWN:
        return "ended"
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
