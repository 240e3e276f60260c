"""Programs of bundles that were built from an image's sources.

One that was written for KServe's server runs in a replica of ours; another one runs as it is, with a port of the
loopback.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import re
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from tiffin.errors import ProcessError
from tiffin.kits import files, ports, processes, threads
from tiffin.kits.paths import DataDirectory
from tiffin.kits.processes import Identity
from tiffin.local.launching import Processes
from tiffin.local.probes import Readiness, ports_listened_on
from tiffin.local.seams import Order, Running
from tiffin.spec import Component, ContainerSource

MODELS = "/mnt/models"
_WRAPPER = Path(__file__).with_name("wrapper.py")
_VARIABLE = re.compile(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)")


class Program:
    """A program of a bundle, as a process with a port of the loopback."""

    def __init__(self, order: Order, process: processes.Child | processes.Adopted, port: int) -> None:
        self._order = order
        self._process = process
        self.has_answered = False
        self._source = source_of(order)
        # One that reads neither $PORT nor a flag listens where its image says.
        self._addresses = [("127.0.0.1", port)]
        if port != self._source.port:
            self._addresses.append(("127.0.0.1", self._source.port))
        self._readiness = Readiness(self._source, order.name)
        self.endpoint = f"127.0.0.1:{port}"

    @property
    def identity(self) -> Identity:
        """Of its parent, which is ours."""
        return self._process.identity

    @property
    def exit_code(self) -> int | None:
        """``None`` while it runs; negative is the signal that ended it."""
        return processes.as_signal(self._process.exit_code)

    @property
    def start_seconds(self) -> Mapping[str, float]:
        """Nothing beyond what can be seen from outside."""
        return {}

    async def exited(self) -> int:
        """Wait for its end."""
        return processes.as_signal(await self._process.exited()) or 0

    async def is_ready(self) -> bool:
        """Whether its port answers; raises ProcessError when it listens on another one."""
        own = await threads.in_daemon(partial(ports_listened_on, self.identity.pid))
        addresses = [address for address in self._addresses if address[1] in own] or self._addresses[:1]
        found = await self._readiness.ask(addresses, self.identity.pid)
        if found is None:
            return False
        self.endpoint = f"{found[0]}:{found[1]}"
        self.has_answered = True
        return True

    async def stop(self, *, grace_seconds: float) -> None:
        """SIGTERM, then SIGKILL."""
        await self._process.stop(grace_seconds=grace_seconds)

    def kill(self) -> None:
        """SIGKILL to it and what it started."""
        self._process.kill_group()

    def describe_end(self) -> str:
        """How it ended, with its last log lines."""
        lines = (
            "".join(f"\n    {line}" for line in files.last_lines(self._order.log)) or "\n    (its log is empty)"
        )
        return f"{self._order.name} {processes.ending(self.exit_code)}; its last log lines:{lines}"


class Programs:
    """Runs the programs of bundles; see ``seams.Launcher``."""

    def __init__(self, data: DataDirectory) -> None:
        self._data = data
        self._replicas = Processes()

    def takes(self, component: Component) -> bool:
        """Images that a bundle stands for."""
        source = component.source
        return isinstance(source, ContainerSource) and bool(source.bundle)

    def _runs_in_a_replica(self, order: Order) -> bool:
        return _is_ours(Path(order.spec.path))

    async def launch(self, order: Order) -> Running:
        """Start it; raises ProcessError when the system cannot."""
        source = source_of(order)
        models = source.mounts[MODELS].uri if MODELS in source.mounts else ""
        if self._runs_in_a_replica(order):
            environment = environment_of(order, models)
            return await self._replicas.launch(dataclasses.replace(order, environment=environment))
        port = ports.free()
        environment = {**os.environ, **environment_of(order, models), "PORT": str(port)}
        command = command_line(source, environment, port)
        if not command:
            raise ProcessError(f"{order.name} has no command to start")
        child = await processes.Child.start(
            [sys.executable, "-I", "-S", str(_WRAPPER), str(order.file), "--", *command],
            name=order.name,
            log=order.log,
            # Byte code written into a bundle would make it differ from what was built.
            environment={**environment, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"},
            directory=Path(order.spec.path),
        )
        return Program(order, child, port)

    async def adopt(self, order: Order, identity: Identity, endpoint: str) -> Running | None:
        """The one that an earlier controller started, when it still runs."""
        if self._runs_in_a_replica(order):
            return await self._replicas.adopt(order, identity, endpoint)
        if processes.find(identity) is None:
            return None
        adopted = processes.Adopted(identity, name=order.name, log=order.log)
        return Program(order, adopted, int(endpoint.rpartition(":")[2]))

    async def close(self) -> None:
        """Nothing helps it."""


def command_line(source: ContainerSource, environment: Mapping[str, str], port: int) -> list[str]:
    """How a bundle's program is started on this machine.

    ``$(NAME)`` stands for a variable, as in Kubernetes; ``/mnt/models`` for where the mount is; and the port that
    the image has for itself for the one it gets here.
    """
    words = [filled(word, source, environment, port) for word in (*source.command, *source.arguments)]
    if words and re.fullmatch(r"python[0-9.]*", os.path.basename(words[0])):
        words[0] = sys.executable
    return words


def filled(word: str, source: ContainerSource, environment: Mapping[str, str], port: int) -> str:
    word = _VARIABLE.sub(lambda found: environment.get(found[1], found[0]), word)
    for place, artefact in source.mounts.items():
        word = word.replace(place, artefact.uri)
    return re.sub(rf"(?<!\d){source.port}(?!\d)", str(port), word)


def environment_of(order: Order, models: str) -> dict[str, str]:
    """The variables of a program beside its system's: its own, and ``models``, where it finds its model."""
    found = {**order.environment, **order.spec.component.environment}
    if MODELS in source_of(order).mounts:
        found["STORAGE_URI"] = models
    return found


def source_of(order: Order) -> ContainerSource:
    """What an order of a program or container is for."""
    source = order.spec.component.source
    assert isinstance(source, ContainerSource)
    return source


@functools.lru_cache(maxsize=256)
def _is_ours(source: Path) -> bool:
    """Whether a bundle's program is served by a replica of ours."""
    from tiffin.bundle import programs

    return programs.uses_kserve(source)
