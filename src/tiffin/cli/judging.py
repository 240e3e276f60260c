"""The report of a judge, and of a replay, as text. Pure: the report's JSON in, lines out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

EXAMPLES = 3
_SIGNS = {"pass": "ok  ", "fail": "FAIL", "wait": "wait"}


def text(report: Mapping[str, Any], *, name: str = "") -> list[str]:
    """What was decided and compared; nothing when nothing was.

    With the ``name`` of the deployment in short: how much differs, and the command that shows what.
    """
    lines = rollout(report["rollout"]) if report.get("rollout") else []
    for shadow in report.get("shadows") or ():
        told = compared(shadow)
        if name and len(told) > 1:
            told = [told[0], f"  `tiffin shadow report {name}` shows where, and examples"]
        lines += ["", f"{shadow.get('revision', 'shadow')} compared with the stable one:", *told]
    if (recording := report.get("recording")) and recording.get("files"):
        lines += ["", f"recorded: {len(recording['files'])} files, {recording.get('bytes', 0) / 1e6:.1f} MB"]
    if report.get("problem"):
        lines += ["", f"problem: {report['problem']}"]
    return lines[1:] if lines and not lines[0] else lines


def rollout(told: Mapping[str, Any]) -> list[str]:
    """Where a rollout is, and what each gate says."""
    steps = told.get("steps") or ()
    lines = [
        f"{told.get('candidate')} against {told.get('stable')}: {told.get('phase')}"
        + (f", step {min(told.get('step', 1), len(steps))} of {len(steps)}" if steps else "")
        + f", {number(told.get('weight'))} % of the calls"
        + (f", copies of {number(told['mirrorPercent'])} %" if told.get("mirrorPercent") else "")
    ]
    if told.get("reason"):
        lines.append(f"  {told['decision']}: {told['reason']}" if told.get("decision") else f"  {told['reason']}")
    if told.get("pausedBy"):
        who = "a step" if told["pausedBy"] == "step" else "somebody"
        lines.append(f"  paused by {who}; `tiffin rollout resume` goes on")
    for gate in told.get("gates") or ():
        sign = _SIGNS.get(str(gate.get("outcome")), str(gate.get("outcome")))
        lines.append(f"  {sign}  {gate.get('sentence')}")
    if told.get("gates") and told.get("falseAlarm"):
        lines.append(f"  an equal revision is rolled back with a chance of at most {number(told['falseAlarm'])}")
    return lines


def replay(report: Mapping[str, Any]) -> list[str]:
    """What came of sending recorded calls."""
    lines = [
        f"sent {report.get('sent', 0)} recorded calls of {report.get('deployment')} to {report.get('against')} "
        f"in {number(report.get('seconds'))} s"
    ]
    for name, title in (("failed", "got no answer"), ("leftOut", "left out")):
        lines += [f"  {count} {title}: {reason}" for reason, count in (report.get(name) or {}).items()]
    return [*lines, *compared(report, ("recorded", "now"))]


def compared(tally: Mapping[str, Any], names: tuple[str, str] = ("stable", "compared")) -> list[str]:
    """How two revisions' answers and latencies differ; ``names`` is what the two are called."""
    count, equal = tally.get("compared", 0), tally.get("equal", 0)
    if not count:
        return ["  no answers were compared yet"]
    lines = [f"  {equal} of {count} answers equal ({equal / count:.2%})"]
    if tally.get("differencesByPath"):
        lines.append("  they differ at:")
        lines += [
            f"    {path or 'the whole answer'}: {times}" for path, times in tally["differencesByPath"].items()
        ]
    statuses = {pair: times for pair, times in (tally.get("statuses") or {}).items() if len(set(pair.split())) > 1}
    lines += [f"  status {pair.replace(' ', ' became ')}: {times}" for pair, times in statuses.items()]
    lines += latencies(tally.get("latency") or {}, names)
    for example in (tally.get("examples") or [])[:EXAMPLES]:
        lines += _example(example, names)
    return lines


def latencies(told: Mapping[str, Any], called: tuple[str, str] = ("stable", "compared")) -> list[str]:
    """Quantiles in milliseconds, side by side."""
    from tiffin.cli.rendering import table

    reference, shadow = told.get("reference") or {}, told.get("shadow") or {}
    names = [name for name in reference if name.startswith("p") and reference[name] is not None]
    if not names:
        return []
    rows = [(name, f"{number(reference[name])} ms", f"{number(shadow.get(name))} ms") for name in names]
    return [f"  {line}" for line in table(("LATENCY", *map(str.upper, called)), rows)]


def _example(example: Mapping[str, Any], names: tuple[str, str]) -> list[str]:
    lines = [f"  for example {example.get('path')} (call {example.get('id')}):"]
    told = (("asked", "request"), (names[0], "reference"), (names[1], "shadow"))
    lines += [f"    {f'{name}:':<9} {example.get(field)}" for name, field in told]
    return lines


def number(value: Any) -> str:
    """Up to three digits that matter."""
    return f"{value:.3g}" if isinstance(value, int | float) and not isinstance(value, bool) else "-"
