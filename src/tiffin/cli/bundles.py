"""``tiffin bundles`` and ``tiffin list``: the local bundle store. ``get`` and ``delete`` lead here for a tag."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tiffin.cli import output
from tiffin.cli.rendering import size, table

if TYPE_CHECKING:
    from tiffin.bundle import BundleStore


def _store() -> BundleStore:
    from tiffin.bundle import BundleStore
    from tiffin.kits import paths

    return BundleStore(paths.data_directory().bundles)


def bundles(
    action: Annotated[Literal["list", "get", "delete"], typer.Argument(help="What to do.")] = "list",
    tags: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TAG...]", help="name:version, a name, or the start of a digest."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List, show and delete bundles.

    `tiffin list`, `tiffin get TAG` and `tiffin delete TAG` do the same.
    """
    from tiffin.errors import SpecError

    given = tags or []
    if action == "list" and len(given) <= 1:
        list_bundles(given[0] if given else "", as_json)
    elif action == "list" or not given:
        raise SpecError("expected one name" if given else "expected a tag", hint="`tiffin list` lists the tags")
    elif action == "get":
        for tag in given:
            show(tag, as_json=as_json)
    else:
        remove(given, as_json=as_json)


def list_bundles(
    name: Annotated[str, typer.Argument(help="Only tags of this name.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the bundles in the local store."""
    found = [tagged for tagged in _store().list() if not name or tagged.tag.rpartition(":")[0] == name]
    if as_json:
        output.data(found)
        return
    if not found:
        output.say(
            "there are no bundles yet; `tiffin build` makes one" if not name else f"there is no bundle {name}"
        )
        return
    rows = [(t.tag, t.kind, t.target, size(t.size), t.created, t.digest[:12]) for t in found]
    for line in table(("TAG", "KIND", "TARGET", "SIZE", "CREATED", "DIGEST"), rows):
        print(line)


def is_there(name: str) -> bool:
    """Whether the store has a bundle of that tag or name."""
    from tiffin.errors import BundleError

    try:
        _store().get(name)
    except BundleError:
        return False
    return True


def show(tag: str, *, as_json: bool) -> None:
    """Show one bundle, after checking that its files are the ones that were built."""
    bundle = _store().get(tag)
    manifest = bundle.manifest
    if as_json:
        output.data(
            {
                "digest": f"sha256:{bundle.digest}",
                "tags": bundle.tags,
                "path": str(bundle.path),
                "manifest": manifest,
            }
        )
        return
    print(f"digest  sha256:{bundle.digest}")
    print(f"tags    {' '.join(bundle.tags)}")
    print(f"kind    {manifest.kind}")
    print(f"target  {manifest.target}")
    print(f"python  {manifest.python}")
    print(f"path    {bundle.path}")
    print(f"files   {len(manifest.files)}, {size(manifest.size)}")
    for file in manifest.files:
        print(f"        {file.path}{' -> ' + file.link if file.link else ''}")


def remove(tags: list[str], *, as_json: bool) -> None:
    """Delete tags from the local store, and the bundles no other tag leads to."""
    store = _store()
    deleted = [{"tag": tag, "content": store.delete(tag)} for tag in tags]
    if as_json:
        output.data(deleted)
        return
    for item in deleted:
        print(f"deleted {item['tag']}{'' if item['content'] else '; its content has another tag'}")
