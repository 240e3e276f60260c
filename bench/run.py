"""Measure Tiffin against its peers, print a table with the targets, write build/bench.json.

Server and loader have a core each. The servers run side by side and are loaded in turn, round by round, so that a
change of the machine's speed meets both; the ratio is that of the medians. See bench/README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import footprint
import loader
import models
from cases import CASES, CONCURRENCIES, Case
from server import Server, check, peers, running

ROOT = Path(__file__).resolve().parent.parent
TARGETS = {"idle_resident_mb": 141, "start_seconds": 3.0, "import_ms": 60, "help_ms": 200, "core_install_mb": 60}


def main() -> None:
    options = _options()
    every = peers()
    unknown = [name for name in options.only or [] if name not in every]
    if unknown:
        sys.exit(f"error: no peer named {', '.join(unknown)}; there are {', '.join(every)}")
    chosen = {name: peer for name, peer in every.items() if not options.only or name in options.only}
    cases = [case for case in CASES if not options.case or case.name in options.case]
    rounds, seconds = (2, 1.0) if options.quick else (options.rounds, options.seconds)
    models.main()
    server_cores, loader_cores = _cores()
    report: dict[str, Any] = {"machine": _machine(server_cores, loader_cores), "rows": [], "peer_rows": []}
    try:
        for case in cases:
            able = _able(case, chosen)
            if not able:
                continue
            rows = measure(case, able, options.concurrency, rounds, seconds, server_cores, loader_cores)
            for row in rows:
                report["rows" if row["peer"] == "tiffin" else "peer_rows"].append(row)
        if not options.case:
            report["footprint"] = measure_footprint(chosen, 1 if options.quick else 3, server_cores)
    except KeyboardInterrupt:
        sys.exit("stopped; nothing was written")
    path = Path(options.json)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n")
    print(f"\nwritten to {path}")


def measure(
    case: Case,
    chosen: dict[str, ModuleType],
    concurrencies: list[int],
    rounds: int,
    seconds: float,
    server_cores: set[int],
    loader_cores: set[int],
) -> list[dict[str, Any]]:
    """All concurrencies of one case; one row for each peer and concurrency."""
    rows = []
    _say(f"\n{case.title}, {case.protocol}")
    _say(f"{'':>10} {'c':>4} {'req/s':>9} {'ratio':>7} {'p50 ms':>8} {'p99 ms':>8}")
    with ExitStack() as stack:
        servers = [stack.enter_context(running(peer, case, server_cores)) for peer in chosen.values()]
        for server in servers:
            check(server.port, case)
            _load(server, case, 16, 1.0, loader_cores)  # warm-up, not counted
        for connections in concurrencies:
            measured: dict[str, list[loader.Round]] = {server.peer: [] for server in servers}
            for _ in range(rounds):
                for server in servers:
                    measured[server.peer].append(_load(server, case, connections, seconds, loader_cores))
            rows += _rows(case, connections, measured)
        for server in servers:
            check(server.port, case)
    return rows


def measure_footprint(chosen: dict[str, ModuleType], rounds: int, server_cores: set[int]) -> dict[str, Any]:
    """Start, idle memory, import times and installed size."""
    found: dict[str, Any] = {
        name: footprint.start_and_memory(peer, CASES[0], rounds, server_cores)
        for name, peer in _able(CASES[0], chosen).items()
    }
    service = next(case for case in CASES if case.name == "service")
    for name, peer in _able(service, chosen).items():
        found[f"{name} service"] = footprint.start_and_memory(peer, service, rounds, server_cores)
    _say("\niris (LogisticRegression), saved model and service")
    for name, figures in found.items():
        for key, value in figures.items():
            _say(f"{name:>15}  {key:<18} {value:8.1f}{_verdict(key, value) if name == 'tiffin' else ''}")
    if "tiffin" in chosen:
        own = {
            "import_ms": footprint.import_ms(rounds * 3),
            "help_ms": footprint.help_ms(rounds * 3),
            "core_install_mb": footprint.core_install_mb(),
        }
        for key, value in own.items():
            _say(f"{'tiffin':>15}  {key:<18} {value:8.1f}{_verdict(key, value)}")
        found["tiffin"] |= own
    return found


def _able(case: Case, chosen: dict[str, ModuleType]) -> dict[str, ModuleType]:
    """Those of the chosen peers that can do the case, and are installed."""
    found = {}
    for name in case.peers:
        if name not in chosen:
            continue
        why = getattr(chosen[name], "missing", str)()
        if why:
            _say(f"{case.name}: without {name}: {why}")
        else:
            found[name] = chosen[name]
    return found


def _rows(case: Case, connections: int, measured: dict[str, list[loader.Round]]) -> list[dict[str, Any]]:
    rows = []
    baseline = _median(measured[case.yardstick]) if case.yardstick in measured else None
    for peer, rounds in measured.items():
        middle = _median(rounds)
        ratio = middle.requests_per_second / baseline.requests_per_second if baseline else None
        target = case.targets.get(connections) if peer == "tiffin" else None
        rows.append(
            {
                "peer": peer,
                "case": case.name,
                "model": case.title,
                "protocol": case.protocol,
                "concurrency": connections,
                "requests_per_second": round(middle.requests_per_second, 1),
                "ratio": None if ratio is None else round(ratio, 2),
                "p50_ms": round(middle.p50_ms, 3),
                "p99_ms": round(middle.p99_ms, 3),
                "target": target,
            }
        )
        line = f"{peer:>10} {connections:>4} {middle.requests_per_second:>9,.0f} "
        line += f"{ratio:>7.2f}" if ratio is not None else f"{'':>7}"
        line += f" {middle.p50_ms:>8.2f} {middle.p99_ms:>8.2f}"
        if target and ratio is not None:
            line += f"   target {target:g}: {'met' if ratio >= target else 'NOT MET'}"
            if connections == 1 and baseline:
                line += f", p99 {'met' if middle.p99_ms <= baseline.p99_ms else 'NOT MET'}"
        _say(line)
    return rows


def _median(rounds: list[loader.Round]) -> loader.Round:
    return loader.Round(
        *(
            statistics.median(getattr(r, name) for r in rounds)
            for name in ("requests_per_second", "p50_ms", "p99_ms")
        )
    )


def _load(server: Server, case: Case, connections: int, seconds: float, cores: set[int]) -> loader.Round:
    return loader.load(
        server.port, case.url_path, *case.request, connections=connections, seconds=seconds, cores=cores
    )


def _verdict(key: str, value: float) -> str:
    target = TARGETS[key]
    return f"   target < {target:g}: {'met' if value < target else 'NOT MET'}"


def _cores() -> tuple[set[int], set[int]]:
    if not hasattr(os, "sched_getaffinity"):
        return set(), set()
    available = sorted(os.sched_getaffinity(0))
    if len(available) < 2:
        _say("warning: only one core; server and loader share it, and the figures say little")
        return set(available), set(available)
    return {available[0]}, {available[1]}


def _machine(server_cores: set[int], loader_cores: set[int]) -> dict[str, Any]:
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "loader": loader.NAME,
        "server_cores": sorted(server_cores),
        "loader_cores": sorted(loader_cores),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", choices=[case.name for case in CASES], help="only this case")
    parser.add_argument("--only", action="append", metavar="PEER", help="only this peer, e.g. tiffin (no ratios)")
    parser.add_argument(
        "--concurrency",
        action="append",
        type=int,
        help=f"connections; default {', '.join(map(str, CONCURRENCIES))}",
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3, help="of each round (wrk takes whole seconds)")
    parser.add_argument("--quick", action="store_true", help="2 rounds of 1 second: a rough idea")
    parser.add_argument("--json", default=str(ROOT / "build" / "bench.json"), metavar="FILE")
    options = parser.parse_args()
    options.concurrency = options.concurrency or list(CONCURRENCIES)
    return options


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
