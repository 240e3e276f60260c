"""The process of a replica: one worker in place, or several forked and looked after.

A saved model whose framework allows it is loaded once before the fork, so that the workers share its memory.
Everything else is loaded by each worker.
"""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import mmap
import os
import select
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import msgspec

from tiffin.errors import TiffinError
from tiffin.kits import extras, logfiles
from tiffin.runtime.application import Application
from tiffin.runtime.applications import application_of
from tiffin.runtime.listening import address_of, bind, reserve, tls_context, worker_address
from tiffin.runtime.metrics import MULTIPROCESS, shared_memory, start_seconds
from tiffin.runtime.worker import COULD_NOT_START, OK, Worker
from tiffin.spec import Listen, ModelSource, ReplicaSpec, ServiceSource

log = logging.getLogger(__name__)

_RESTART_SECONDS = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Pause before the n-th restart in a row of a worker that keeps dying; a minute of life forgives."""
_FORGIVEN_AFTER_SECONDS = 60.0
_STOPS = (signal.SIGTERM, signal.SIGINT)


class _ToldToLeave(BaseException):
    """Not SystemExit, which would be taken for the author's when it comes in the middle of an import."""


def _leave(number: int, frame: FrameType | None) -> None:
    """Told to stop before there is a worker that drains: importing and loading may take long, so leave at once."""
    raise _ToldToLeave


def before_start(work: Callable[[], ReplicaSpec]) -> ReplicaSpec | None:
    """What has to be known before there is a worker; ``None`` when it was told to stop meanwhile."""
    try:
        for number in _STOPS:
            signal.signal(number, _leave)
        return work()
    except _ToldToLeave:
        return None


def run(
    spec: ReplicaSpec,
    *,
    announce: Callable[[str], None] = lambda address: None,
    started: Callable[[dict[str, float]], None] | None = None,
) -> int:
    """Run a replica to its end; the exit code: 0 drained, 3 could not start.

    ``announce`` gets the address once the replica is ready, ``started`` the seconds of each phase of its start.

    Raises:
        PortInUse, PlatformError: nothing can listen there.
    """
    workers = worker_count(spec)
    if spec.listen.tls is not None:
        tls_context(spec.listen.tls)  # What is wrong with its files is said before anything is started.
    sockets = bind(spec.listen, workers)
    spec, held = with_grpc(spec, sockets)
    address = address_of(sockets[0], is_tls=spec.listen.tls is not None)
    memory = shared_memory(workers)

    def ready() -> None:
        seconds = start_seconds(memory)
        if spec.ready_file:
            _write_ready(Path(spec.ready_file), address, seconds)
        if started is not None:
            started(seconds)
        announce(f"{address} and gRPC at {where(spec.grpc)}" if spec.grpc is not None else address)

    try:
        for number in _STOPS:
            signal.signal(number, _leave)
        if workers == 1:
            return serve(spec, sockets, memory=memory, on_ready=ready)
        with _shared_user_metrics(spec):
            return Supervisor(spec, sockets, memory, workers, ready).run()
    except _ToldToLeave:
        return OK
    finally:
        for sock in (*sockets, *held):
            sock.close()
        paths = [worker_address(spec.grpc, index).unix for index in range(workers)] if spec.grpc else []
        for path in filter(None, (spec.listen.unix, *paths)):
            with contextlib.suppress(OSError):
                os.unlink(path)


@contextlib.contextmanager
def _shared_user_metrics(spec: ReplicaSpec) -> Iterator[None]:
    """A directory in which prometheus_client, once imported, keeps the values of a service's workers."""
    if not isinstance(spec.component.source, ServiceSource) or os.environ.get(MULTIPROCESS):
        yield
        return
    with tempfile.TemporaryDirectory(prefix="tiffin-metrics-") as directory:
        os.environ[MULTIPROCESS] = directory
        try:
            yield
        finally:
            del os.environ[MULTIPROCESS]


def with_grpc(spec: ReplicaSpec, sockets: list[socket.socket]) -> tuple[ReplicaSpec, list[socket.socket]]:
    """The order with the real port of gRPC, where it is asked for, and the socket that holds it for all workers.

    Raises:
        MissingExtra, PortInUse, PlatformError: it cannot be served there; ``sockets`` are closed then.
    """
    if spec.grpc is None:
        return spec, []
    try:
        extras.require_grpc()
        listen, held = reserve(spec.grpc)
    except TiffinError:
        for sock in sockets:
            sock.close()
        raise
    return msgspec.structs.replace(spec, grpc=listen), [held] if held is not None else []


def where(listen: Listen) -> str:
    """An address as gRPC's clients take it."""
    return f"unix:{listen.unix}" if listen.unix else f"{listen.host}:{listen.port}"


