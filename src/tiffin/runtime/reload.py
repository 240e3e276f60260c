"""``tiffin serve --reload``: a new worker on every change of a file, well within a second.

This process never imports the author's code. It holds the listening socket, so that calls made during a
restart wait instead of being refused, and it forks the workers. Once the first worker is ready it tells which
libraries the author's code needed; they are imported here, so that the next fork starts with them in memory
and only the author's own modules are loaded again.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import msgspec
import watchfiles

from tiffin.errors import TiffinError
from tiffin.runtime import supervisor
from tiffin.runtime.listening import address_of, bind
from tiffin.runtime.worker import COULD_NOT_START, OK
from tiffin.spec import ReplicaSpec

log = logging.getLogger(__name__)

_TICK_MILLISECONDS = 100
_DEBOUNCE_MILLISECONDS = 100
_DRAIN_SECONDS = 1.0
_KILL_AFTER_SECONDS = 3.0


def run(spec: ReplicaSpec, directory: Path, *, announce: Callable[[str], None] = lambda address: None) -> int:
    """Serve and restart on changes below ``directory`` until told to stop; the exit code.

    Raises:
        PortInUse, PlatformError: nothing can listen there.
    """
    spec = msgspec.structs.replace(spec, limits=msgspec.structs.replace(spec.limits, drain_seconds=_DRAIN_SECONDS))
    return _Reloader(spec, directory.resolve(), announce).run()


class _Reloader:
    def __init__(self, spec: ReplicaSpec, directory: Path, announce: Callable[[str], None]) -> None:
        self._sockets = bind(spec.listen)
        self._spec, self._held = supervisor.with_grpc(spec, self._sockets)
        self._directory = directory
        self._announce = announce
        self._pid = 0
        self._pipe = -1
        self._text = b""
        self._stopping = False
        self._began = 0.0
        self._starts = 0
        self._preloaded = False

    def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._told_to_stop)
        logging.getLogger("watchfiles").setLevel(logging.WARNING)
        self._start()
        try:
            for changes in self._ticks():
                if self._stopping:
                    break
                self._listen()
                if changes:
                    names = sorted({self._shown(path) for _, path in changes})
                    log.info("%s changed; restarting", ", ".join(names[:3]))
                    self._stop_worker()
                    self._start()
        finally:
            self._stop_worker()
            for sock in self._sockets:
                sock.close()
            if self._spec.listen.unix:
                with contextlib.suppress(OSError):
                    os.unlink(self._spec.listen.unix)
        return OK

    def _ticks(self) -> Iterator[set[tuple[watchfiles.Change, str]]]:
        return watchfiles.watch(
            self._directory,
            watch_filter=watchfiles.DefaultFilter(),
            debounce=_DEBOUNCE_MILLISECONDS,
            step=20,
            rust_timeout=_TICK_MILLISECONDS,
            yield_on_timeout=True,
            raise_interrupt=False,
        )

    def _shown(self, path: str) -> str:
        return os.path.relpath(path, self._directory)

    # -- the worker ----------------------------------------------------------------------------------------

    def _start(self) -> None:
        self._began = time.monotonic()
        self._starts += 1
        reader, writer = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            self._work(writer, parent)
        os.close(writer)
        os.set_blocking(reader, False)
        self._pid, self._pipe, self._text = pid, reader, b""

    def _work(self, writer: int, parent: int) -> None:
        code = COULD_NOT_START
        try:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            code = supervisor.serve(self._spec, self._sockets, parent=parent, on_ready=lambda: self._tell(writer))
        except TiffinError as error:
            log.error("could not start: %s", error)
        except BaseException:
            log.exception("the worker failed")
        finally:
            logging.shutdown()
            os._exit(code)

    def _tell(self, writer: int) -> None:
        """In the worker: ready, and these are the libraries it took."""
        names = [name for name, module in list(sys.modules.items()) if self._is_library(name, module)]
        with contextlib.suppress(OSError):
            os.write(writer, json.dumps(names).encode() + b"\n")
            os.close(writer)

    def _is_library(self, name: str, module: object) -> bool:
        origin = getattr(getattr(module, "__spec__", None), "origin", None)
        if name == "__main__" or not isinstance(origin, str) or not os.path.isfile(origin):
            return False
        inside = Path(origin).resolve().is_relative_to(self._directory)
        return not inside or "site-packages" in origin

    def _listen(self) -> None:
        """Hear the worker: ready, or dead."""
        if self._pipe >= 0:
            try:
                data = os.read(self._pipe, 1 << 20)
            except BlockingIOError:
                data = b""
            else:
                if not data:
                    os.close(self._pipe)
                    self._pipe = -1
            self._text += data
            if self._text.endswith(b"\n"):
                names, self._text = json.loads(self._text), b""
                self._ready(names)
        if self._pid and self._ended(os.WNOHANG):
            log.warning("the worker has ended; waiting for a change")

    def _ready(self, names: list[str]) -> None:
        seconds = time.monotonic() - self._began
        if self._starts == 1:
            self._announce(address_of(self._sockets[0]))
        else:
            log.info("reloaded in %.2f s", seconds)
        if not self._preloaded:
            self._preloaded = True
            self._preload(names)

    def _preload(self, names: list[str]) -> None:
        for name in names:
            if name not in sys.modules:
                # What cannot be imported here by itself is imported by the worker, as before.
                with contextlib.suppress(Exception):
                    importlib.import_module(name)
        gc.collect()
        gc.freeze()  # The workers then share the pages of what was imported here.
        if threading.active_count() > 1:
            log.info("a library has started threads; workers may be slower to start")

    def _stop_worker(self) -> None:
        if not self._pid:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGTERM)
        deadline = time.monotonic() + _KILL_AFTER_SECONDS
        gone = threading.Event()
        while self._pid and not self._ended(os.WNOHANG):
            if time.monotonic() > deadline:
                os.kill(self._pid, signal.SIGKILL)
                self._ended(0)
            gone.wait(0.01)
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1

    def _ended(self, options: int) -> bool:
        pid, _ = os.waitpid(self._pid, options)
        if pid:
            self._pid = 0
        return bool(pid)

    def _told_to_stop(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True
