"""``python -m tiffin.runtime.tasks.child FD``: the process in which isolated tasks of one worker run.

It speaks ``frames`` on the socket it was given, runs one task at a time, and does not outlive its parent.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
import time

from tiffin.errors import TiffinError
from tiffin.kits import logs
from tiffin.kits.threads import in_daemon
from tiffin.runtime.service_application import ServiceApplication
from tiffin.runtime.tasks import frames
from tiffin.runtime.tasks.calls import Outcome, TaskCall
from tiffin.runtime.tasks.record import unpack_request
from tiffin.service.lifetime import Lifetime
from tiffin.service.task_endpoint import TaskEndpoint
from tiffin.service.task_run import CurrentTask
from tiffin.spec import ReplicaSpec

log = logging.getLogger(__name__)

_PARENT_SECONDS = 1.0


class _Alone(ServiceApplication):
    """The service by its methods only. Its deployment hooks ran before, in the replica."""

    def __init__(self, spec: ReplicaSpec) -> None:
        super().__init__(spec)
        self._facets = []
        self._worker = -1


class _Tasks:
    """Reads jobs and cancels, answers with progress and outcomes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._loop = asyncio.get_running_loop()
        self._application: ServiceApplication | None = None
        self._work: asyncio.Task[None] | None = None
        self._current: CurrentTask | None = None
        self._is_async = False

    async def serve(self) -> None:
        """Until the other side has gone."""
        while True:
            match await frames.read(self._reader):
                case frames.Begin(spec):
                    self._send(frames.Ready(await self._load(spec)))
                case frames.Job() as job:
                    self._work = self._loop.create_task(self._run(job))
                case frames.Cancel():
                    self._cancel()

    async def _load(self, spec: ReplicaSpec) -> str:
        try:
            self._application = _Alone(spec)
            await in_daemon(self._application.load)
            await self._application.start()
        except Exception as error:
            if not isinstance(error, TiffinError):
                log.exception("could not load")
            return str(error) or type(error).__name__
        return ""

    async def _run(self, job: frames.Job) -> None:
        application = self._application
        assert application is not None
        method = application.service.apis[job.method]
        assert isinstance(method, TaskEndpoint)
        self._is_async = method.kind == "async"
        lifetime = Lifetime(None if job.seconds is None else time.monotonic() + job.seconds)
        current = self._current = CurrentTask(job.task, job.attempt, lifetime, self._report)
        call = TaskCall(application, method, *unpack_request(job.request), current)
        try:
            outcome = await (call.on_loop() if self._is_async else in_daemon(call.plain))
        except asyncio.CancelledError:
            outcome = Outcome("canceled")
        self._current = None
        self._send(frames.Done(*outcome))

    def _cancel(self) -> None:
        if self._current is None or self._work is None or self._application is None:
            return
        self._current.lifetime.cancel()
        if self._is_async:  # a plain method is only asked; this process is killed when that does not help
            self._work.cancel()

    def _report(self, part: float, note: str) -> None:
        self._loop.call_soon_threadsafe(self._send, frames.Progress(part, note))

    def _send(self, message: frames.Message) -> None:
        self._writer.write(frames.pack(message))


async def _main(number: int) -> None:
    reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=number))
    try:
        await _Tasks(reader, writer).serve()
    except (asyncio.IncompleteReadError, ConnectionError):
        _die()


def _watch(parent: int) -> None:
    """In a thread: a method that holds up the loop does not keep this process when its parent was killed."""
    waiting = threading.Event()
    while os.getppid() == parent:
        waiting.wait(_PARENT_SECONDS)
    _die()


def _die() -> None:
    """End, with all that was started here."""
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    logs.install(os.environ.get("TIFFIN_LOG_LEVEL", "INFO").upper())
    threading.Thread(target=_watch, args=(os.getppid(),), daemon=True).start()
    asyncio.run(_main(int(sys.argv[1])))
