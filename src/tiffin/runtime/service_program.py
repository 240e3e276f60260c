"""A service that is a program (``cmd``, ``__command__``): every path but health and metrics is the program's."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from tiffin.errors import ServiceError
from tiffin.runtime.exchange import Endpoint
from tiffin.runtime.program import Program
from tiffin.runtime.program_proxy import ProgramProxy
from tiffin.runtime.service_mounts import Mounted
from tiffin.service.mounts import Mount

if TYPE_CHECKING:
    from tiffin.runtime.service_application import ServiceApplication

_LOOK_SECONDS = 0.05


class ServiceProgram:
    """The facet that has the program; the first worker starts it for all, or each one its own."""

    def __init__(self, application: ServiceApplication) -> None:
        self._application = application
        self._program: Program | None = None
        self._mounted = Mounted(application, Mount(ProgramProxy(self._port), "", "the program"))

    def _port(self) -> int:
        return self._application.program_port if self._program is None else self._program.port

    def endpoints(self) -> Iterable[Endpoint]:
        """Everything."""
        return [Endpoint("*", "/*", self._mounted.handle, below="")]

    async def start(self) -> None:
        """Start it; in another worker, wait until the first has."""
        application = self._application
        if application.worker and not application.service.settings.replicates_program:
            # Not an event: the worker that starts it is another process.
            while not application.program_port:  # noqa: ASYNC110
                await asyncio.sleep(_LOOK_SECONDS)
            return
        settings = application.service.settings
        self._program = Program(
            self._command(),
            port=settings.program_port + (application.worker if settings.replicates_program else 0),
            directory=Path(application.spec.path),
            environment=application.service.environment(),
            ready_path=settings.ready_path,
            live_path=settings.live_path,
            started=application.program_listens,
        )
        await self._program.start()

    def _command(self) -> list[str]:
        service = self._application.service
        hook = getattr(self._application.instance, "__command__", None)
        try:
            command = service.cmd if hook is None else hook()
        except Exception as error:
            raise ServiceError(f"{service.name}.__command__ raised {type(error).__name__}: {error}") from error
        if isinstance(command, str) or not command or not all(isinstance(word, str) for word in command):
            raise ServiceError(f"expected a list of words as the program of {service.name}, found {command!r}")
        return list(command)

    async def stop(self) -> None:
        """Let its answers come to their end, then end it."""
        await self._mounted.finish()
        if self._program is not None:
            await self._program.stop(self._application.spec.limits.drain_seconds)

    async def is_alive(self) -> bool:
        """Whether the program is; in another worker than the one that has it, the first says."""
        return self._program is None or await self._program.is_alive()

    async def is_ready(self) -> bool:
        """Whether the program is."""
        return self._program is None or await self._program.is_ready()
