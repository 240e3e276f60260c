"""Run one peer's server on a core of its own, wait for its first right answer, and stop it again."""

from __future__ import annotations

import importlib.util
import math
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import IO

import psutil
from cases import Case, answer, expected
from loader import pin

PEERS = Path(__file__).resolve().parent / "peers"
START_SECONDS = 60


def peers() -> dict[str, ModuleType]:
    """Every file of bench/peers by its NAME."""
    found = {}
    for path in sorted(PEERS.glob("*.py")):
        spec = importlib.util.spec_from_file_location(f"bench_peer_{path.stem}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found[module.NAME] = module
    return found


@dataclass
class Server:
    """A server that answers; ``first_answer_seconds`` from starting the process to its first right answer."""

    peer: str
    port: int
    process: psutil.Popen
    first_answer_seconds: float

    def resident_mb(self) -> float:
        """Resident memory of the process and everything it started, in MB (10^6 bytes)."""
        processes = [self.process, *self.process.children(recursive=True)]
        return sum(process.memory_info().rss for process in processes) / 1e6


@contextmanager
def running(peer: ModuleType, case: Case, cores: set[int]) -> Iterator[Server]:
    """The peer serving the case's model, answering rightly; stopped on leaving."""
    port = _free_port()
    with tempfile.TemporaryFile() as log:
        started = time.perf_counter()
        process = psutil.Popen(
            peer.command(case.path, port),
            stdout=log,
            stderr=log,
            preexec_fn=lambda: pin(cores),
            start_new_session=True,
        )
        try:
            _wait_for_answer(process, port, case, log, started)
            yield Server(peer.NAME, port, process, time.perf_counter() - started)
        finally:
            _stop(process)


def ask(port: int, case: Case) -> tuple[bytes, dict[str, str]]:
    """One request; body and headers of the reply."""
    body, headers = case.request
    request = urllib.request.Request(f"http://127.0.0.1:{port}{case.url_path}", body, headers)
    with urllib.request.urlopen(request, timeout=10) as reply:
        return reply.read(), dict(reply.headers)


def check(port: int, case: Case) -> None:
    """Raise RuntimeError unless the server answers as the framework itself does."""
    found, wanted = answer(*ask(port, case)), expected(case)
    if len(found) != len(wanted) or not all(
        math.isclose(a, b, rel_tol=1e-4, abs_tol=1e-5) for a, b in zip(found, wanted, strict=True)
    ):
        raise RuntimeError(f"{case.name}: expected {wanted}, found {found}")


def _wait_for_answer(process: psutil.Popen, port: int, case: Case, log: IO[bytes], started: float) -> None:
    while True:
        try:
            ask(port, case)
            return
        except urllib.error.HTTPError as refusal:
            # Not ready yet is worth waiting for; any other refusal will stay.
            if refusal.code != 503:
                raise RuntimeError(f"{refusal.url} answered {refusal.code}: {refusal.read()[:500]!r}") from None
            error: Exception = refusal
        except (urllib.error.URLError, ConnectionError, TimeoutError) as unreachable:
            error = unreachable
        trouble = ""
        if process.poll() is not None:
            trouble = f"ended with {process.returncode}"
        elif time.perf_counter() - started > START_SECONDS:
            trouble = f"did not answer in {START_SECONDS} s ({error})"
        if trouble:
            log.seek(0)
            said = log.read().decode(errors="replace")[-3000:]
            raise RuntimeError(f"{' '.join(process.args)} {trouble}:\n{said}")
        time.sleep(0.005)


def _stop(process: psutil.Popen) -> None:
    children = process.children(recursive=True) if process.is_running() else []
    process.terminate()
    try:
        process.wait(10)
    except (psutil.TimeoutExpired, subprocess.TimeoutExpired):
        process.kill()
        process.wait()
    for child in children:
        if child.is_running():
            child.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
