"""What a call from one service to another costs: in one process, apart, and as BentoML does it.

    python bench/dependencies.py [--bentoml PYTHON] [--seconds 5] [--rounds 3]

The same file of two services runs three ways: together, as separate components behind the gateway, and by
``bentoml serve`` of the interpreter that ``--bentoml`` names (one with bentoml installed). Callers send a number;
the service makes an array of that many bytes and sends it to the other one, so that JSON is no part of it. Prints
a table in Markdown: how long the inner call took, as the service itself measured, and the calls a second of all.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tiffin.kits import ports, waiting

HERE = Path(__file__).resolve().parent
PROJECT = HERE / "services" / "duo"
SIZES = {"32 B": 32, "1 MB": 1_000_000}
CALLERS = (1, 16)


@dataclass(frozen=True)
class Way:
    """One way to run the two services, while it runs."""

    name: str
    port: int
    path: str


@dataclass(frozen=True)
class Round:
    """Milliseconds of the inner call, whole calls a second, and the share of them that failed."""

    median_ms: float
    p99_ms: float
    calls_a_second: float
    failed: float


@contextlib.contextmanager
def running(name: str, command: list[str], port: int, path: str, environment: dict[str, str]) -> Iterator[Way]:
    """Start it, wait until it answers right, and end it and what it started."""
    way = Way(name, port, path)
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, cwd=PROJECT, env=os.environ | environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            asyncio.run(waiting.until(lambda: _answers(way), seconds=60, every_seconds=0.2))
            yield way
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


async def _answers(way: Way) -> bool | None:
    try:
        await _call(*await asyncio.open_connection("127.0.0.1", way.port), way, 32)
    except (OSError, RuntimeError, asyncio.IncompleteReadError):
        return None
    return True


async def _call(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way, size: int) -> float:
    body = b'{"size": %d}' % size
    head = f"POST {way.path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
    writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
    answer = await reader.readuntil(b"\r\n\r\n")
    lines = dict(line.lower().split(b": ", 1) for line in answer.split(b"\r\n")[1:] if b": " in line)
    found = await reader.readexactly(int(lines[b"content-length"]))
    if not answer.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"{way.name} answered {answer[:40]!r} {found[:200]!r}")
    return float(found)


async def measure(way: Way, size: int, callers: int, seconds: float) -> Round:
    """Keep so many calls in flight for that long."""
    hops: list[float] = []
    failed = 0
    until = time.perf_counter() + seconds

    async def caller() -> None:
        nonlocal failed
        reader, writer = await asyncio.open_connection("127.0.0.1", way.port)
        while time.perf_counter() < until:
            try:
                hops.append(await _call(reader, writer, way, size))
            except RuntimeError:
                failed += 1
        writer.close()
        await writer.wait_closed()

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    spent = time.perf_counter() - began
    hops.sort()
    p99 = hops[int(0.99 * (len(hops) - 1))]
    return Round(1e3 * statistics.median(hops), 1e3 * p99, len(hops) / spent, failed / (len(hops) + failed))


def main() -> None:
    """Measure every way in turn, round after round, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bentoml", help="an interpreter with bentoml installed")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        homes = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tf-")))
        ways = []
        for name, word in (("one process", "in-process"), ("apart", "separate")):
            port = ports.free()
            command = [sys.executable, "-m", "tiffin", "up", ".", "--port", str(port), "--dependencies", word]
            home = {"TIFFIN_HOME": str(homes / word)}
            ways.append(stack.enter_context(running(name, command, port, "/default/duo/hop", home)))
        if options.bentoml:
            port = ports.free()
            command = [options.bentoml, "-m", "bentoml", "serve", ".", "--port", str(port)]
            home = {"BENTOML_HOME": str(homes / "b"), "BENTOML_DO_NOT_TRACK": "True"}
            ways.append(stack.enter_context(running("BentoML", command, port, "/hop", home)))
        print(
            "| array | at once | services | inner call, median | 99 % | calls a second | failed |"
            "\n|---|---|---|---|---|---|---|"
        )
        for label, size in SIZES.items():
            for callers in CALLERS:
                found: dict[str, list[Round]] = {way.name: [] for way in ways}
                for _ in range(options.rounds):
                    for way in ways:
                        found[way.name].append(asyncio.run(measure(way, size, callers, options.seconds)))
                for name, rounds in found.items():
                    median = statistics.median(one.median_ms for one in rounds)
                    p99 = statistics.median(one.p99_ms for one in rounds)
                    rate = statistics.median(one.calls_a_second for one in rounds)
                    failed = statistics.median(one.failed for one in rounds)
                    figures = f"{median:.3f} ms | {p99:.2f} ms | {rate:.0f} | {failed:.2%}"
                    print(f"| {label} | {callers} | {name} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
