"""A program behind a replica: its process, whether it is well, and its end.

It has a process group of its own, so that what it starts ends with it. Its output goes where the replica's goes.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tiffin.errors import ServiceError
from tiffin.runtime.program_proxy import ask

log = logging.getLogger(__name__)

PORT_WORDS = ("$PORT", "${PORT}")
"""What stands for the port in a command; a program without it listens where ``http.proxy_port`` says."""

_LOOK_SECONDS = 0.05
_LEAST_PAUSE, _MOST_PAUSE = 0.5, 30.0
_SET_DEATH_SIGNAL = 1
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class Program:
    """One program; ``start`` returns once it listens.

    Args:
        ready_path, live_path: where it tells how it is; without one, that it listens, or runs, will do.
        port: where it listens, unless the command has ``$PORT``: then a free one is found.
        started: told the port, each time it listens.

    Should it end by itself it is started again, with growing pauses; until then it is neither alive nor ready.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        port: int,
        directory: Path,
        environment: Mapping[str, str],
        ready_path: str = "",
        live_path: str = "",
        started: Callable[[int], None] = lambda port: None,
    ) -> None:
        self.port = port
        self._command = list(command)
        self._is_placed = any(word in part for part in command for word in PORT_WORDS)
        self._directory, self._environment = directory, dict(environment)
        self._ready_path, self._live_path = ready_path, live_path
        self._started = started
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start it and wait until it listens; raises ServiceError when it cannot, or ends before."""
        try:
            await self._launch()
        except BaseException:
            await self.stop(0.0)
            raise
        self._keeper = asyncio.get_running_loop().create_task(self._keep())

    async def _launch(self) -> None:
        if self._is_placed:
            self.port = _free_port()
        elif await _listens(self.port):
            raise ServiceError(
                f"port {self.port}, where {self._command[0]} is to listen, is another process's already",
                hint="write $PORT in the command in place of the number, or set http.proxy_port",
            )
        words = [self._placed(word) for word in self._command]
        try:
            self._process = await asyncio.create_subprocess_exec(
                *words,
                cwd=self._directory,
                env={**os.environ, **self._environment, "PORT": str(self.port)},
                stdin=asyncio.subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=_end_with_parent if _libc is not None else None,
            )
        except OSError as error:
            raise ServiceError(f"cannot start the program {words[0]!r}: {error.strerror or error}") from error
        log.info("started %s as process %d, to listen on port %d", words[0], self._process.pid, self.port)
        while not await self.is_ready():
            if self._process.returncode is not None:
                raise ServiceError(
                    f"the program {words[0]!r} {_end_of(self._process.returncode)} before it listened on port "
                    f"{self.port}",
                    hint="its output is in the log",
                )
            await asyncio.sleep(_LOOK_SECONDS)
        self._started(self.port)

    def _placed(self, word: str) -> str:
        for stand_in in reversed(PORT_WORDS):
            word = word.replace(stand_in, str(self.port))
        return word

    async def _keep(self) -> None:
        pause = _LEAST_PAUSE
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            if self._process is not None:
                code = await self._process.wait()
                self._signal(signal.SIGKILL)  # what it has left behind
                log.error("the program %s; it is started again", _end_of(code))
            if loop.time() - began > _MOST_PAUSE:
                pause = _LEAST_PAUSE
            await asyncio.sleep(pause)
            pause, began = min(2 * pause, _MOST_PAUSE), loop.time()
            try:
                await self._launch()
            except ServiceError as error:
                log.error("%s", error)

    @property
    def is_running(self) -> bool:
        """Whether there is a process."""
        return self._process is not None and self._process.returncode is None

    async def is_alive(self) -> bool:
        """Whether it runs, and says at ``live_path`` that it is well."""
        return self.is_running and (not self._live_path or await ask(self.port, self._live_path) == 200)

    async def is_ready(self) -> bool:
        """Whether it listens, or says at ``ready_path`` that it is ready."""
        if not self.is_running:
            return False
        if self._ready_path:
            return await ask(self.port, self._ready_path) == 200
        return await _listens(self.port)

    async def stop(self, grace_seconds: float) -> None:
        """SIGTERM, and SIGKILL for what is left of its group after the grace."""
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
            self._keeper = None
        if self._process is None:
            return
        self._signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_seconds):
                await self._process.wait()
        self._signal(signal.SIGKILL)
        await self._process.wait()
        self._process = None

    def _signal(self, number: int) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


def _end_with_parent() -> None:
    # A replica that is killed cannot pass on the signal: the kernel does.
    assert _libc is not None
    _libc.prctl(_SET_DEATH_SIGNAL, signal.SIGTERM)


def _end_of(code: int) -> str:
    return f"ended with exit code {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
