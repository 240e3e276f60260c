"""Put load on a server and say how fast it answered: wrk when installed, else a small loader of our own.

``BENCH_LOADER=own`` asks for the small one even where wrk is installed.

Run as a script, this file is that small loader: one process, keep-alive connections, one request in flight
on each. It takes more processor time a request than wrk does, so figures of the two are not comparable.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
WRK = shutil.which("wrk") if os.environ.get("BENCH_LOADER", "wrk") == "wrk" else None
NAME = "wrk" if WRK else "bench/loader.py"


@dataclass(frozen=True)
class Round:
    """What one round of load measured."""

    requests_per_second: float
    p50_ms: float
    p99_ms: float


def load(
    port: int,
    path: str,
    body: bytes,
    headers: dict[str, str],
    *,
    connections: int,
    seconds: float,
    cores: set[int],
) -> Round:
    """Keep ``connections`` requests in flight for ``seconds``; raises RuntimeError when any of them failed."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(body)
        file.flush()
        lines = "".join(f"{name}: {value}\n" for name, value in headers.items())
        environment = {**os.environ, "BENCH_BODY": file.name, "BENCH_HEADERS": lines}
        url = f"http://127.0.0.1:{port}{path}"
        if WRK:
            command = [
                WRK,
                "-t1",
                f"-c{connections}",
                f"-d{max(1, round(seconds))}s",
                "--timeout=30s",
                "-s",
                str(HERE / "post.lua"),
                url,
            ]
        else:
            command = [sys.executable, __file__, url, f"--connections={connections}", f"--seconds={seconds}"]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, preexec_fn=lambda: pin(cores), check=False
        )
    result = next((line[7:] for line in done.stdout.splitlines() if line.startswith("result ")), None)
    if result is None:
        raise RuntimeError(f"the loader gave no result:\n{done.stdout}\n{done.stderr}")
    found = json.loads(result)
    if found["failed"]:
        kinds = f" ({found['errors']})" if "errors" in found else ""
        raise RuntimeError(f"{found['failed']} of {found['requests']} requests to {url} failed{kinds}")
    return Round(found["requests"] / found["seconds"], found["p50_ms"], found["p99_ms"])


def pin(cores: set[int]) -> None:
    """Keep this process on ``cores``; where the system cannot (macOS), do nothing."""
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)


class _Caller(asyncio.Protocol):
    """One connection: sends the same request again as soon as the answer is complete."""

    def __init__(self, request: bytes, until: float, done: asyncio.Future[None]) -> None:
        self.request, self.until, self.done = request, until, done
        self.latencies: list[float] = []
        self.failed = 0
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.send()

    def send(self) -> None:
        self.sent_at = time.perf_counter()
        self.transport.write(self.request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, found, body = self.received.partition(b"\r\n\r\n")
        if not found:
            return
        size = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        if len(body) < size:
            return
        now = time.perf_counter()
        self.latencies.append((now - self.sent_at) * 1000)
        self.failed += head[9:12] != b"200"
        self.received = b""
        if now < self.until:
            self.send()
        else:
            self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self.failed += time.perf_counter() < self.until
        if not self.done.done():
            self.done.set_result(None)


async def _run(url: str, body: bytes, connections: int, seconds: float) -> dict[str, float]:
    host, _, path = url.removeprefix("http://").partition("/")
    lines = os.environ["BENCH_HEADERS"].replace("\n", "\r\n")
    request = (
        f"POST /{path} HTTP/1.1\r\nHost: {host}\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body
    )
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    callers = [_Caller(request, started + seconds, loop.create_future()) for _ in range(connections)]
    name, port = host.split(":")
    await asyncio.gather(*(loop.create_connection(lambda c=caller: c, name, int(port)) for caller in callers))
    await asyncio.gather(*(caller.done for caller in callers))
    took = time.perf_counter() - started
    latencies = sorted(latency for caller in callers for latency in caller.latencies)
    cuts = statistics.quantiles(latencies, n=100) if len(latencies) > 1 else [0.0] * 99
    return {
        "requests": len(latencies),
        "seconds": took,
        "p50_ms": cuts[49],
        "p99_ms": cuts[98],
        "failed": sum(caller.failed for caller in callers),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3)
    options = parser.parse_args()
    try:
        import uvloop as loops
    except ImportError:
        loops = asyncio  # type: ignore[assignment]
    body = Path(os.environ["BENCH_BODY"]).read_bytes()
    print("result", json.dumps(loops.run(_run(options.url, body, options.connections, options.seconds))))


if __name__ == "__main__":
    main()
