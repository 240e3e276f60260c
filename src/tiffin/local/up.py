"""``tiffin up``, without its command line: claim a run, start, say what is where, stay, stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from tiffin.errors import PortInUse, ProcessError, TiffinError
from tiffin.gateway.binary import find_binary
from tiffin.gateway.envoy import Envoy
from tiffin.kits import ports
from tiffin.kits.paths import DataDirectory
from tiffin.local import addresses, preparing, runs
from tiffin.local.target import Target

LONGEST_DOWN_SECONDS = 60.0
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Also SIGHUP: the terminal was closed, and with it goes what was started there."""

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


def claim(data: DataDirectory, host: str, port: int, say: Callable[[str], None]) -> runs.Run:
    """A run for this process, after stopping what killed ones left; raises PortInUse."""
    data.make()
    with runs.lock(data):
        for directory, state in runs.found(data):
            if state is None or not runs.is_alive(state):
                stopped = runs.clear(directory, state)
                say(f"stopped {_processes(stopped)} that an earlier `tiffin up` left behind")
            elif port != 0 and state.port == port:
                raise PortInUse(
                    f"another `tiffin up` (pid {state.owner.pid}) already serves on port {port}",
                    hint=f"stop it with `tiffin down`, or choose another port, for example --port {port + 1}",
                )
        ports.check_free(host, port)
        return runs.create(data, host=host, port=port)


async def up(
    paths: Sequence[Path],
    settings: preparing.Settings,
    data: DataDirectory,
    reporter: Reporter,
    *,
    host: str,
    port: int,
) -> None:
    """Run until one of STOP_SIGNALS; raises ProcessError when nothing could start, or what start-up raised."""
    find_binary()
    run = claim(data, host, port, reporter.say)
    stopping = asyncio.Event()
    target: Target | None = None

    def ask_to_stop() -> None:
        if stopping.is_set() and target is not None:
            target.kill()
        stopping.set()

    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, ask_to_stop)
    try:
        ready = await _unless(stopping, preparing.prepare(paths, settings, data, progress=reporter.progress))
        if ready is None:
            return
        prepared, shared = ready
        own = [f"{item.deployment.file}: {warning}" for item in prepared for warning in item.deployment.warnings]
        warnings = [*own, *map(str, shared)]
        for warning in warnings:
            reporter.warn(warning)
        target = Target(run, prepared, _gateway(run), say=reporter.say)
        if count := len(target.replicas):
            reporter.say(f"starting {count} replica{'' if count == 1 else 's'}")
        if await _unless(stopping, _start(target)) is None:
            return
        report = await _report(target, run, warnings)
        if not target.served:
            raise nothing_started(target.errors)
        target.watch()
        reporter.ready(report)
        await stopping.wait()
        reporter.say("stopping: finishing the calls in hand")
    finally:
        if target is not None:
            await target.stop()
        else:
            run.remove()
        for number in STOP_SIGNALS:
            loop.remove_signal_handler(number)


def nothing_started(errors: dict[str, TiffinError]) -> ProcessError:
    """The error for a run without a single deployment."""
    if not errors:
        return ProcessError("there is no deployment in these files")
    lines = "\n".join(f"  {key}: {error}" for key, error in errors.items())
    hints = list(dict.fromkeys(error.hint for error in errors.values() if error.hint))
    return ProcessError(f"nothing could be started:\n{lines}", hint="; ".join(hints) or None)


async def down(data: DataDirectory, say: Callable[[str], None]) -> int:
    """Stop every run of the data directory, and what killed ones left; how many there were."""
    count = 0
    for directory, state in runs.found(data):
        count += 1
        if state is not None and runs.is_alive(state):
            say(f"stopping `tiffin up` (pid {state.owner.pid}, port {state.port})")
            await asyncio.to_thread(runs.stop_owner, state, seconds=LONGEST_DOWN_SECONDS)
        with runs.lock(data):
            if directory.exists():
                stopped = await asyncio.to_thread(runs.clear, directory, state)
                say(f"stopped {_processes(stopped)} that a killed `tiffin up` left behind")
    return count


def _gateway(run: runs.Run) -> Envoy:
    return Envoy(
        run.directory / "envoy",
        sockets=run.sockets,
        log=run.logs / "gateway.log",
        host=run.state.host,
        port=run.state.port,
    )


async def _start(target: Target) -> bool:
    await target.start()
    return True


async def _report(target: Target, run: runs.Run, warnings: list[str]) -> Report:
    base = addresses.base_url(*target.gateway.address)
    served = []
    for deployment in target.served:
        example = None
        for replica in target.replicas:
            if replica.deployment is deployment and replica.is_ready:
                example = await replica.example()
                break
        if example is None and deployment.protocol == "seldon":
            example = addresses.SELDON_FORM
        served.append(
            Served(
                deployment=deployment.key,
                file=deployment.file,
                main_urls=tuple(addresses.main_urls(deployment, base)),
                urls=tuple(addresses.urls(deployment, base)),
                curl=addresses.curl(deployment, base, example),
                curl_is_complete=example is None or example.is_complete,
            )
        )
    return Report(
        gateway=base,
        served=tuple(served),
        errors={key: str(error) for key, error in target.errors.items()},
        hints={key: error.hint for key, error in target.errors.items() if error.hint},
        warnings=tuple(warnings),
        logs=str(run.logs),
    )


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


def _processes(count: int) -> str:
    return "1 process" if count == 1 else f"{count} processes"
