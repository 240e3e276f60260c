"""``tiffin list``, ``tiffin get`` and ``tiffin delete``: the local bundle store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tiffin.cli import output

if TYPE_CHECKING:
    from tiffin.bundle import BundleStore


def _store() -> BundleStore:
    from tiffin.bundle import BundleStore
    from tiffin.kits import paths

    return BundleStore(paths.data_directory().bundles)


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
    rows = [("TAG", "KIND", "TARGET", "SIZE", "CREATED", "DIGEST")]
    rows += [(t.tag, t.kind, t.target, _size(t.size), t.created, t.digest[:12]) for t in found]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def get_bundle(
    tag: Annotated[str, typer.Argument(help="name:version, a name, or the start of a digest.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
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
    print(f"files   {len(manifest.files)}, {_size(manifest.size)}")
    for file in manifest.files:
        print(f"        {file.path}{' -> ' + file.link if file.link else ''}")


def delete_bundle(
    tags: Annotated[list[str], typer.Argument(help="One or more of name:version.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Delete tags from the local store, and the bundles no other tag leads to."""
    store = _store()
    deleted = [{"tag": tag, "content": store.delete(tag)} for tag in tags]
    if as_json:
        output.data(deleted)
        return
    for item in deleted:
        print(f"deleted {item['tag']}{'' if item['content'] else '; its content has another tag'}")


def _size(count: int) -> str:
    size = float(count)
    for unit in ("B", "KB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
