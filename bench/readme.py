"""Write the measured table of the README from build/bench.json."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"


def main() -> None:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "bench.json"
    readme = ROOT / "README.md"
    text = readme.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    readme.write_text(f"{before}{BEGIN}\n{table(json.loads(path.read_text()))}\n{END}{after}")


def table(report: dict[str, Any]) -> str:
    """Requests per second of Tiffin and, in bold, the ratio to the baseline in the same run."""
    concurrencies = sorted({row["concurrency"] for row in report["rows"]})
    head = ["model, request", *(f"{count} connection{'s' * (count > 1)}" for count in concurrencies)]
    head.append("p99 at 1, baseline's (ms)")
    lines = [" | ".join(["", *head, ""]).strip(), "|" + "---|" * len(head)]
    cases = list(dict.fromkeys(row["case"] for row in report["rows"]))
    for case in cases:
        own = {row["concurrency"]: row for row in report["rows"] if row["case"] == case}
        others = {
            row["concurrency"]: row
            for row in report["peer_rows"]
            if row["case"] == case and row["peer"] == "baseline"
        }
        any_row = next(iter(own.values()))
        cells = [f"{any_row['model']}, {any_row['protocol'].replace('v2', 'V2').replace('json', 'JSON')}"]
        for count in concurrencies:
            row = own[count]
            cells.append(f"**{row['ratio']:.1f}x** ({row['requests_per_second']:,.0f}/s)")
        cells.append(f"{own[1]['p99_ms']:.2f}, {others[1]['p99_ms']:.2f}" if 1 in own and 1 in others else "")
        lines.append(" | ".join(["", *cells, ""]).strip())
    return "\n".join([*lines, "", *_footprint(report), "", _machine(report["machine"])])


def _footprint(report: dict[str, Any]) -> list[str]:
    found = report.get("footprint", {})
    if not {"tiffin", "baseline"} <= found.keys():
        return []
    own, baseline = found["tiffin"], found["baseline"]
    return [
        f"An idle iris replica holds {own['idle_resident_mb']:.0f} MB "
        f"(baseline {baseline['idle_resident_mb']:.0f}) "
        f"and answers {own['start_seconds']:.1f} s after its start (baseline {baseline['start_seconds']:.1f}).",
        f"`import tiffin` takes {own['import_ms']:.0f} ms, `tiffin --help` {own['help_ms']:.0f} ms; "
        f"without extras Tiffin and what it needs install {own['core_install_mb']:.0f} MB.",
    ]


def _machine(machine: dict[str, Any]) -> str:
    return (
        f"Measured {machine['when'][:10]} with {machine['loader']} "
        f"on {machine['processor'] or machine['system']}, "
        f"Python {machine['python']}: one core for the server, one for the loader."
    )


if __name__ == "__main__":
    main()
