"""``tiffin prune``."""

from __future__ import annotations

from typing import Annotated

import typer

from tiffin.cli import output
from tiffin.cli.rendering import size


def prune(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be deleted, delete nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Delete what no tag leads to, and what interrupted commands left behind.

    Bundles without a tag, models without a tag that no bundle needs, and locks of requirements that are older than
    90 days, signatures of what was deleted, and layers that no image kept here needs.
    """
    from tiffin.bundle import pruning
    from tiffin.image.pruning import spare
    from tiffin.kits import paths

    data = paths.data_directory()
    found = pruning.prune(data, is_dry=dry_run)
    for what, path in spare(data.images):
        found.append(pruning.Item(what=what, name=str(path), size=path.stat().st_size))
        if not dry_run:
            path.unlink(missing_ok=True)
    if as_json:
        output.data(found)
        return
    for item in found:
        print(f"{'would delete' if dry_run else 'deleted'} {item.what} {item.name} ({size(item.size)})")
    total = size(sum(item.size for item in found))
    output.say(f"{total} {'can be' if dry_run else 'were'} freed" if found else "there is nothing to delete")
