"""``tiffin logs``."""

from __future__ import annotations

from typing import Annotated

import typer

from tiffin.cli import names, output
from tiffin.cli.options import Json, Name, Namespace
from tiffin.cli.targets import connect


def logs(
    name: Name,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what they write.")] = False,
    replica: Annotated[str, typer.Option("--replica", help="Only this replica.")] = "",
    tail: Annotated[int, typer.Option("--tail", min=0, help="How many of the last lines of each replica.")] = 100,
    namespace: Namespace = "",
    as_json: Json = False,
) -> None:
    """Print what the replicas of a deployment write.

    Where there are several, each line stands behind its replica's name.
    """
    client = connect()
    found = names.find(client, name, namespace)
    prefixed = not replica and len(found.status.replicas) != 1
    empty = True
    try:
        for said in client.logs(found.spec.key, replica=replica, follow=follow, tail=tail):
            empty = False
            if as_json:
                _json(said)
            else:
                print(f"{said.replica}  {said.line}" if prefixed else said.line, flush=True)
    except KeyboardInterrupt:
        return
    if empty and not as_json:
        output.say(f"{found.spec.key} has no replica that wrote anything yet")


def _json(value: object) -> None:
    import msgspec

    print(msgspec.json.encode(value).decode(), flush=True)
