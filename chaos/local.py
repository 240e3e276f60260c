"""Change and break a running local platform under load, and count what callers see: ``make chaos-local``.

Every scenario runs against one ``tiffin up -d`` with a home of its own, through the command line as a user would.
Ends with 1 when a figure that must be zero is not. ``--write`` puts the table into docs/guides/resilience.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from load import Load

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / "examples" / "01-kserve-iris" / "model" / "model.joblib"
PAGE = ROOT / "docs" / "guides" / "resilience.md"
TIFFIN = [sys.executable, "-m", "tiffin"]
BODY = b'{"instances": [[6.8, 2.8, 4.8, 1.4]]}'
REQUEST = (
    b"POST /default/iris/v1/models/iris:predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
)
ANSWER = {"predictions": [1]}
READY_SECONDS = 120.0


@dataclass(frozen=True)
class Row:
    """One line of the table. ``must_be_zero``: whether a failed call fails the run."""

    scenario: str
    load: Load
    seconds: float
    memory: str
    must_be_zero: bool
    note: str = ""

    @property
    def is_bad(self) -> bool:
        outcome = self.load.outcome
        return outcome.answered == 0 or (self.must_be_zero and outcome.failed.total() > 0)

    def cells(self) -> list[str]:
        outcome = self.load.outcome
        kinds = ", ".join(f"{count} {kind}" for kind, count in outcome.failed.most_common(3))
        failed = f"{outcome.failed.total()}{f' ({kinds})' if kinds else ''}"
        latency = f"{outcome.quantile(0.5):.1f} / {outcome.quantile(0.99):.1f} / {outcome.quantile(1):.0f}"
        asked = f"{outcome.count:,}"
        return [self.scenario, asked, failed, latency, f"{self.seconds:.0f}", self.memory, self.note]


class Platform:
    """One controller with its home, used through the command line."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environment = {**os.environ, "TIFFIN_HOME": str(home)}
        self.port = 0

    def tiffin(self, *arguments: str, given: str | None = None) -> str:
        """Run a command; its stdout. Ends the run with what it said when it fails."""
        done = subprocess.run(
            [*TIFFIN, *arguments], env=self.environment, input=given, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            said = done.stderr + done.stdout
            sys.exit(f"error: tiffin {' '.join(arguments)}: exit code {done.returncode}\n{said}")
        return done.stdout

    def start(self) -> None:
        report = json.loads(self.tiffin("up", "-d", "--port", str(self.port), "--json"))
        self.port = int(report["gateway"].rpartition(":")[2])

    def apply(self, **changes: Any) -> None:
        self.tiffin("apply", "-f", "-", given=document(**changes))

    def wait(self) -> None:
        self.tiffin("wait", "iris", "--for=condition=Ready", f"--timeout={READY_SECONDS:.0f}s")

    def object(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.tiffin("get", "iris", "-o", "json"))
        return found

    def status(self) -> dict[str, Any]:
        """The neutral status, whatever the dialect."""
        found: dict[str, Any] = self.object()["status"]
        return found

    def processes(self) -> dict[str, list[psutil.Process]]:
        """What runs for this home, by what it is."""
        found: dict[str, list[psutil.Process]] = {"controller": [], "gateway": [], "replica": []}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                line = process.cmdline()
                if str(self.home) not in " ".join(line) + process.environ().get("TIFFIN_HOME", ""):
                    continue
                if "--config-path" in line:
                    found["gateway"].append(process)
                elif "up" in line and "tiffin" in " ".join(line):
                    found["controller"].append(process)
                elif any("tiffin.runtime" in word for word in line):
                    found["replica"].append(process)
        return found

    def memory(self) -> dict[str, float]:
        """Resident megabytes of the controller and the gateway."""
        sizes = {}
        for name, processes in self.processes().items():
            if name != "replica":
                sizes[name] = sum(process.memory_info().rss for process in processes) / 1e6
        return sizes


def document(*, canary: float | None = None, replicas: int = 1, generation: int = 0) -> str:
    """A deployment of the iris model; with ``canary`` percent for a second variant of it."""
    spec: dict[str, Any] = {
        "model": str(MODEL),
        "replicas": replicas,
        "env": {"GENERATION": str(generation)},
    }
    if canary is not None:
        spec["variants"] = {"second": {"model": str(MODEL), "weight": canary}}
    return json.dumps(
        {"apiVersion": "tiffin.dev/v1", "kind": "Deployment", "metadata": {"name": "iris"}, "spec": spec}
    )


@contextlib.contextmanager
def measured(
    rows: list[Row], platform: Platform, scenario: str, *, must_be_zero: bool = True, note: str = ""
) -> Iterator[Load]:
    """Load while the body runs, and a little longer; adds a row."""
    before, began = platform.memory(), time.monotonic()
    with Load("127.0.0.1", platform.port, REQUEST, is_right, connections=16, pause=0.01) as load:
        yield load
        pause(2)
    after = platform.memory()
    memory = ", ".join(f"{name} {before.get(name, 0):.0f} to {after.get(name, 0):.0f}" for name in after)
    row = Row(scenario, load, time.monotonic() - began, memory, must_be_zero, note)
    rows.append(row)
    print("  ".join(row.cells()), flush=True)


def is_right(body: bytes) -> bool:
    return json.loads(body) == ANSWER


def weight_changes(platform: Platform, rows: list[Row], count: int) -> None:
    platform.apply(canary=50)
    platform.wait()
    with measured(rows, platform, f"{count} weight changes"):
        for number in range(count):
            platform.apply(canary=(number * 37) % 101)
            progress(number, count)
    platform.apply()
    platform.wait()


def replacements(platform: Platform, rows: list[Row], count: int) -> None:
    with measured(rows, platform, f"{count} revision replacements"):
        for number in range(1, count + 1):
            platform.apply(generation=number)
            platform.wait()
            progress(number, count)


def replica_kills(platform: Platform, rows: list[Row], count: int) -> None:
    platform.apply(replicas=2, generation=1000)
    platform.wait()
    with measured(rows, platform, f"{count} kill -9 of a replica, one of 2"):
        for number in range(count):
            ready = until(lambda: [r for r in platform.status()["replicas"] if r["phase"] == "Ready"], least=2)
            os.kill(ready[number % 2]["pid"], signal.SIGKILL)
            progress(number, count)
        until(lambda: [r for r in platform.status()["replicas"] if r["phase"] == "Ready"], least=2)


def controller_kills(platform: Platform, rows: list[Row], count: int) -> None:
    note = "started again with `tiffin up -d`; what ran was adopted"
    with measured(rows, platform, f"{count} kill -9 of the controller", note=note):
        for number in range(count):
            before = {replica["pid"] for replica in platform.status()["replicas"]}
            for process in platform.processes()["controller"]:
                process.kill()
                process.wait(10)
            pause(1)
            platform.start()
            platform.wait()
            after = {replica["pid"] for replica in platform.status()["replicas"]}
            if before != after:
                sys.exit(f"error: the replicas {before} became {after}: they were not adopted")
            progress(number, count)


def gateway_kills(platform: Platform, rows: list[Row], count: int) -> None:
    note = "calls in hand and new connections until it listens again"
    with measured(rows, platform, f"{count} kill -9 of Envoy", must_be_zero=False, note=note) as load:
        outages = []
        for number in range(count):
            before = load.outcome.answered
            killed = time.monotonic()
            for process in platform.processes()["gateway"]:
                process.kill()
            until(lambda answered=before: load.outcome.answered > answered + 64, least=True)
            failures = [when for when, _ in load.outcome.failures if when >= killed]
            outages.append((failures[-1] - killed) if failures else 0.0)
            pause(1)
            progress(number, count)
    rows[-1] = Row(**{**vars(rows[-1]), "note": f"{note}: at most {max(outages):.2f} s"})


SCENARIOS: dict[str, tuple[Callable[[Platform, list[Row], int], None], int, int]] = {
    "weights": (weight_changes, 200, 20),
    "revisions": (replacements, 50, 5),
    "replicas": (replica_kills, 20, 4),
    "controller": (controller_kills, 5, 2),
    "gateway": (gateway_kills, 5, 2),
}
"""What is run, how often, and how often with ``--quick``."""


def until(look: Callable[[], Any], *, least: Any) -> Any:
    """Ask until what is found is at least that many, or true."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        found = look()
        if (len(found) >= least) if isinstance(found, list) else found:
            return found
        pause(0.05)
    sys.exit(f"error: waited {READY_SECONDS:.0f} s in vain")


def pause(seconds: float) -> None:
    time.sleep(seconds)


def progress(number: int, count: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{number + 1} of {count} ", end="", file=sys.stderr, flush=True)


def table(rows: list[Row]) -> str:
    heads = ["what was done under load", "calls", "failed", "p50 / p99 / max ms", "s", "resident MB", ""]
    lines = [heads, ["---"] * len(heads), *(row.cells() for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the changes")
    parser.add_argument("--only", action="append", choices=SCENARIOS, help="run this scenario; may be repeated")
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE.relative_to(ROOT)}")
    options = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="tiffin-chaos-") as directory:
        platform = Platform(Path(directory))
        try:
            platform.start()
            platform.apply()
            platform.wait()
            for name, (scenario, count, quick) in SCENARIOS.items():
                if not options.only or name in options.only:
                    scenario(platform, rows, quick if options.quick else count)
        finally:
            platform.tiffin("down")
            left = [process for found in platform.processes().values() for process in found]
            for process in left:
                process.kill()
    text = table(rows)
    print(f"\n{text}")
    if options.write:
        write(text)
    if left:
        print(f"error: `tiffin down` left {len(left)} processes", file=sys.stderr)
    return 1 if left or any(row.is_bad for row in rows) else 0


def write(text: str) -> None:
    page = PAGE.read_text()
    begin, end = "<!-- chaos:begin -->", "<!-- chaos:end -->"
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    when = f"Measured {datetime.now(UTC):%Y-%m-%d} on {cores()} with Python {version()}."
    PAGE.write_text(f"{before}{begin}\n{text}\n\n{when}\n{end}{after}")


def cores() -> str:
    return f"{os.cpu_count()} cores"


def version() -> str:
    return ".".join(map(str, sys.version_info[:3]))


if __name__ == "__main__":
    sys.exit(main())
