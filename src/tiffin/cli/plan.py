"""``tiffin plan`` and ``tiffin diff``: what applying would change."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence
from typing import Any

from tiffin.cli import notices, output, showing
from tiffin.cli.options import Domain, Files, Json, Output, Trust
from tiffin.cli.sources import sources
from tiffin.cli.targets import connect
from tiffin.errors import TiffinError
from tiffin.plan.objects import Applied, Change, Compared

CHANGES = 2
"""The exit code of ``plan`` when something would change."""
_SIGNS = {"created": "+", "configured": "~", "deleted": "-", "unchanged": "="}


def plan(
    files: Files, domain: Domain = "", trust: Trust = False, output_format: Output = "", as_json: Json = False
) -> int:
    """Say what applying files would change, and what that would do; changes nothing.

    Exit codes: 0 nothing would change, 2 something would, 1 it cannot be told.
    """
    form = showing.form(output_format, as_json)
    done = connect().apply(sources(files), dry_run=True, domain=domain, trust=trust)
    changed = [one for one in done if one.action != "unchanged"]
    if showing.is_data(form):
        showing.data({"changes": bool(changed), "items": done}, form)
    else:
        for line in text(done):
            print(line)
    return CHANGES if changed else 0


def text(done: Sequence[Applied]) -> list[str]:
    """What would change, for people."""
    lines = []
    for one in done:
        lines.append(f"{_SIGNS[one.action]} {one.key}: {'no change' if one.action == 'unchanged' else one.action}")
        if one.action == "configured":
            lines += [f"    {_change(change)}" for change in one.changes]
        lines += [f"    -> {effect}" for effect in one.effects]
        lines += [f"    warning: {warning}" for warning in notices.about([one], prefixed=False)]
    counts = {action: sum(one.action == action for one in done) for action in _SIGNS}
    named = [f"{count} {action}" for action, count in counts.items() if count and action != "unchanged"]
    lines.append(f"to change: {', '.join(named)}" if named else "nothing to change")
    return lines


def _change(change: Change) -> str:
    if change.before is None:
        return f"{change.path}: {_value(change.after)} (new)"
    if change.after is None:
        return f"{change.path}: {_value(change.before)} (removed)"
    return f"{change.path}: {_value(change.before)} -> {_value(change.after)}"


def _value(value: Any) -> str:
    import msgspec

    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 100 else f"{text[:97]}..."


def diff(files: Files, domain: Domain = "") -> int:
    """Show the differences between files and what is desired now, line by line.

    Exit codes: 0 no difference, 1 some, 2 it cannot be told.
    """
    try:
        client = connect()
        lines = [line for one in client.compare(sources(files), domain=domain) for line in _differences(one)]
    except TiffinError as error:
        output.report(error)
        return CHANGES
    sys.stdout.writelines(lines)
    return 1 if lines else 0


def _differences(one: Compared) -> list[str]:
    if one.before == one.after or one.after is None:
        return []
    return list(
        difflib.unified_diff(
            [] if one.before is None else showing.yaml(one.before).splitlines(keepends=True),
            showing.yaml(one.after).splitlines(keepends=True),
            fromfile=f"desired/{one.key}",
            tofile=f"{one.file or 'file'}/{one.key}",
        )
    )
