"""``tiffin new``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tiffin.cli import output


def new(
    name: Annotated[str, typer.Argument(help="Name of the project, and of its directory.", show_default=False)],
    template: Annotated[
        str, typer.Option("--template", "-t", help="plain, sklearn, torch, llm, graph or task.")
    ] = "plain",
    directory: Annotated[
        Path | None, typer.Option("--directory", "-d", help="Where to make it, if not in ./NAME.")
    ] = None,
    no_train: Annotated[bool, typer.Option("--no-train", help="Do not train a template's example model.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make a project that serves, tests and builds.

    plain has typed endpoints; sklearn and torch a trained model; llm streams; graph is made of several services;
    task works in the background.
    """
    from tiffin.cli import projects

    project = projects.plan(name, template)
    place = directory or Path(name)
    projects.write(project, place)
    trained = False
    if project.trains and not no_train:
        with output.busy("training the example model"):
            trained = projects.train(place)
        if not trained:
            output.warn(f"the example model is not trained: {project.needs} is not installed here")
    if as_json:
        output.data({"name": name, "template": template, "path": str(place), "trained": trained})
        return
    print(f"made {place}/: {', '.join(sorted(project.files))}")
    first = [f"cd {place}"]
    if project.trains and not trained:
        first += ["pip install -r requirements.txt", "python train.py"]
    print("\nnext:")
    for line in (*first, "tiffin serve --reload", "python -m pytest", "tiffin build"):
        print(f"  {line}")