def serve(
    spec: ReplicaSpec,
    sockets: list[socket.socket],
    *,
    application: Application | None = None,
    memory: mmap.mmap | None = None,
    index: int = 0,
    parent: int | None = None,
    on_ready: Callable[[], None],
    comes_back: bool = False,
) -> int:
    """One worker in this process; it drains when ``parent``, if it has one, has gone."""
    # Before anything of the author's runs: it may print without end.
    logfiles.keep_small()
    try:
        application = application or application_of(spec)
        worker = Worker(
            *(spec, application, sockets),
            memory=memory,
            index=index,
            parent=parent,
            on_ready=on_ready,
            comes_back=comes_back,
        )
    except TiffinError as error:
        hint = f"\nhint: {error.hint}" if error.hint else ""
        log.error("could not start: %s%s", error, hint)
        return COULD_NOT_START
    return worker.run()


def worker_count(spec: ReplicaSpec) -> int:
    """How many workers: the number asked for, or one a core this process may use."""
    wanted = spec.component.workers
    if wanted == "cpu":
        return max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    return max(1, int(wanted))


def _write_ready(path: Path, address: str, seconds: dict[str, float]) -> None:
    temporary = path.with_suffix(".tmp")
    said = {"address": address, "pid": os.getpid(), "start_seconds": seconds}
    temporary.write_text(json.dumps(said) + "\n")
    temporary.rename(path)


class Supervisor:
    """Forks workers, restarts those that die, passes signals on.

    Args:
        sockets: one per worker (or one shared, repeated).
        memory: their counters.
        ready: called once when every worker is ready.
    """

    def __init__(
        self,
        spec: ReplicaSpec,
        sockets: list[socket.socket],
        memory: mmap.mmap,
        workers: int,
        ready: Callable[[], None],
    ) -> None:
        self._spec = spec
        self._sockets = sockets
        self._workers = workers
        self._ready = ready
        self._memory = memory
        self._application: Application | None = None
        self._pids: dict[int, int] = {}
        self._born: dict[int, float] = {}
        self._deaths = [0] * workers
        self._stopping = False
        self._failed = False
        self._were_ready = False
        self._pipe = os.pipe()

    def run(self) -> int:
        """Look after the workers until told to stop, or until one cannot start."""
        try:
            self._application = self._load_before_fork()
        except TiffinError as error:
            hint = f"\nhint: {error.hint}" if error.hint else ""
            log.error("could not load: %s%s", error, hint)
            return COULD_NOT_START
        for number in _STOPS:
            signal.signal(number, self._told_to_stop)
        gc.collect()
        gc.freeze()  # Workers then do not write to the pages they share with this process.
        for index in range(self._workers):
            self._fork(index)
        ready = 0
        while self._pids:
            readable, _, _ = select.select([self._pipe[0]], [], [], 0.1)
            if readable and os.read(self._pipe[0], 1) and ready < self._workers:
                ready += 1
                if ready == self._workers:
                    log.info("%d workers are ready", ready)
                    self._were_ready = True
                    self._ready()
            self._reap()
        return COULD_NOT_START if self._failed else OK

    def _load_before_fork(self) -> Application | None:
        from tiffin.runtime.model_application import ModelApplication

        if not isinstance(self._spec.component.source, ModelSource):
            return None
        application = ModelApplication(self._spec)
        return application if application.open().fork_safe else None

    def _fork(self, index: int) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        # A signal in between would stop neither this process's list of workers nor the worker.
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
        if self._stopping:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)
            return
        parent = os.getpid()
        pid = os.fork()
        if pid:
            self._pids[pid] = index
            self._born[pid] = time.monotonic()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)
            return
        code = COULD_NOT_START
        try:
            os.close(self._pipe[0])
            for number in _STOPS:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)
            code = serve(
                self._spec,
                [self._sockets[index]],
                application=self._application,
                memory=self._memory,
                index=index,
                parent=parent,
                on_ready=lambda: (os.write(self._pipe[1], b"."), None)[1],
                comes_back=self._were_ready,
            )
        except BaseException:
            log.exception("a worker failed")
        finally:
            logging.shutdown()
            os._exit(code)

    def _reap(self) -> None:
        while self._pids:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            index = self._pids.pop(pid, None)
            if index is None:
                continue
            lived = time.monotonic() - self._born.pop(pid)
            code = os.waitstatus_to_exitcode(status)
            if self._stopping:
                continue
            if code == COULD_NOT_START:
                # Starting again would fail again: stop, and let who runs us say so.
                self._failed = True
                self._stop()
                continue
            self._deaths[index] = 0 if lived > _FORGIVEN_AFTER_SECONDS else self._deaths[index] + 1
            pause = _RESTART_SECONDS[min(self._deaths[index] - 1, len(_RESTART_SECONDS) - 1)]
            log.warning("worker %d ended with %d after %.1f s; restarting it in %.1f s", index, code, lived, pause)
            select.select([], [], [], pause)
            self._fork(index)

    def _told_to_stop(self, number: int, frame: FrameType | None) -> None:
        self._stop()

    def _stop(self) -> None:
        self._stopping = True
        for pid in list(self._pids):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
