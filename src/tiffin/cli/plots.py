"""The report of a judge, and of a replay, as a page with plots: no scripts, nothing loaded. Pure."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from tiffin.cli import judging
from tiffin.cli.judging import number

WIDTH, HEIGHT, LEFT, BELOW = 640, 220, 60, 40
_COLOURS = {"stable": "#37a", "compared": "#d62"}

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: .5rem 0 1.5rem; }
td, th { border-bottom: 1px solid #ccc; padding: .25rem 1rem .25rem 0; text-align: left; vertical-align: top; }
svg text { font: 12px system-ui, sans-serif; fill: #444; }
pre { background: #f4f4f4; padding: .8rem; overflow: auto; }
td { overflow-wrap: anywhere; max-width: 24rem; }
"""


def page(title: str, report: Mapping[str, Any]) -> str:
    """A whole HTML document."""
    parts = []
    if report.get("rollout"):
        parts.append(f"<h2>Rollout</h2>\n<pre>{_text(judging.rollout(report['rollout']))}</pre>")
    tallies = list(report.get("shadows") or ())
    if "compared" in report:
        parts.append(f"<pre>{_text(judging.replay(report)[:1])}</pre>")
        tallies.append(report)
    parts += map(_tally, tallies)
    if not parts:
        parts.append("<p>Nothing was compared yet.</p>")
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{html.escape(title)}</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{html.escape(title)}</h1>\n{body}\n</body>\n</html>\n"
    )


def _tally(tally: Mapping[str, Any]) -> str:
    name = html.escape(str(tally.get("revision") or tally.get("against") or "Compared"))
    count, equal = tally.get("compared", 0), tally.get("equal", 0)
    parts = [
        f"<h2>{name}</h2>",
        f"<p>{equal} of {count} answers equal{f' ({equal / count:.2%})' if count else ''}.</p>",
    ]
    latency = tally.get("latency") or {}
    series = {
        "stable": _cumulative((latency.get("reference") or {}).get("buckets") or ()),
        "compared": _cumulative((latency.get("shadow") or {}).get("buckets") or ()),
    }
    if any(series.values()):
        parts.append("<h3>Latency</h3>")
        parts.append(_plot(series, "milliseconds", "share of the calls", most=1.0))
        parts.append(f"<pre>{_text(judging.latencies(latency))}</pre>")
    minutes = [
        (float(minute), equal_now / compared)
        for minute, compared, equal_now in tally.get("minutes") or ()
        if compared
    ]
    if len(minutes) > 1:
        start = minutes[0][0]
        points = [(minute - start, share) for minute, share in minutes]
        parts.append("<h3>Equal answers over time</h3>")
        parts.append(_plot({"compared": points}, "minutes", "share of equal answers", most=1.0))
    parts.append(_counts("Where they differ", "field", tally.get("differencesByPath") or {}))
    parts.append(_counts("Statuses", "stable, compared", tally.get("statuses") or {}))
    parts.append(_examples(tally.get("examples") or ()))
    return "\n".join(part for part in parts if part)


def _cumulative(buckets: Sequence[Sequence[float]]) -> list[tuple[float, float]]:
    total = sum(count for _, count in buckets)
    points, seen = [], 0.0
    for bound, count in buckets:
        seen += count
        points.append((float(bound), seen / total))
    return [(0.0, 0.0), *points] if points else []


def _plot(series: Mapping[str, Sequence[tuple[float, float]]], across: str, up: str, *, most: float) -> str:
    furthest = max((x for points in series.values() for x, _ in points), default=1.0) or 1.0

    def place(x: float, y: float) -> str:
        right, up = x / furthest * (WIDTH - LEFT - 20), y / most * (HEIGHT - BELOW - 20)
        return f"{LEFT + right:.1f},{HEIGHT - BELOW - up:.1f}"

    lines = [
        f'<polyline fill="none" stroke="{_COLOURS[name]}" stroke-width="2" '
        f'points="{" ".join(place(x, y) for x, y in points)}"/>'
        for name, points in series.items()
        if points
    ]
    legend = [
        f'<text x="{WIDTH - 150}" y="{HEIGHT - BELOW - 40 + 18 * index}" '
        f'style="fill:{_COLOURS[name]}">{name}</text>'
        for index, (name, points) in enumerate(series.items())
        if points
    ]
    bottom, right = HEIGHT - BELOW, WIDTH - 20
    axes = [
        f'<path d="M{LEFT} 20 V{bottom} H{right}" fill="none" stroke="#888"/>',
        f'<text x="{LEFT - 8}" y="24" text-anchor="end">{most:.0%}</text>',
        f'<text x="{LEFT - 8}" y="{bottom}" text-anchor="end">0</text>',
        f'<text x="{right}" y="{bottom + 16}" text-anchor="end">{number(furthest)}</text>',
        f'<text x="{(LEFT + right) // 2}" y="{HEIGHT - 8}" text-anchor="middle">{html.escape(across)}</text>',
        f'<text x="{LEFT + 6}" y="14">{html.escape(up)}</text>',
    ]
    inside = "".join(axes + lines + legend)
    return f'<svg width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="{html.escape(up)}">{inside}</svg>'


def _counts(title: str, what: str, counts: Mapping[str, int]) -> str:
    if not counts:
        return ""
    rows = "".join(
        f"<tr><td>{html.escape(name or 'the whole answer')}</td><td>{count}</td></tr>"
        for name, count in counts.items()
    )
    return f"<h3>{title}</h3>\n<table><tr><th>{what}</th><th>calls</th></tr>{rows}</table>"


def _examples(examples: Sequence[Mapping[str, Any]]) -> str:
    if not examples:
        return ""
    names = ("path", "request", "reference", "shadow")
    head = "".join(f"<th>{name}</th>" for name in ("path", "asked", "stable", "compared"))
    rows = "".join(
        "<tr>" + "".join(f"<td>{html.escape(str(example.get(name, '')))}</td>" for name in names) + "</tr>"
        for example in examples
    )
    return f"<h3>Examples</h3>\n<table><tr>{head}</tr>{rows}</table>"


def _text(lines: Sequence[str]) -> str:
    return html.escape("\n".join(lines))
