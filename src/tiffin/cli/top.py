"""``tiffin top``."""

from __future__ import annotations

from typing import Annotated

import typer

from tiffin.cli import output, rendering, showing
from tiffin.cli.options import Json, Namespace, Output
from tiffin.client import connect


def top(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Only this deployment.")] = "",
    namespace: Namespace = "",
    output_format: Output = "",
    as_json: Json = False,
) -> None:
    """Show what replicas use now: cores, memory, calls in hand, calls a second."""
    form = showing.form(output_format, as_json)
    found = [
        use
        for use in connect().top()
        if name in ("", use.deployment, use.deployment.partition("/")[2])
        and namespace in ("", use.deployment.partition("/")[0])
    ]
    if showing.is_data(form):
        showing.data({"items": found}, form)
    elif found:
        print("\n".join(rendering.uses(found)))
    else:
        output.say("no replica runs")
