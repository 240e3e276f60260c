"""One replica: started, asked until it is ready, warmed up, started again when it dies, drained at the end.

Pending ──> Starting ──> Ready ──> (it dies) ──> CrashLoopBackOff ──> Starting ...
                │ could not start                      ▲
                └──────────────────────────────────────┘             any ──> Draining ──> gone
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Protocol

import msgspec

from tiffin.errors import ProcessError, TiffinError
from tiffin.kits import files, http, processes, waiting
from tiffin.local import liveness
from tiffin.local.addresses import Example, example_of
from tiffin.local.defects import fault, is_unexpected
from tiffin.local.faults import FAILURES, problem_of
from tiffin.local.grpc_sockets import grpc_sockets
from tiffin.local.limits import OOM_KILLED
from tiffin.local.lives import Lives
from tiffin.local.seams import Launcher, Order, Running
from tiffin.local.store import ReplicaRecord
from tiffin.plan.revision import Revision
from tiffin.plan.state import Problem, ReplicaPhase, ReplicaStatus
from tiffin.spec import Component, Limits, Listen, ModelSource, ReplicaSpec, Spool

READY_SECONDS = 300.0
WARM_UP_SECONDS = 30.0
SPARE_SECONDS = 5.0
SETTLE_SECONDS = 0.2
"""Between taking a replica out of the endpoints and ending it: what Envoy handed over before it knew."""

SLOT_SECONDS = 10.0
"""A replica that loads for longer lets others begin."""

COULD_NOT_START = 3
DRAIN_SECONDS = Limits().drain_seconds + SPARE_SECONDS

_REASON = re.compile(r"(?: ERROR .*?: could not (?:load|start)|^error): (.+)")
_NEW_RECORD = re.compile(r"\d{4}-\d\d-\d\dT")


class Keeper(Protocol):
    """What a replica needs of whoever keeps it."""

    def note(self, record: ReplicaRecord) -> None:
        """Write down what is known of it; raises PlatformError."""

    def gone(self, replica: Replica) -> None:
        """It has ended for good, and may be forgotten."""

    def changed(self, replica: Replica) -> None:
        """Its phase is another one."""

    def say(self, text: str) -> None:
        """Tell people."""


@dataclass(frozen=True)
class Setting:
    """What all starts of a replica share.

    Attributes:
        launcher: How it is started.
        paths: Where orders, sockets and logs go.
        slots: Few replicas load at once.
        artefact: The local path of its artefact.
        environment: On top of the component's.
        recording: Where it may write calls.
        dependencies: Where it calls services that run apart, by their names.
        fetch_seconds: How long its artefact took to come.
    """

    launcher: Launcher
    orders: Path
    sockets: Path
    logs: Path
    slots: asyncio.Semaphore
    artefact: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    recording: Spool | None = None
    dependencies: Mapping[str, str] = field(default_factory=dict)
    fetch_seconds: float = 0.0


class Replica:
    """One replica. ``begin`` makes it live; ``drain`` ends it. ``record.generation`` counts its starts."""

    def __init__(
        self, record: ReplicaRecord, revision: Revision, component: Component, setting: Setting, keeper: Keeper
    ) -> None:
        self.record = record
        self.revision = revision
        self.component = component
        self.phase: ReplicaPhase = "Pending"
        self.problem: Problem | None = None
        self.failure: Exception | None = None
        self.is_warm: bool | None = None
        self.example: Example | None = None
        self.running: Running | None = None
        self._setting = setting
        self._keeper = keeper
        self._lives = Lives()
        self._was_ready = False
        self._task: asyncio.Task[None] | None = None
        self._draining: asyncio.Task[None] | None = None

    @property
    def id(self) -> str:
        return self.record.id

    @property
    def name(self) -> str:
        """``iris-00001-predictor-r3``; no other replica has or had it."""
        return f"{self.revision.name}-{self.component.name}-{self.id}"

    @property
    def label(self) -> str:
        """What people call it."""
        return f"{self.revision.key} {self.component.name} {self.id}"

    @property
    def place(self) -> tuple[int, str]:
        return self.revision.number, self.component.name

    @property
    def endpoint(self) -> str:
        return self.record.endpoint

    @property
    def log(self) -> Path:
        return self._setting.logs / f"{self.name}.log"

    @property
    def is_ready(self) -> bool:
        return self.phase == "Ready"

    @property
    def has_failed(self) -> bool:
        """Whether it was tried and is not there."""
        return self.phase in ("CrashLoopBackOff", "Failed")

    def status(self, cpu: float | None = None, memory_bytes: int | None = None) -> ReplicaStatus:
        """As the API shows it."""
        running = self.running
        return ReplicaStatus(
            name=self.name,
            revision=self.revision.name,
            component=self.component.name,
            phase=self.phase,
            pid=running.identity.pid if running is not None else None,
            endpoint=self.endpoint,
            restarts=max(0, self.record.generation - 1),
            started=self.record.started,
            cpu=cpu,
            memory_bytes=memory_bytes,
            start_seconds=self.record.start_seconds,
            problem=self.problem,
            log_file=str(self.log),
        )

    def begin(self) -> None:
        """Start it, and keep it running from now on."""
        self._task = asyncio.create_task(self._keep())

    async def adopt(self) -> bool:
        """Take over the process an earlier controller started; ``False`` when it has gone."""
        identity = self.record.identity
        if identity is None:
            return False
        self.running = await self._setting.launcher.adopt(self._order(), identity, self.record.endpoint)
        if self.running is None:
            return False
        if self.record.ready and await self.running.is_ready():
            self._was_ready = True
            self.is_warm = True
            self.example = await self._own_example()
            self.phase = "Ready"
        return True

    def drain(self, publish: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        """Take it out of the endpoints, let it finish, end it; ``publish`` returns when the gateway knows."""
        if self._draining is None:
            was_ready = self.is_ready
            self.phase = "Draining"
            self._draining = asyncio.create_task(self._drain(publish, was_ready))
            self._keeper.changed(self)
        return self._draining

    def found(self, component: Component, artefact: Path) -> None:
        """Where its artefact is, for its next start."""
        self.component = component
        self._setting = replace(self._setting, artefact=artefact)

    def kill(self) -> None:
        """End its process at once; ``drain`` still has to tidy up."""
        if self.running is not None:
            self.running.kill()

    async def let_go(self) -> None:
        """Stop to look after it, and leave it running."""
        await _cancelled(self._task)

    # -- its life ------------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        while True:
            try:
                await self._live()
            except Exception as error:
                # Nobody foresaw it; what is said of it, and when it is tried again, is as after a death.
                self.problem, self.failure = fault(error, self.label), error
                self._lives = self._lives.after_death(0)
                self._turn("CrashLoopBackOff")
                await asyncio.sleep(max(1.0, self._lives.first_pause_seconds))

    async def _live(self) -> None:
        while True:
            if self.phase != "Ready" and not await self._attempt():
                self._turn("CrashLoopBackOff")
                await asyncio.sleep(self._pause())
                continue
            await self._until_dead()
            self._turn("CrashLoopBackOff")
            pause = self._pause()
            self._keeper.say(f"starting {self.label} again{f' in {pause:g} s' if pause else ''}")
            await asyncio.sleep(pause)

    def _pause(self) -> float:
        """What was ready once is started again at once; what never was would fail as it did before."""
        return self._lives.pause_seconds if self._was_ready else self._lives.first_pause_seconds

    async def _until_dead(self) -> None:
        assert self.running is not None
        running, began = self.running, time.monotonic()
        if await self._ended_or_stuck(running):
            self._keeper.say(f"{self.label} answers nobody and does nothing; it is ended")
            running.kill()
            await running.exited()
            said = f"{self.label} was stuck: it answered nobody, and was ended"
        else:
            said = running.describe_end()
            self._keeper.say(said)
            running.kill()
        lines = files.last_lines(self.log)
        self.problem = Problem(
            reason=OOM_KILLED if OOM_KILLED in said else "Unresponsive" if "was stuck" in said else "Crashed",
            message=said.partition("; its last log lines:")[0],
            hint=f"its log is {self.log}",
            log=tuple(lines),
        )
        self._lives = self._lives.after_death(time.monotonic() - began)
        self._forget_process()

    async def _ended_or_stuck(self, running: Running) -> bool:
        async def ask() -> bool:
            # Somebody may have deleted the socket, which says nothing of it.
            gone = not await asyncio.to_thread(Path(running.endpoint).exists)
            return gone or await http.ask(running.endpoint, "/livez", seconds=5.0) is not None

        if not running.endpoint.startswith("/"):
            await running.exited()  # Of a program of others' nobody knows what it answers.
            return False
        return await liveness.ended_or_stuck(running.exited(), ask, running.identity.pid, liveness.REPLICA)

    async def _attempt(self) -> bool:
        """Start it, or go on with a start that another controller began; whether it is ready."""
        try:
            async with _slot(self._setting.slots) as free:
                self._turn("Starting")
                await self._start(free)
        except Exception as error:
            if is_unexpected(error):
                self.problem = fault(error, f"starting {self.label}")
                self.failure = ProcessError(self.problem.message, hint=self.problem.hint)
            else:
                self.problem, self.failure = problem_of(error, log=files.last_lines(self.log)), error
            self._lives = self._lives.after_death(0)
            if self._was_ready:
                self._keeper.say(f"{self.label} did not start: {self.failure}")
            return False
        if self._was_ready:
            self._keeper.say(f"{self.label} is ready again")
        self._was_ready = True
        self.problem = self.failure = None
        self._turn("Ready")
        return True

    async def _start(self, free: Callable[[], None]) -> None:
        began = time.monotonic()
        try:
            running = self.running if self.running is not None else await self._launch()
            imported = await self._until_ready(running, began, free)
            loaded = time.monotonic()
            self.is_warm, self.example = await self._warm_up()
            self._note(
                ready=True,
                # A program of others' may have chosen the port its image names.
                endpoint=running.endpoint,
                start_seconds={
                    "fetch": round(self._setting.fetch_seconds, 4),
                    "import": round(imported - began, 4),
                    "load": round(loaded - imported, 4),
                    "warm-up": round(time.monotonic() - loaded, 4),
                    **running.start_seconds,
                },
            )
        except BaseException:
            await self._end(grace_seconds=1)
            raise

    async def _launch(self) -> Running:
        generation = self.record.generation + 1
        # A socket nobody has used: Envoy may still hold connections to the one before.
        socket = self._setting.sockets / f"{self.id}.{generation}.sock"
        self._note(
            generation=generation,
            endpoint=str(socket),
            identity=None,
            ready=False,
            started=time.time(),
            start_seconds={},
        )
        order = self._order()
        files.write_atomic(order.file, msgspec.json.encode(order.spec))
        self.running = running = await self._setting.launcher.launch(order)
        self._note(identity=running.identity, endpoint=running.endpoint)
        return running

    async def _until_ready(self, running: Running, began: float, free: Callable[[], None]) -> float:
        """Return when it is ready; the moment of its first answer. Raises ProcessError."""
        imported: float | None = None

        async def ask() -> float | None:
            nonlocal imported
            if running.exit_code is not None:
                raise start_error(running, self.log)
            is_ready = await running.is_ready()
            if imported is None and running.has_answered:
                imported = time.monotonic()
            if time.monotonic() - began > SLOT_SECONDS:
                free()
            return (imported or time.monotonic()) if is_ready else None

        found = await waiting.until(ask, seconds=READY_SECONDS, every_seconds=0.02)
        if found is None:
            what = (
                "answered, and was not ready" if running.has_answered else f"did not listen on {running.endpoint}"
            )
            raise ProcessError(f"{self.label} {what} within {READY_SECONDS:.0f} s", hint=f"its log is {self.log}")
        return found

    async def _warm_up(self) -> tuple[bool, Example | None]:
        """Whether it answered its own example, where it has a complete one; and the example."""
        example = await self._own_example()
        if example is None or not example.is_complete or example.body is None:
            return True, example
        send = partial(
            http.request,
            "POST",
            self.endpoint,
            example.path,
            body=json.dumps(example.body).encode(),
            headers={"content-type": "application/json", **example.headers},
            seconds=WARM_UP_SECONDS,
        )
        reply = await asyncio.to_thread(send)
        is_warm = reply is not None and reply.status < 500
        if not is_warm:
            said = "did not answer" if reply is None else f"answered {reply.status} to"
            self._keeper.say(f"{self.label} {said} its own example, {example.path}")
        return is_warm, example

    async def _own_example(self) -> Example | None:
        answer = await http.ask(self.endpoint, "/tiffin/example")
        if answer is None or answer.status != 200:
            return None
        try:
            return example_of(json.loads(answer.body))
        except ValueError:
            return None

    def _order(self) -> Order:
        revision = self.revision
        environment = {**self.component.environment, **self._setting.environment}
        spec = ReplicaSpec(
            deployment=revision.deployment,
            namespace=revision.namespace,
            model_name=self.component.model_name or revision.deployment,
            protocol=revision.protocol,
            component=self.component,
            path=str(self._setting.artefact),
            listen=Listen(unix=self.endpoint if "/" in self.endpoint else ""),
            grpc=Listen(unix=grpc_sockets(self.component, self.endpoint)[0])
            if self.component.grpc and self.endpoint.startswith("/")
            else None,
            variant=revision.variant,
            recording=self._setting.recording,
            dependencies=dict(self._setting.dependencies),
        )
        artefact = self._setting.artefact
        in_place = isinstance(self.component.source, ModelSource) or not artefact.is_dir()
        return Order(
            name=self.label,
            spec=spec,
            file=self._setting.orders / f"{self.id}.json",
            log=self.log,
            directory=None if in_place else artefact,
            environment=environment,
        )

    async def _drain(self, publish: Callable[[], Awaitable[None]], was_ready: bool) -> None:
        await _cancelled(self._task)
        try:
            if was_ready:
                await publish()
                await asyncio.sleep(SETTLE_SECONDS)
            await self._end(grace_seconds=DRAIN_SECONDS if was_ready else 1.0)
        except Exception as error:
            # Otherwise it would be waited for for ever.
            self._keeper.say(f"{self.label} did not end well: {fault(error, f'ending {self.label}').message}")
            self.kill()
        self._keeper.gone(self)

    async def _end(self, *, grace_seconds: float) -> None:
        if self.running is not None:
            await self.running.stop(grace_seconds=grace_seconds)
            self._forget_process()

    def _forget_process(self) -> None:
        self.running = None
        if "/" in self.endpoint:
            Path(self.endpoint).unlink(missing_ok=True)
        # A full disk: the old note stays, which does no harm.
        with contextlib.suppress(*FAILURES):
            self._note(identity=None, ready=False)

    def _note(self, **changes: object) -> None:
        self.record = msgspec.structs.replace(self.record, **changes)
        self._keeper.note(self.record)

    def _turn(self, phase: ReplicaPhase) -> None:
        if self.phase not in (phase, "Draining"):
            self.phase = phase
            self._keeper.changed(self)


class _slot:  # noqa: N801
    """A semaphore's slot that can be freed before its end."""

    def __init__(self, slots: asyncio.Semaphore) -> None:
        self._slots = slots
        self._holds = False

    async def __aenter__(self) -> Callable[[], None]:
        await self._slots.acquire()
        self._holds = True
        return self._free

    async def __aexit__(self, *error: object) -> None:
        self._free()

    def _free(self) -> None:
        if self._holds:
            self._holds = False
            self._slots.release()


async def _cancelled(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def start_error(running: Running, log: Path) -> TiffinError:
    """Why a replica ended before it was ready: the reason it gives, else how it ended and its last log lines."""
    told = (
        told_reason(files.last_lines(log, 30))
        if running.exit_code in (COULD_NOT_START, processes.UNKNOWN)
        else None
    )
    if told is None:
        return ProcessError(running.describe_end())
    return CouldNotLoad(f"{told[0]}\n    its log is {log}", hint=told[1])


class CouldNotLoad(ProcessError):
    """A replica said itself why it cannot load what it was told to."""


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
