"""``tiffin convert``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from tiffin import dialects
from tiffin.cli import output


def convert(
    files: Annotated[list[Path], typer.Argument(metavar="FILE|DIR...", help="Deployment files, or directories.")],
    to: Annotated[Literal["kserve", "seldon", "tiffin"], typer.Option("--to", help="Whose words to use.")],
    domain: Annotated[str, typer.Option(help="What host names of deployments end in.")] = "example.com",
    as_json: Annotated[bool, typer.Option("--json", help="Print texts and losses as JSON.")] = False,
) -> None:
    """Write deployments in the words of another system, as YAML on standard output.

    What that system has no words for is named on standard error.
    """
    from tiffin.dialects import writing

    read = [deployment for path in files for deployment in dialects.read(path, domain=domain, target="")]
    done = [(deployment, writing.convert(deployment, to)) for deployment in read]
    if as_json:
        output.data([{"key": spec.key, "text": found.text, "losses": found.losses} for spec, found in done])
        return
    for spec, found in done:
        for loss in found.losses:
            output.warn(f"{spec.key}: {loss}")
    print("---\n".join(found.text.rstrip("\n") + "\n" for _, found in done), end="")
