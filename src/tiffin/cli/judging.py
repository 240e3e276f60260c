"""The report of a judge as text and as a page. Pure: plain values in, text out."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any


def text(report: dict[str, Any], indent: str = "") -> list[str]:
    """Every fact of a report on a line, lists of mappings as items."""
    lines: list[str] = []
    for name, value in report.items():
        label = f"{indent}{name.replace('_', ' ')}:"
        match value:
            case None | [] | {} | "":
                continue
            case dict():
                lines += [label, *text(value, indent + "  ")]
            case list() if any(isinstance(item, dict) for item in value):
                lines.append(label)
                for item in value:
                    inner = text(item, indent + "    ") if isinstance(item, dict) else [f"{indent}    {item}"]
                    if inner:
                        inner[0] = f"{indent}  - {inner[0].strip()}"
                    lines += inner
            case list():
                lines.append(f"{label} {', '.join(map(_value, value))}")
            case _:
                lines.append(f"{label} {_value(value)}")
    return lines


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def page(title: str, report: dict[str, Any]) -> str:
    """A page of its own: no scripts, nothing loaded from elsewhere."""
    charts = "".join(_chart(name, rows) for name, rows in _series(report))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{html.escape(title)}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; }}
table {{ border-collapse: collapse; margin: .5rem 0 1.5rem; }}
td, th {{ border-bottom: 1px solid #ccc; padding: .25rem .8rem .25rem 0; text-align: left; vertical-align: top; }}
svg text {{ font: 12px system-ui, sans-serif; }}
code, td {{ overflow-wrap: anywhere; }}
</style>
</head>
<body>
<h1>{html.escape(title)}</h1>
{charts}
{_html(report)}
</body>
</html>
"""


def _html(value: Any) -> str:
    if isinstance(value, dict):
        rows = "".join(
            f"<tr><th>{html.escape(str(name).replace('_', ' '))}</th><td>{_html(inner)}</td></tr>"
            for name, inner in value.items()
            if inner not in (None, [], {}, "")
        )
        return f"<table>{rows}</table>"
    if isinstance(value, list):
        if value and all(isinstance(item, dict) for item in value):
            names = list(dict.fromkeys(name for item in value for name in item))
            head = "".join(f"<th>{html.escape(str(name).replace('_', ' '))}</th>" for name in names)
            rows = "".join(
                "<tr>" + "".join(f"<td>{_html(item.get(name))}</td>" for name in names) + "</tr>" for item in value
            )
            return f"<table><tr>{head}</tr>{rows}</table>"
        return html.escape(", ".join(map(_value, value)))
    return "" if value is None else html.escape(_value(value))


def _series(report: Any, name: str = "") -> list[tuple[str, list[tuple[str, float]]]]:
    """Groups of numbers that stand side by side: each becomes a chart of bars."""
    found: list[tuple[str, list[tuple[str, float]]]] = []
    if isinstance(report, dict):
        rows = [
            (str(label), float(value))
            for label, value in report.items()
            if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
        ]
        if len(rows) > 1 and name:
            found.append((name, rows))
        for label, value in report.items():
            found += _series(value, str(label))
    return found


def _chart(name: str, rows: Sequence[tuple[str, float]]) -> str:
    most = max(value for _, value in rows) or 1.0
    bars = "".join(
        f'<text x="190" y="{index * 24 + 15}" text-anchor="end">{html.escape(label.replace("_", " "))}</text>'
        f'<rect x="200" y="{index * 24 + 3}" width="{max(1.0, value / most * 380):.1f}" height="16" fill="#47a"/>'
        f'<text x="{210 + value / most * 380:.1f}" y="{index * 24 + 15}">{_value(value)}</text>'
        for index, (label, value) in enumerate(rows)
    )
    size = f'width="720" height="{len(rows) * 24 + 6}"'
    title = html.escape(name.replace("_", " "))
    return f'<h2>{title}</h2>\n<svg {size} role="img" aria-label="{title}">{bars}</svg>\n'
