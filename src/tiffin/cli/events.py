"""``tiffin events``."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from tiffin.cli import names, output, rendering, showing
from tiffin.cli.options import AllNamespaces, Json, Namespace, Output
from tiffin.cli.targets import connect


def events(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Only those of this deployment.")] = "",
    namespace: Namespace = "",
    all_namespaces: AllNamespaces = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on with what happens.")] = False,
    output_format: Output = "",
    as_json: Json = False,
) -> None:
    """Show what happened, the newest last."""
    form = showing.form(output_format, as_json)
    client = connect()
    key = names.find(client, name, namespace).spec.key if name else None
    where = None if all_namespaces or key else (namespace or client.namespace)
    if watch:
        widths: list[int] = []
        try:
            for event in client.watch_events(key, namespace=where):
                if showing.is_data(form):
                    showing.data(event, form)
                    continue
                is_first = not widths
                lines = rendering.events([event], time.time(), names=key is None, widths=widths)
                print("\n".join(lines if is_first else lines[1:]), flush=True)
        except KeyboardInterrupt:
            return
        return
    found = client.events(key, namespace=where)
    if showing.is_data(form):
        showing.data({"items": found}, form)
    elif found:
        print("\n".join(rendering.events(found, time.time(), names=key is None)))
    else:
        output.say("no events" + ("" if where is None or key else f" in namespace {where}; -A shows all"))
