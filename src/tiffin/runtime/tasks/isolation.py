"""Isolated tasks: each runs in a child process with an instance of the service of its own, and can be killed.

A child is started when one is first needed and kept for the next task; after a kill the next task gets a new one.
It is the leader of a session of its own, so what it started is killed with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys

from tiffin.protocol import named_json
from tiffin.runtime.tasks import frames
from tiffin.runtime.tasks.calls import Outcome
from tiffin.service.task_endpoint import TaskEndpoint
from tiffin.service.task_run import CurrentTask
from tiffin.spec import ReplicaSpec

log = logging.getLogger(__name__)

POLITE_SECONDS = 1.0
"""How long a child may take to cancel its method before it is killed."""

_GONE = (asyncio.IncompleteReadError, ConnectionError)


class Isolation:
    """The children of one worker: as many as tasks run at once."""

    def __init__(self, spec: ReplicaSpec) -> None:
        self._spec = spec
        self._idle: list[_Child] = []
        self._busy: set[_Child] = set()

    async def run(self, method: TaskEndpoint, current: CurrentTask, request: bytes) -> Outcome:
        """Run a method; cancelled, it is cancelled in the child, and the child killed if that does not help."""
        child = self._idle.pop() if self._idle else _Child()
        self._busy.add(child)
        try:
            if not child.is_started and (failure := await child.start(self._spec)):
                log.error(
                    "task %s: the process for isolated tasks cannot load the service: %s", current.id, failure
                )
                reply = named_json.error_reply(RuntimeError())
                return Outcome("failed", reply, named_json.UNEXPECTED, is_retriable=True)
            outcome = await child.ask(method, current, request)
            self._idle.append(child)
            return outcome
        except _GONE:
            return Outcome("crashed", error=f"its process {await child.end()}")
        except asyncio.CancelledError:
            if await child.cancel():
                self._idle.append(child)
            raise
        finally:
            self._busy.discard(child)
            if child not in self._idle:
                child.kill()

    def close(self) -> None:
        """End all of them."""
        for child in (*self._idle, *self._busy):
            child.kill()
        self._idle.clear()


class _Child:
    """One of them."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self.is_started = False

    async def start(self, spec: ReplicaSpec) -> str:
        """Start and load; why it could not, or nothing."""
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "tiffin.runtime.tasks.child",
                str(theirs.fileno()),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        self._reader, self._writer = await asyncio.open_connection(sock=ours)
        self._writer.write(frames.pack(frames.Begin(spec)))
        message = await frames.read(self._reader)
        assert isinstance(message, frames.Ready)
        self.is_started = not message.failure
        return message.failure

    async def ask(self, method: TaskEndpoint, current: CurrentTask, request: bytes) -> Outcome:
        assert self._writer is not None
        job = frames.Job(current.id, current.attempt, method.name, request, current.lifetime.left())
        self._writer.write(frames.pack(job))
        await self._writer.drain()
        return await self._outcome(current)

    async def _outcome(self, current: CurrentTask | None) -> Outcome:
        assert self._reader is not None
        while True:
            message = await frames.read(self._reader)
            if isinstance(message, frames.Done):
                return message.outcome()
            if isinstance(message, frames.Progress) and current is not None:
                current.progress(message.part, message.note)

    async def cancel(self) -> bool:
        """Ask the method to stop; whether it did, and the child can be used again."""
        if self._writer is None or not self.is_started:
            return False
        try:
            self._writer.write(frames.pack(frames.Cancel()))
            async with asyncio.timeout(POLITE_SECONDS):
                await self._outcome(None)
        except (*_GONE, TimeoutError):
            return False
        return True

    async def end(self) -> str:
        """How it ended, in words."""
        if self._process is None:
            return "did not start"
        code = await self._process.wait()
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"

    def kill(self) -> None:
        if self._writer is not None:
            self._writer.close()
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
