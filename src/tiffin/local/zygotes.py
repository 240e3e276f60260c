"""Replicas of saved models, forked from processes that have imported the framework already: one for each format.

Such a process (``runtime.zygote``) is started with the first replica of its format and ends with the controller;
the replicas are processes of their own and live on. Whatever hinders it, replicas are started the plain way.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from tiffin.errors import ProcessError, TiffinError
from tiffin.kits import processes, waiting
from tiffin.local.launching import Processes, ProcessRunning
from tiffin.local.seams import Order
from tiffin.spec import Component, ModelSource

log = logging.getLogger(__name__)

WARM_SECONDS = 120.0
ANSWER_SECONDS = 10.0
READY_SECONDS = 0.5
"""How long one question for readiness waits for the replica's own word."""
CODE_SECONDS = 1.0
QUIET = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
"""So that libraries start no threads when they are imported: a fork would not have them."""
EARLY = (
    *(
        "PYTHON",
        "LD_",
        "DYLD_",
        "MALLOC_",
        "GLIBC_",
        "OMP_",
        "GOMP_",
        "KMP_",
        "OPENBLAS_",
        "GOTO_",
        "MKL_",
        "BLIS_",
    ),
    *(
        "NUMEXPR_",
        "VECLIB_",
        "NPY_",
        "NUMPY_",
        "SCIPY_",
        "SKLEARN_",
        "JOBLIB_",
        "XGBOOST_",
        "ORT_",
        "CUDA_",
        "ARROW_",
    ),
)
"""Variables that are read when libraries are imported: with one of these a replica is started the plain way."""


class Zygotes:
    """Forks replicas of saved models; see ``seams.Launcher``.

    Args:
        sockets: directory of Unix sockets.
        orders: directory of the orders' files; on its processes' command lines, so that they can be found.
        logs: directory of logs.
    """

    def __init__(self, sockets: Path, orders: Path, logs: Path) -> None:
        self._sockets = sockets
        self._orders = orders
        self._logs = logs
        self._plain = Processes()
        self._zygotes: dict[str, asyncio.Task[Zygote]] = {}
        self._starts = 0
        self._unfit: set[str] = set()

    def takes(self, component: Component) -> bool:
        return isinstance(component.source, ModelSource)

    async def launch(self, order: Order) -> ProcessRunning:
        format = _format(order)
        if not format or format in self._unfit or any(name.startswith(EARLY) for name in order.environment):
            return await self._plain.launch(order)
        began = time.monotonic()
        for _ in range(2):  # It may have died since the last replica: then once more, with another one.
            try:
                zygote = await self._zygote(format)
            except (TiffinError, OSError) as error:
                log.warning("replicas for %s are started without a warm process: %s", format, error)
                self._unfit.add(format)
                break
            try:
                running = await zygote.fork(order)
                running.fork_seconds = time.monotonic() - began
                return running
            except (TiffinError, OSError, TimeoutError) as error:
                log.warning("%s could not be forked: %s", order.name, error)
        return await self._plain.launch(order)

    async def adopt(self, order: Order, identity: processes.Identity, endpoint: str) -> ProcessRunning | None:
        return await self._plain.adopt(order, identity, endpoint)

    async def close(self) -> None:
        """End the warm processes."""
        tasks = list(self._zygotes.values())
        self._zygotes.clear()
        for task in tasks:
            task.cancel()
        for found in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(found, Zygote):
                await found.close()

    async def _zygote(self, format: str) -> Zygote:
        task = self._zygotes.get(format)
        if task is None or (task.done() and (task.exception() is not None or not task.result().is_alive)):
            self._starts += 1
            socket = self._sockets / f"z{self._starts}-{os.getpid()}.sock"
            start = Zygote.start(format, socket, self._orders, self._logs / f"warm-{format}.log")
            task = self._zygotes[format] = asyncio.create_task(start)
        # One that gives up waiting must not end it for the others.
        return await asyncio.shield(task)


