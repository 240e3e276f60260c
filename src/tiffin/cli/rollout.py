"""``tiffin rollout``: how a new revision takes over."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import typer

from tiffin.cli import judging, names, output, rendering, showing, watching
from tiffin.cli.options import Json, Name, Namespace, Output
from tiffin.cli.targets import connect
from tiffin.client import Client
from tiffin.errors import NoSuchDeployment, SpecError
from tiffin.plan.objects import Object, RevisionSummary
from tiffin.plan.state import RevisionStatus


def rollout(
    action: Annotated[
        Literal["status", "promote", "undo", "history", "pause", "resume"], typer.Argument(help="What to do.")
    ],
    name: Name,
    to_revision: Annotated[
        int | None, typer.Option("--to-revision", min=1, help="The number that undo goes back to.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="With status: until it is over.")] = False,
    timeout: Annotated[str, typer.Option(help="How long status --watch waits.")] = "30m",
    namespace: Namespace = "",
    output_format: Output = "",
    as_json: Json = False,
) -> None:
    """Show and steer how a new revision takes over.

    status: what the judge says and why. promote: give the newest revision all calls now. undo: go back to the
    revision before, or --to-revision. pause and resume: stop and go on. history: all revisions.
    """
    form = showing.form(output_format, as_json)
    client = connect()
    found = names.find(client, name, namespace)
    key = found.spec.key
    if action != "status" and action != "history":
        if to_revision is not None and action != "undo":
            raise SpecError("expected --to-revision with undo only")
        message = client.rollout(key, action, to=to_revision)
        if showing.is_data(form):
            showing.data({"key": key, "message": message}, form)
        else:
            print(message)
        return
    if action == "history":
        _history(client, found, form)
        return
    if watch:
        watching.until(
            client, [key], _is_over, timeout=watching.seconds(timeout), wish="is not rolled out", tell=True
        )
        found = client.get(key)
    report = _report(client, key)
    if showing.is_data(form):
        showing.data({"key": key, "revisions": found.status.revisions, "report": report}, form)
        return
    print("\n".join(status_text(found, report)))


def _is_over(found: Object | None) -> bool:
    """Whether the newest revision is ready and shares its variant's calls with none."""
    if found is None or not watching.is_ready(found):
        return False
    newest = found.status.latest.get(found.spec.variant)
    is_taken = newest is not None and found.status.rolled_out.get(found.spec.variant) == newest
    return is_taken and not _sharing(found, newest or "")


def _sharing(found: Object, newest: str) -> list[RevisionStatus]:
    """Other revisions of the main variant that get calls.

    One that was rolled out may get a part again: a canary percentage set after that leads back to the one before.
    """
    others = [one for one in found.status.revisions if one.variant == found.spec.variant and one.name != newest]
    return [one for one in others if one.weight > 0]


def _report(client: Client, key: str) -> dict[str, Any]:
    try:
        return client.report(key)
    except NoSuchDeployment:
        return {}


def _history(client: Client, found: Object, form: str) -> None:
    known = client.revisions(found.spec.key)
    if showing.is_data(form):
        showing.data({"items": known}, form)
    elif known:
        print("\n".join(history(found, known, time.time())))
    else:
        output.say("no revisions yet")


def history(found: Object, known: Sequence[RevisionSummary], now: float) -> list[str]:
    """NUMBER REVISION VARIANT PHASE TRAFFIC TAGS AGE SERVES, the newest first; phases of those that run."""
    status = {revision.name: revision for revision in found.status.revisions}
    rows = []
    for one in sorted(known, key=lambda one: -one.number):
        now_is = status.get(one.name)
        rows.append(
            [
                str(one.number),
                one.name,
                one.variant,
                now_is.phase if now_is else "",
                rendering.share(now_is) if now_is else "",
                ",".join(now_is.tags) if now_is else "",
                rendering.age(now - one.created),
                ", ".join(f"{name}: {what}" if len(one.serves) > 1 else what for name, what in one.serves.items()),
            ]
        )
    return rendering.table(["NUMBER", "REVISION", "VARIANT", "PHASE", "TRAFFIC", "TAGS", "AGE", "SERVES"], rows)


def status_text(found: Object, report: dict[str, Any]) -> list[str]:
    """Where the rollout is, for people."""
    newest = found.status.latest.get(found.spec.variant, "")
    stable = found.status.rolled_out.get(found.spec.variant, "")
    sharing = _sharing(found, newest)
    if stable == newest and sharing:
        stable = sharing[0].name
    if not newest:
        lines = [f"{found.spec.key} has no revision yet"]
    elif newest == stable:
        lines = [f"{newest} is rolled out"]
    else:
        share = {revision.name: revision.weight for revision in found.status.revisions}
        before = f"; {stable} has {rendering.percent(share.get(stable, 0.0))}" if stable else ""
        lines = [f"{newest} has {rendering.percent(share.get(newest, 0.0))} of the calls{before}"]
    condition = found.status.condition("Ready")
    if condition is not None and condition.status != "True":
        lines.append(f"not ready: {': '.join(part for part in (condition.reason, condition.message) if part)}")
        if condition.hint:
            lines.append(f"  hint: {condition.hint}")
    return lines + judging.text(report, name=found.metadata.name)
