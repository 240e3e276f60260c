"""``tiffin build``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from tiffin.cli import output


def build(
    directory: Annotated[Path, typer.Argument(help="The directory with the sources.")] = Path("."),
    tag: Annotated[
        str, typer.Option("--tag", "-t", help="name:version, or an image reference such as iris-image:v0.1.")
    ] = "",
    bentofile: Annotated[
        Path | None, typer.Option("--bentofile", "-f", help="A build file as BentoML reads it.")
    ] = None,
    target: Annotated[
        str, typer.Option(help="module:Class, or a program such as model.py; found by looking when not given.")
    ] = "",
    kind: Annotated[
        Literal["auto", "class", "service", "program"],
        typer.Option(help="A plain class with predict, a service, or a program that serves by itself."),
    ] = "auto",
    output_format: Annotated[
        Literal["default", "tag"],
        typer.Option("--output", "-o", help="tag: print __tag__:name:version and no more."),
    ] = "default",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make a bundle of a service, class or program, and give it a tag.

    A bundle holds the sources, what is served, and the requirements. The same sources make the same bundle.
    The sources are read, not run.
    """
    from tiffin.bundle import BundleStore, Reference, plan
    from tiffin.kits import paths
    from tiffin.store.reference import parse

    name = parse(tag) if tag else None
    made = plan(directory, target=target, kind=None if kind == "auto" else kind, bentofile=bentofile)
    for warning in made.warnings:
        output.warn(str(warning))
    store = BundleStore(paths.data_directory().make().bundles)
    with output.busy("building"):
        tagged, bundle = store.add(made, name or Reference(made.name))
    if as_json:
        output.data(
            {
                "tag": tagged,
                "digest": f"sha256:{bundle.digest}",
                "kind": bundle.kind,
                "target": bundle.target,
                "files": len(bundle.manifest.files),
                "size": bundle.manifest.size,
                "path": str(bundle.path),
            }
        )
    elif output_format == "tag":
        # What BentoML's own scripts look for.
        print(f"__tag__:{tagged}")
    else:
        count = len(bundle.manifest.files)
        print(f"built {tagged} ({bundle.kind} {bundle.target}, {count} file{'s' * (count != 1)})")
        output.say(f"serving {bundle.target}: {made.said_by}; sha256:{bundle.digest[:12]}")