class Zygote:
    """The client of one warm process. ``await Zygote.start(...)``, ``fork``, ``close``."""

    def __init__(self, child: processes.Child, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._child = child
        self._reader = reader
        self._writer = writer
        self._orders: dict[str, asyncio.Future[int]] = {}
        self._replicas: dict[int, Forked] = {}
        self._listening = asyncio.create_task(self._listen())

    @classmethod
    async def start(cls, format: str, socket: Path, orders: Path, log_file: Path) -> Zygote:
        """Start it and return when it is warm; raises ProcessError."""
        began = time.monotonic()
        command = (sys.executable, "-m", "tiffin.runtime", "--zygote", str(socket), "--warm", format)
        child = await processes.Child.start(
            [*command, "--orders", str(orders)],
            name=f"the warm process for {format}",
            log=log_file,
            environment={**os.environ, **QUIET},
        )

        async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
            if child.exit_code is not None:
                raise ProcessError(child.describe_end())
            try:
                return await asyncio.open_unix_connection(str(socket))
            except OSError:
                return None

        try:
            streams = await waiting.until(connect, seconds=WARM_SECONDS, every_seconds=0.02)
            if streams is None:
                raise ProcessError(f"the warm process for {format} did not listen within {WARM_SECONDS:.0f} s")
        except BaseException:
            await child.stop(grace_seconds=0.1)
            raise
        log.info("warm for %s after %.2f s", format, time.monotonic() - began)
        return cls(child, *streams)

    @property
    def is_alive(self) -> bool:
        """Whether it can fork."""
        return not self._listening.done() and self._child.exit_code is None

    async def fork(self, order: Order) -> ForkRunning:
        """A new replica; raises ProcessError, OSError or TimeoutError."""
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        file = str(order.file)
        self._orders[file] = answer
        said = {
            "file": file,
            "log": str(order.log),
            "directory": "" if order.directory is None else str(order.directory),
            "environment": dict(order.environment),
            "threads": max(1, int(order.spec.component.resources.cpu or 1)),
        }
        try:
            self._writer.write(json.dumps(said).encode() + b"\n")
            await self._writer.drain()
            async with asyncio.timeout(ANSWER_SECONDS):
                pid = await answer
        finally:
            self._orders.pop(file, None)
        forked = self._replicas.get(pid) or self._known(pid)
        forked.name, forked.log = order.name, order.log
        return ForkRunning(forked, order.spec.listen.unix)

    async def close(self) -> None:
        """End it; replicas live on."""
        self._listening.cancel()
        self._writer.close()
        await self._child.stop(grace_seconds=2.0)

    async def _listen(self) -> None:
        try:
            while line := await self._reader.readline():
                self._hear(json.loads(line))
        finally:
            for answer in self._orders.values():
                if not answer.done():
                    answer.set_exception(ProcessError(f"{self._child.name} has gone"))
            for replica in self._replicas.values():
                replica.zygote_gone()
            self._replicas.clear()

    def _hear(self, said: Mapping[str, object]) -> None:
        pid = said.get("pid")
        if "file" in said:
            answer = self._orders.get(str(said["file"]))
            if isinstance(pid, int):
                self._known(pid)
            if answer is not None and not answer.done():
                if isinstance(pid, int):
                    answer.set_result(pid)
                else:
                    answer.set_exception(ProcessError(str(said.get("error"))))
        elif isinstance(pid, int) and pid in self._replicas:
            ready, code = said.get("ready"), said.get("exit")
            if isinstance(ready, dict):
                self._replicas[pid].told_ready(ready)
            if isinstance(code, int):
                self._replicas.pop(pid).told_code(code)

    def _known(self, pid: int) -> Forked:
        identity = processes.identify(pid) or processes.Identity(pid, 0.0)
        found = self._replicas[pid] = Forked(identity, name=f"process {pid}", log=Path(os.devnull))
        return found


class Forked(processes.Adopted):
    """A replica that the warm process forked, and tells of: that it is ready, and how it ended."""

    def __init__(self, identity: processes.Identity, *, name: str, log: Path) -> None:
        self._code: int | None = None
        self._is_told = True
        self.said_ready = asyncio.Event()
        self.start_seconds: dict[str, float] = {}
        super().__init__(identity, name=name, log=log)

    @property
    def exit_code(self) -> int | None:
        """``None`` while it runs; ``UNKNOWN`` when the warm process ended before it."""
        code = super().exit_code
        return self._code if code is not None and self._code is not None else code

    async def exited(self) -> int:
        """Wait for its end; the exit code."""
        code = await super().exited()
        return code if self._code is None else self._code

    def told_ready(self, seconds: Mapping[str, object]) -> None:
        """It serves; and how long the phases of its start took."""
        self.start_seconds = {
            str(phase): round(float(took), 4) for phase, took in seconds.items() if isinstance(took, (int, float))
        }
        self.said_ready.set()

    def told_code(self, code: int) -> None:
        """It ended so."""
        self._code = code
        super()._has_ended()

    def zygote_gone(self) -> None:
        """Nobody will tell any more."""
        self._is_told = False
        self.said_ready.set()

    def _has_ended(self) -> None:
        # The code comes a moment after the end.
        if self._code is None and self._is_told:
            with contextlib.suppress(RuntimeError):
                self.close()
                asyncio.get_running_loop().call_later(CODE_SECONDS, super()._has_ended)
                return
        super()._has_ended()


class ForkRunning(ProcessRunning):
    """A forked replica, which says itself when it is ready.

    ``fork_seconds``: until it was forked; of a first replica, that is mostly the start of the warm process.
    """

    def __init__(self, process: Forked, endpoint: str) -> None:
        super().__init__(process, endpoint)
        self._forked = process
        self.fork_seconds = 0.0

    @property
    def start_seconds(self) -> Mapping[str, float]:
        """As it measured them."""
        measured = self._forked.start_seconds
        return {"fork": round(self.fork_seconds, 4), **measured} if measured else {}

    async def is_ready(self) -> bool:
        if not self._forked.said_ready.is_set():
            ended = asyncio.ensure_future(self._forked.exited())
            said = asyncio.ensure_future(self._forked.said_ready.wait())
            try:
                await asyncio.wait((ended, said), timeout=READY_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            finally:
                ended.cancel()
                said.cancel()
            if not self._forked.said_ready.is_set():
                return False
        return await super().is_ready()


def _format(order: Order) -> str:
    """Of the model's file; empty when there is none, which the replica will say."""
    from tiffin.models import formats

    source = order.spec.component.source
    assert isinstance(source, ModelSource)
    try:
        return formats.find(Path(order.spec.path), source.format).format
    except (TiffinError, OSError):
        return ""
