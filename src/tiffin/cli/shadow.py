"""``tiffin shadow``."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from tiffin.cli import judging, names, output, plots
from tiffin.cli.options import Html, Json, Name, Namespace
from tiffin.client import connect


def shadow(
    action: Annotated[Literal["report"], typer.Argument(help="What to do.")],
    name: Name,
    html: Html = None,
    namespace: Namespace = "",
    as_json: Json = False,
) -> None:
    """Report how the answers of a shadow, or of a canary that gets copies, differ from the stable ones.

    Examples of differing answers are part of it.
    """
    client = connect()
    key = names.find(client, name, namespace).spec.key
    report = client.report(key)
    if html is not None:
        html.write_text(plots.page(f"{key}: answers compared", report), encoding="utf-8")
        output.say(f"written to {html}")
    if as_json:
        output.data(report)
    elif html is None:
        lines = judging.text(report)
        print("\n".join(lines) if lines else f"nothing was compared yet for {key}")
