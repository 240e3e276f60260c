"""Replicas as processes of this machine, the way that needs nothing but Python."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from tiffin.kits import http, processes
from tiffin.local.seams import Order
from tiffin.spec import Component, ContainerSource


class ProcessRunning:
    """A replica that is a process; see ``seams.Running``."""

    def __init__(self, process: processes.Child | processes.Adopted, endpoint: str) -> None:
        self._process = process
        self.endpoint = endpoint
        self.has_answered = False

    @property
    def identity(self) -> processes.Identity:
        return self._process.identity

    @property
    def exit_code(self) -> int | None:
        return self._process.exit_code

    @property
    def start_seconds(self) -> Mapping[str, float]:
        """What is known of the start beside what can be seen from outside."""
        return {}

    async def exited(self) -> int:
        return await self._process.exited()

    async def is_ready(self) -> bool:
        answer = await http.ask(self.endpoint, "/readyz")
        self.has_answered = self.has_answered or answer is not None
        return answer is not None and answer.status == 200

    async def stop(self, *, grace_seconds: float) -> None:
        await self._process.stop(grace_seconds=grace_seconds)

    def kill(self) -> None:
        self._process.kill_group()

    def describe_end(self) -> str:
        return self._process.describe_end()


class Processes:
    """Starts ``python -m tiffin.runtime --replica FILE``; see ``seams.Launcher``."""

    def takes(self, component: Component) -> bool:
        return not isinstance(component.source, ContainerSource)

    async def launch(self, order: Order) -> ProcessRunning:
        child = await processes.Child.start(
            [sys.executable, "-m", "tiffin.runtime", "--replica", str(order.file)],
            name=order.name,
            log=order.log,
            environment={**os.environ, **order.environment},
            directory=order.directory,
        )
        return ProcessRunning(child, order.spec.listen.unix)

    async def adopt(self, order: Order, identity: processes.Identity, endpoint: str) -> ProcessRunning | None:
        if processes.find(identity) is None:
            return None
        return ProcessRunning(processes.Adopted(identity, name=order.name, log=order.log), endpoint)

    async def close(self) -> None:
        """Nothing helps it."""
