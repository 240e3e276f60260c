"""``tiffin scale``."""

from __future__ import annotations

from typing import Annotated

import typer

from tiffin.cli import names, output
from tiffin.cli.options import Json, Name, Namespace
from tiffin.cli.targets import connect
from tiffin.errors import SpecError


def scale(
    name: Name,
    replicas: Annotated[
        int | None, typer.Option("--replicas", min=0, help="This many; 0: none while nobody calls.")
    ] = None,
    least: Annotated[int | None, typer.Option("--min", min=0, help="0: none while nobody calls.")] = None,
    most: Annotated[int | None, typer.Option("--max", min=0, help="0: no limit but the machine's.")] = None,
    component: Annotated[str, typer.Option("--component", help="Which; the first when not given.")] = "",
    namespace: Namespace = "",
    as_json: Json = False,
) -> None:
    """Change how many replicas a deployment has, until it is applied again."""
    if (replicas is None) == (least is None and most is None):
        raise SpecError("expected --replicas, or --min and --max", hint="for example --replicas 2")
    client = connect()
    found = names.find(client, name, namespace)
    known = [one.name for one in found.spec.components]
    if component and component not in known:
        raise SpecError(f"expected --component to be one of {', '.join(known)}, found {component!r}")
    message = client.scale(found.spec.key, component=component, replicas=replicas, minimum=least, maximum=most)
    if as_json:
        output.data({"key": found.spec.key, "message": message})
    else:
        print(message)
