"""One replica as a process of this machine: order it, start it, ask until ready, end it."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from tiffin.errors import ProcessError
from tiffin.kits import files, http, processes, waiting
from tiffin.local.addresses import Example, example_of
from tiffin.local.lives import Lives
from tiffin.local.runs import Run
from tiffin.spec import Component, Deployment, Listen, ModelSource, ReplicaSpec

READY_SECONDS = 300.0
SPARE_SECONDS = 5.0
COULD_NOT_START = 3

_REASON = re.compile(r"(?: ERROR .*?: could not (?:load|start)|^error): (.+)")
_NEW_RECORD = re.compile(r"\d{4}-\d\d-\d\dT")


@dataclass
class Replica:
    """What is known of one replica. ``generation`` counts its starts: each gets a socket of its own."""

    deployment: Deployment
    component: Component
    path: Path
    name: str
    generation: int = 0
    lives: Lives = field(default_factory=Lives)
    child: processes.Child | None = None
    is_ready: bool = False
    socket: str = ""

    @property
    def label(self) -> str:
        """What people call it."""
        return f"{self.deployment.key} {self.component.name} {self.name}"

    def order(self, listen: Listen) -> ReplicaSpec:
        """The order as the replica reads it."""
        return ReplicaSpec(
            deployment=self.deployment.name,
            namespace=self.deployment.namespace,
            model_name=self.deployment.name,
            protocol=self.deployment.protocol,
            component=self.component,
            path=str(self.path),
            listen=listen,
        )

    async def start(self, run: Run) -> None:
        """Start it and return when it is ready; raises ProcessError with its last log lines."""
        self.generation += 1
        # A socket nobody has used: Envoy may still hold connections to the one before.
        self.socket = str(run.sockets / f"{self.name}.{self.generation}.sock")
        file = run.directory / "replicas" / f"{self.name}.json"
        order = self.order(Listen(unix=self.socket))
        files.write_atomic(file, msgspec.json.encode(order))
        in_place = isinstance(self.component.source, ModelSource) or not self.path.is_dir()
        child = await processes.Child.start(
            [sys.executable, "-m", "tiffin.runtime", "--replica", str(file)],
            name=self.label,
            log=run.logs / f"{self.name}.log",
            environment={**os.environ, **self.component.environment},
            directory=None if in_place else self.path,
        )
        self.child = child
        run.started(self.name, child.identity)
        try:
            await self._until_ready(child)
        except BaseException:
            await self.stop(run, grace_seconds=1)
            raise
        self.is_ready = True

    async def _until_ready(self, child: processes.Child) -> None:
        async def ask() -> bool | None:
            if child.exit_code is not None:
                raise start_error(child)
            answer = await http.ask(self.socket, "/readyz")
            return True if answer is not None and answer.status == 200 else None

        if await waiting.until(ask, seconds=READY_SECONDS, every_seconds=0.05) is None:
            raise ProcessError(f"{self.label} was not ready after {READY_SECONDS:.0f} s; its log is {child.log}")

    async def example(self) -> Example | None:
        """A request it says it answers."""
        answer = await http.ask(self.socket, "/tiffin/example")
        if answer is None or answer.status != 200:
            return None
        try:
            return example_of(json.loads(answer.body))
        except ValueError:
            return None

    async def stop(self, run: Run, *, grace_seconds: float | None = None) -> None:
        """SIGTERM, so that it finishes what it has; SIGKILL after its drain time and a little more."""
        self.is_ready = False
        if self.child is not None:
            drain = self.order(Listen()).limits.drain_seconds + SPARE_SECONDS
            await self.child.stop(grace_seconds=drain if grace_seconds is None else grace_seconds)
            self.forget(run)

    def forget(self, run: Run) -> None:
        """Tidy up after it has ended."""
        self.is_ready = False
        self.child = None
        Path(self.socket).unlink(missing_ok=True)
        run.ended(self.name)


def start_error(child: processes.Child) -> ProcessError:
    """Why a replica ended before it was ready: the reason it gives, else how it ended and its last log lines."""
    told = told_reason(files.last_lines(child.log, 30)) if child.exit_code == COULD_NOT_START else None
    if told is None:
        return ProcessError(child.describe_end())
    return ProcessError(f"{told[0]}\n    its log is {child.log}", hint=told[1])


def told_reason(lines: Sequence[str]) -> tuple[str, str | None] | None:
    """The reason and the hint in a log: ``ERROR ...: could not load: REASON``, then ``hint: ...`` by itself."""
    for index in range(len(lines) - 1, -1, -1):
        found = _REASON.search(lines[index])
        if found:
            rest = [line for line in lines[index + 1 :] if not _NEW_RECORD.match(line)]
            hint = next((line.removeprefix("hint: ") for line in rest if line.startswith("hint: ")), None)
            more = [line for line in rest if not line.startswith("hint: ")]
            return "\n".join([found[1], *more]), hint
    return None


def replicas_of(deployment: Deployment, paths: dict[str, Path], first: int) -> list[Replica]:
    """The replicas a deployment asks for, named from ``r<first>`` on: names are short, as socket paths must be."""
    wanted = [component for component in deployment.components for _ in range(max(1, component.replicas))]
    return [
        Replica(deployment, component, paths[component.name], f"r{first + index}")
        for index, component in enumerate(wanted)
    ]
