"""``tiffin plan`` and ``tiffin diff``: what applying would change."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence
from typing import Any

from tiffin.cli import notices, output, showing
from tiffin.cli.options import Domain, Files, Json, Output, Trust
from tiffin.cli.sources import read, sources
from tiffin.cli.targets import connect
from tiffin.client import Client
from tiffin.errors import NoSuchDeployment, TiffinError
from tiffin.plan.objects import Applied, Change
from tiffin.spec import Deployment

CHANGES = 2
"""The exit code of ``plan`` when something would change."""
_ADDED = ("resourceVersion", "generation", "creationTimestamp", "uid", "managedFields", "selfLink")
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
        given = sources(files)
        known = client.apply(given, dry_run=True, domain=domain)
        lines: list[str] = []
        for spec, one in zip(read(given, domain=domain), known, strict=False):
            lines += _differences(client, spec, one)
    except TiffinError as error:
        output.report(error)
        return CHANGES
    sys.stdout.writelines(lines)
    return 1 if lines else 0


def _differences(client: Client, spec: Deployment, one: Applied) -> list[str]:
    document = _document(spec)
    try:
        live = client.get(one.key)
        before = live.document if document is not None and live.document else showing.plain(_comparable(live.spec))
        after = document if document is not None and live.document else showing.plain(_comparable(spec))
    except NoSuchDeployment:
        before, after = None, document or showing.plain(_comparable(spec))
    before, after = _written(before), _written(after)
    if before == after or after is None:
        return []
    return list(
        difflib.unified_diff(
            [] if before is None else showing.yaml(before).splitlines(keepends=True),
            showing.yaml(after).splitlines(keepends=True),
            fromfile=f"desired/{one.key}",
            tofile=f"{spec.file}/{one.key}" if spec.file else f"file/{one.key}",
        )
    )


def _written(document: dict[str, Any] | None) -> dict[str, Any] | None:
    """What its author wrote: without what is added when it is shown."""
    if document is None:
        return None
    from tiffin.dialects import bases

    found = {name: value for name, value in bases.without(document).items() if name != "status"}
    if isinstance(metadata := found.get("metadata"), dict):
        kept = {name: value for name, value in metadata.items() if name not in _ADDED}
        if kept.get("namespace") == "default":
            del kept["namespace"]
        found["metadata"] = kept
    return found


def _comparable(spec: Deployment) -> Deployment:
    """Without what says where it was written, and what is no part of what is desired."""
    import msgspec

    return msgspec.structs.replace(spec, file="", document=0, warnings=())


def _document(spec: Deployment) -> dict[str, Any] | None:
    """The document the deployment was written in; ``None`` for what is no document, such as a saved model."""
    from pathlib import Path

    from tiffin.dialects import documents

    path = Path(spec.file)
    if path.suffix not in (".yaml", ".yml", ".json") or not path.is_file():
        return None
    try:
        found = documents.parse(path.read_text(encoding="utf-8-sig"), str(path))
    except (TiffinError, OSError, ValueError):
        return None
    values = [document.value for document in found]
    value = values[spec.document] if spec.document < len(values) else None
    return value if isinstance(value, dict) and value.get("kind") != "List" and "apiVersion" in value else None
