"""``tiffin describe``."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from tiffin.cli import describing, names, showing
from tiffin.cli.options import Json, Namespace, Output
from tiffin.cli.targets import connect
from tiffin.errors import SpecError

EVENTS = 20


def describe(
    words: Annotated[list[str], typer.Argument(metavar="[KIND] NAME...", help="The deployments.")],
    namespace: Namespace = "",
    output_format: Output = "",
    as_json: Json = False,
) -> None:
    """Show all about a deployment, and why it is not ready.

    Conditions with their reasons, revisions and their share of the calls, replicas with what they wrote last, and
    events. With --json, the deployment in Tiffin's own words, whatever its file is written in.
    """
    form = showing.form(output_format, as_json)
    wanted = names.asked(words)
    if not wanted.names or wanted.kind != "deployments":
        raise SpecError("expected the name of a deployment", hint="`tiffin get` lists what there is")
    client = connect()
    shown = []
    for name in wanted.names:
        found = names.find(client, name, namespace, wanted.dialect)
        shown.append((found, client.events(found.spec.key)))
    if showing.is_data(form):
        items = [{**showing.plain(found), "events": showing.plain(events)} for found, events in shown]
        showing.data(items[0] if len(items) == 1 else {"items": items}, form)
        return
    print("\n\n\n".join(describing.text(found, events[-EVENTS:], time.time()) for found, events in shown))
