"""``tiffin apply``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from tiffin.cli import notices, output, showing, watching
from tiffin.cli.options import Domain, Files, Json, Output, Trust
from tiffin.cli.sources import sources
from tiffin.cli.targets import connect
from tiffin.plan.objects import Applied, Source


def apply(
    files: Files,
    wait: Annotated[bool, typer.Option("--wait", help="Return when all of them are ready.")] = False,
    timeout: Annotated[str, typer.Option(help="How long --wait waits, such as 90s or 5m.")] = "5m",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also when a resourceVersion in the file is not the newest.")
    ] = False,
    trust: Trust = False,
    domain: Domain = "",
    output_format: Output = "",
    as_json: Json = False,
) -> None:
    """Make what files say be so: all of them, or none when one cannot be read.

    Returns when that is written down; with --wait when all are ready, telling meanwhile what downloads and starts.
    What is applied stays, also when the controller stops and starts again, until `tiffin delete`.
    """
    form = showing.form(output_format, as_json)
    limit = watching.seconds(timeout)
    client = connect()
    given = sources(files)
    done = client.apply(
        given,
        dry_run=dry_run,
        force=force,
        trust=trust,
        domain=domain,
        resource_version=None if force else seen_version(given),
    )
    for warning in notices.about(done):
        output.warn(warning)
    if not showing.is_data(form):
        report(done, dry_run=dry_run, form=form)
    if wait and not dry_run:
        keys = [one.key for one in done]
        watching.until(
            client, keys, watching.is_ready, timeout=limit, wish="is not ready", tell=True,
            give_up=watching.has_failed,
        )  # fmt: skip
        found = [client.get(key) for key in keys]
        if not showing.is_data(form):
            for item in found:
                print(f"{item.spec.key} is ready at {item.status.url}")
    if showing.is_data(form):
        showing.data({"items": done}, form)


def report(done: Sequence[Applied], *, dry_run: bool, form: str = "") -> None:
    """A line for each deployment, as kubectl has it."""
    for one in done:
        if form == "name":
            print(f"deployments/{one.key.partition('/')[2]}")
        else:
            print(f"{one.key} {one.action}{' (dry run)' if dry_run else ''}", flush=True)


def seen_version(given: Sequence[Source]) -> int | None:
    """The ``resourceVersion`` that the one document in the one file names: its author saw that version."""
    from tiffin.dialects import documents
    from tiffin.errors import TiffinError

    if len(given) != 1:
        return None
    text, path = given[0].text, Path(given[0].path)
    try:
        if not text:
            if not path.is_file() or path.suffix not in (".yaml", ".yml", ".json"):
                return None
            with path.open("rb") as file:
                text = file.read(documents.MAX_BYTES + 1).decode()
        if "resourceVersion" not in text:
            return None
        found = documents.parse(text, str(path))
    except (OSError, ValueError, TiffinError):
        # Whoever applies it says what is wrong with it.
        return None
    value = found[0].value if len(found) == 1 else None
    metadata = value.get("metadata") if isinstance(value, dict) else None
    version = str(metadata.get("resourceVersion") or "") if isinstance(metadata, dict) else ""
    return int(version) if version.isascii() and version.isdigit() else None
