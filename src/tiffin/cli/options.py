"""Options that several commands have, spelled once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Namespace = Annotated[
    str, typer.Option("--namespace", "-n", help="The namespace; that of the context, or default.")
]
AllNamespaces = Annotated[bool, typer.Option("--all-namespaces", "-A", help="Those of all namespaces.")]
Output = Annotated[
    str, typer.Option("--output", "-o", help="json, yaml, wide, name, or jsonpath=EXPRESSION.", metavar="FORMAT")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Files = Annotated[
    list[str], typer.Option("--filename", "-f", help="A file or directory; - is standard input.", metavar="FILE")
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The deployment, as NAME or NAMESPACE/NAME.")]
Trust = Annotated[bool, typer.Option("--trust", help="Open models that could run any code.")]
Domain = Annotated[str, typer.Option(help="What host names of deployments end in.")]
Html = Annotated[Path | None, typer.Option("--html", help="Write it as a page, with plots.", metavar="FILE")]
