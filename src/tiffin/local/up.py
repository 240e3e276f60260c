"""``tiffin up`` and ``tiffin down``, without their command lines: claim a home, run its controller, stop."""

from __future__ import annotations

import asyncio
import math
import signal
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from tiffin.errors import ProcessError
from tiffin.gateway.binary import find_binary
from tiffin.gateway.envoy import Envoy
from tiffin.kits import ports, processes, waiting
from tiffin.kits.paths import DataDirectory
from tiffin.local import addresses, api, applying, home, parts
from tiffin.local.controller import Controller
from tiffin.local.deploying import Deploying
from tiffin.local.home import Home
from tiffin.local.store import Store
from tiffin.plan.objects import Applied, Source

LONGEST_DOWN_SECONDS = 60.0
LOOK_SECONDS = 0.02
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Also SIGHUP: the terminal was closed, and with it goes what was started there."""

MANAGER = "up"
"""Who owns what was given to ``tiffin up``: it leaves with it."""

Answer = TypeVar("Answer")


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment that answers. ``curl`` is a line to paste; the first URLs need no host name.

    ``main_urls`` are those of ``urls`` to show where there is little room.
    """

    deployment: str
    file: str
    main_urls: tuple[str, ...]
    urls: tuple[str, ...]
    curl: str | None
    curl_is_complete: bool = True


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a start. ``errors`` are those that could not start, by deployment, with their hints."""

    gateway: str
    served: tuple[Served, ...]
    errors: dict[str, str]
    hints: dict[str, str]
    warnings: tuple[str, ...]
    logs: str
    adopted: int = 0


@dataclass(frozen=True)
class Reporter:
    """What ``up`` tells its caller.

    Attributes:
        say: Lines, as things happen.
        warn: What the files ask for and do not get; called before anything is started.
        progress: How far downloads are; called from threads.
        ready: One report, once everything answers.
    """

    say: Callable[[str], None]
    warn: Callable[[str], None]
    progress: Callable[[str, int, int | None], None]
    ready: Callable[[Report], None]


@dataclass(frozen=True)
class Settings:
    """How ``up`` runs.

    Attributes:
        host: Address the gateway listens on.
        port: Its port; 0 lets the system choose.
        domain: What host names of deployments end in.
        trust: Opens pickles that are not on the allow-list.
        separate: Services run apart from those they depend on, where a file says nothing of that.
        api: ``host:port`` on which the API listens beside its socket; empty for none.
        is_detached: Nobody sits at a terminal.
    """

    host: str
    port: int
    domain: str
    trust: bool = False
    separate: bool = False
    api: str = ""
    is_detached: bool = False


async def up(paths: Sequence[Path], settings: Settings, data: DataDirectory, reporter: Reporter) -> None:
    """Run the controller until one of STOP_SIGNALS; with ``paths``, these deployments leave with it.

    What was applied to stay is started as well. Without paths, what a killed controller ran goes on, all of it.

    Raises:
        ProcessError: another controller runs here, or nothing could start. PortInUse, SpecError, MissingExtra.
    """
    find_binary()
    own = Home.claim(data)
    stopping = asyncio.Event()
    controller: Controller | None = None
    work: _Up | None = None
    serving: Any = None
    killing = False

    def ask_to_stop() -> None:
        nonlocal killing
        if stopping.is_set() and controller is not None:
            killing = True
            controller.kill()
        stopping.set()

    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, ask_to_stop)
    try:
        left = own.left
        if not _is_held_by(left, settings):
            ports.check_free(settings.host, settings.port)
        own.note(host=settings.host, port=settings.port, gateway=left.gateway if left else None)
        gateway = Envoy(
            own.envoy,
            sockets=own.sockets,
            log=own.logs / "gateway.log",
            host=settings.host,
            port=settings.port,
        )
        controller = Controller(own, gateway, say=reporter.say, progress=reporter.progress, **parts.of(own))
        work = _Up(controller, paths, settings, reporter)
        if await _unless(stopping, work.start()) is None:
            return
        # Before all is ready, so that somebody can look at what keeps it from that.
        serving = await api.serve(controller, data, tcp=settings.api) if parts.has_api() else None
        if serving is not None and serving.url:
            reporter.say(f"the API is at {serving.url}, for those with the token in {data.api_token}")
        if await _unless(stopping, work.settle()) is None:
            return
        reporter.ready(work.report())
        await _either(stopping, controller.stopping)
        reporter.say("stopping: finishing the calls in hand")
    finally:
        if serving is not None:
            await serving.stop()
        if controller is not None and work is not None and work.is_in_charge(own.left, stopping):
            _release_managed(controller.store)
            await controller.stop()
        else:
            if controller is not None:
                await controller.let_go()
            own.give_back()
        own.release()
        for number in STOP_SIGNALS:
            loop.remove_signal_handler(number)


def _is_held_by(left: home.State | None, settings: Settings) -> bool:
    """Whether the gateway of a killed controller listens where this one is to."""
    if left is None or left.gateway is None or processes.find(left.gateway) is None:
        return False
    return (left.host, left.port) == (settings.host, settings.port)


class _Up:
    """One start of the controller with files."""

    def __init__(
        self, controller: Controller, paths: Sequence[Path], settings: Settings, reporter: Reporter
    ) -> None:
        self._controller = controller
        self._paths = paths
        self._settings = settings
        self._reporter = reporter
        self._applied: list[Applied] = []
        self._warnings: tuple[str, ...] = ()
        self._adopted = 0
        self._has_begun = self._has_started = False

    def is_in_charge(self, left: home.State | None, stopping: asyncio.Event) -> bool:
        """Whether what runs is ours to end.

        A start that fails ends what it started, but not what a killed controller left: that answers calls.
        """
        return self._has_started or (self._has_begun and (left is None or stopping.is_set()))

    async def start(self) -> bool:
        """Adopt, and make the files desired."""
        controller, reporter = self._controller, self._reporter
        # A mistake in a file is told before anything starts, and before what runs is touched.
        read = await self._read()
        self._has_begun = True
        self._adopted = await controller.start(is_detached=self._settings.is_detached)
        self._has_started = True
        if self._adopted:
            reporter.say(f"adopted {_processes(self._adopted)} that an earlier `tiffin up` left running")
        if read is not None:
            self._applied = await controller.commit(read, managed_by=MANAGER)
            await self._forget_others()
        return True

    async def settle(self) -> bool:
        """Return once everything answers or was tried; raises ProcessError when nothing does."""
        own = self._own()
        await waiting.until(partial(_all_settled, own), seconds=math.inf, every_seconds=LOOK_SECONDS)
        if self._paths and not any(one.is_served for one in self._controller.deployings.values()):
            raise nothing_started({one.key: error for one in own if (error := one.failure()) is not None})
        return True

    async def _read(self) -> applying.Read | None:
        if not self._paths:
            return None
        sources = [Source(path=str(path)) for path in self._paths]
        settings = self._settings
        read = await self._controller.read(
            sources, trust=settings.trust, domain=settings.domain, separate=settings.separate
        )
        fitted = self._controller.fit(read)
        deployments = [candidate.deployment for candidate in fitted.candidates]
        own = [f"{one.file}: {warning}" for one in deployments for warning in one.warnings]
        self._warnings = (*own, *map(str, fitted.warnings))
        for warning in self._warnings:
            self._reporter.warn(warning)
        count = sum(
            max(1, part.replicas)
            for candidate in fitted.candidates
            if candidate.error is None
            for variant in candidate.deployment.all_variants
            for part in variant.components
        )
        if count:
            self._reporter.say(f"starting {count} replica{'' if count == 1 else 's'}")
        return read

    async def _forget_others(self) -> None:
        """What an ``up`` that was killed was given, and this one is not."""
        names = {applied.key for applied in self._applied}
        for key, one in list(self._controller.deployings.items()):
            if key not in names and one.stored is not None and one.stored.managed_by == MANAGER:
                await self._controller.delete(key)

    def _own(self) -> list[Deploying]:
        keys = [applied.key for applied in self._applied]
        known = self._controller.deployings
        first = [known[key] for key in keys if key in known]
        return first or [one for one in known.values() if one.stored is not None]

    def report(self) -> Report:
        """What answers where, and what does not."""
        base = addresses.base_url(*self._controller.gateway.address)
        served, errors, hints = [], {}, {}
        for one in self._own():
            error = one.failure()
            if error is not None and not one.is_served:
                errors[one.key] = str(error)
                if hint := getattr(error, "hint", None):
                    hints[one.key] = hint
            elif one.is_served:
                served.append(self._served(one, base))
        return Report(
            gateway=base,
            served=tuple(served),
            errors=errors,
            hints=hints,
            warnings=self._warnings,
            logs=str(self._controller.home.logs),
            adopted=self._adopted,
        )

    def _served(self, deploying: Deploying, base: str) -> Served:
        deployment = deploying.deployment
        assert deployment is not None
        settled = self._controller.settled(deployment)
        examples = [
            one.example
            for one in deploying.replicas.values()
            if one.is_ready and one.component.name == deployment.entry
        ]
        example = next((one for one in examples if one is not None), None)
        if example is None and deployment.protocol == "seldon":
            example = addresses.SELDON_FORM
        return Served(
            deployment=deployment.key,
            file=deployment.file,
            main_urls=tuple(addresses.main_urls(settled, base)),
            urls=tuple(addresses.urls(settled, base)),
            curl=addresses.curl(settled, base, example),
            curl_is_complete=example is None or example.is_complete,
        )


async def _all_settled(deployings: Sequence[Deploying]) -> bool | None:
    return True if all(one.has_settled for one in deployings) else None


def nothing_started(errors: dict[str, Exception]) -> ProcessError:
    """The error for a run without a single deployment."""
    if not errors:
        return ProcessError("there is no deployment in these files")
    lines = "\n".join(f"  {key}: {error}" for key, error in errors.items())
    hints = list(dict.fromkeys(hint for error in errors.values() if (hint := getattr(error, "hint", None))))
    return ProcessError(f"nothing could be started:\n{lines}", hint="; ".join(hints) or None)


async def down(data: DataDirectory, say: Callable[[str], None]) -> int:
    """Stop the controller of the data directory, or what a killed one left; how many there were."""
    count = 0
    if home.is_locked(data):
        count = 1
        state = home.running(data)
        if state is not None:
            say(f"stopping `tiffin up` (pid {state.owner.pid}, port {state.port})")
            await asyncio.to_thread(processes.stop, [state.owner], grace_seconds=LONGEST_DOWN_SECONDS)
    if home.has_leftovers(data):
        own = Home.claim(data)
        try:
            stopped = await asyncio.to_thread(home.clear, data)
            if stopped or own.left is not None:
                count = max(count, 1)
                say(f"stopped {_processes(stopped)} that a killed `tiffin up` left behind")
            _forget_managed(data)
        finally:
            own.remove()
            own.release()
    return count


def _forget_managed(data: DataDirectory) -> None:
    """What a killed ``up`` was given is no longer desired."""
    path = data.root / "controller.db"
    if path.exists():
        store = Store(path)
        _release_managed(store)
        for record in store.replicas():
            store.remove_replica(record.id)
        store.close()


def _release_managed(store: Store) -> None:
    for stored in store.deployments():
        if stored.managed_by == MANAGER:
            store.delete(stored.key)
            store.forget(stored.key)


async def _unless(stopping: asyncio.Event, work: Coroutine[Any, Any, Answer]) -> Answer | None:
    """What ``work`` comes to; ``None``, and the work cancelled, when stopping is asked for first."""
    task = asyncio.create_task(work)
    waiting = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        return None
    finally:
        for other in (task, waiting):
            other.cancel()
        await asyncio.gather(task, waiting, return_exceptions=True)


async def _either(*events: asyncio.Event) -> None:
    tasks = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _processes(count: int) -> str:
    return "1 process" if count == 1 else f"{count} processes"
