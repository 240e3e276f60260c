"""``tiffin replay``."""

from __future__ import annotations

from typing import Annotated

import typer

from tiffin.cli import judging, names, output, plots
from tiffin.cli.options import Html, Json, Name, Namespace
from tiffin.client import connect


def replay(
    name: Name,
    against: Annotated[str, typer.Option("--against", help="The revision, such as iris-00002 or 2.")],
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="At most this many requests.")] = None,
    recorded_speed: Annotated[
        bool, typer.Option("--recorded-speed", help="As far apart as they came, not as fast as they are answered.")
    ] = False,
    html: Html = None,
    namespace: Namespace = "",
    as_json: Json = False,
) -> None:
    """Send recorded requests to a revision, and report how its answers and their latency differ.

    No live call is touched. The deployment needs `record:`, so that there are requests to send.
    """
    client = connect()
    found = names.find(client, name, namespace)
    if against.isdigit():
        against = f"{found.metadata.name}-{int(against):05d}"
    with output.busy(f"sending recorded requests to {against}"):
        report = client.replay(found.spec.key, against, limit=limit, recorded_speed=recorded_speed)
    if html is not None:
        html.write_text(plots.page(f"{found.spec.key}: replayed against {against}", report), encoding="utf-8")
        output.say(f"written to {html}")
    if as_json:
        output.data(report)
    elif html is None:
        print("\n".join(judging.replay(report)))
