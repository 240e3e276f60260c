"""``tiffin bundles`` and ``tiffin list``: the local bundle store. ``get`` and ``delete`` lead here for a tag."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tiffin.cli import output, showing
from tiffin.cli.rendering import size, table

if TYPE_CHECKING:
    from tiffin.bundle import BundleStore
    from tiffin.store.bentoml import Found

FORMS = ("", "table", "json", "yaml", "path")
StoreOutput = Annotated[str, typer.Option("--output", "-o", help="table, json, yaml or path.", metavar="FORMAT")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Delete every version when none is written.")]


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
    output_format: StoreOutput = "",
    yes: Yes = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List, show and delete bundles.

    `tiffin list`, `tiffin get TAG` and `tiffin delete TAG` do the same.
    """
    from tiffin.errors import SpecError

    given = split(tags or [])
    if action == "list" and len(given) <= 1:
        list_bundles(given[0] if given else "", output_format, as_json)
    elif action == "list" or not given:
        raise SpecError("expected one name" if given else "expected a tag", hint="`tiffin list` lists the tags")
    elif action == "get":
        for tag in given:
            show(tag, form(output_format, as_json))
    else:
        remove(given, as_json=as_json, yes=yes)


def list_bundles(
    name: Annotated[str, typer.Argument(help="Only tags of this name.")] = "",
    output_format: StoreOutput = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the bundles in the local store, and the bentos in BentoML's.

    `-o json` has BentoML's keys and texts first, `--json` sizes in bytes.
    """
    chosen = form(output_format, as_json)
    found = [row for row in _rows() if not name or row["tag"].rpartition(":")[0] == name]
    if chosen == "path":
        for row in found:
            print(row["path"])
    elif chosen in ("json", "yaml"):
        showing.data(found if as_json else [readable(row) for row in found], chosen)
    elif not found:
        output.say(
            "there are no bundles yet; `tiffin build` makes one" if not name else f"there is no bundle {name}"
        )
    else:
        rows = [
            (r["tag"], _kind(r), r["target"], size(r["size"]), r["creation_time"], r["digest"][:12]) for r in found
        ]
        for line in table(("TAG", "KIND", "TARGET", "SIZE", "CREATED", "DIGEST"), rows):
            print(line)


def _rows() -> list[dict[str, Any]]:
    from tiffin.store import bentoml

    store = _store()
    found = [
        {
            "tag": t.tag,
            "size": t.size,
            "model_size": t.model_size,
            "creation_time": t.created,
            "digest": t.digest,
            "kind": t.kind,
            "target": t.target,
            "created": t.created,
            "store": "tiffin",
            "path": str(store.shelf.place(t.digest)),
        }
        for t in store.list()
    ]
    known = {row["tag"] for row in found}
    return found + [_bento(bento) for bento in bentoml.every("bentos") if bento.tag not in known]


def _bento(bento: Found) -> dict[str, Any]:
    return {
        "tag": bento.tag,
        "size": bento.size,
        "model_size": 0,
        "creation_time": bento.created,
        "digest": "",
        "kind": "service",
        "target": str(bento.record.get("service", "")),
        "created": bento.created,
        "store": "bentoml",
        "path": str(bento.path),
    }


def _kind(row: dict[str, Any]) -> str:
    return f"{row['kind']} (bentoml)" if row["store"] == "bentoml" else str(row["kind"])


def readable(row: dict[str, Any]) -> dict[str, Any]:
    """Sizes and times as BentoML writes them for people: ``14.56 KiB``, ``2026-11-23 00:23:11``."""
    time = str(row["creation_time"]).replace("T", " ").partition("+")[0].partition(".")[0]
    sizes: dict[str, Any] = {key: _binary(row[key]) for key in ("size", "model_size") if key in row}
    return {**row, **sizes, "creation_time": time}


def _binary(count: int) -> str:
    amount = float(count)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.2f} {unit}"
        amount /= 1024
    return f"{amount:.2f} GiB"


def form(given: str, as_json: bool) -> str:
    """The format asked for, empty for words; raises SpecError for one that is not known."""
    from tiffin.errors import SpecError

    if as_json and given not in ("", "json"):
        raise SpecError(f"expected --json or -o {given}, found both")
    if given not in FORMS:
        raise SpecError(f"expected -o to be one of table, json, yaml, path, found {given!r}")
    return "json" if as_json else given.replace("table", "")


def split(tags: list[str]) -> list[str]:
    """Tags as they were written: one by one, or with commas between."""
    return [tag for text in tags for tag in text.split(",") if tag]


def is_there(name: str) -> bool:
    """Whether the store has a bundle of that tag or name."""
    from tiffin.errors import BundleError

    try:
        _store().get(name)
    except BundleError:
        return False
    return True


def show(tag: str, chosen: str) -> None:
    """Show one bundle, after checking that its files are the ones that were built."""
    from tiffin.cli import stored

    stored.adopt(tag)
    store = _store()
    bundle = store.get(tag)
    manifest = bundle.manifest
    if chosen == "path":
        print(bundle.path)
        return
    if chosen in ("json", "yaml"):
        value = {
            "digest": f"sha256:{bundle.digest}",
            "tags": bundle.tags,
            "path": str(bundle.path),
            "service": manifest.target,
            "labels": manifest.labels,
            "manifest": manifest,
        }
        showing.data(value, chosen)
        return
    print(f"digest  sha256:{bundle.digest}")
    print(f"tags    {' '.join(bundle.tags)}")
    print(f"kind    {manifest.kind}")
    print(f"target  {manifest.target}")
    print(f"python  {manifest.python}")
    print(f"path    {bundle.path}")
    if manifest.labels:
        print(f"labels  {' '.join(f'{key}={value}' for key, value in sorted(manifest.labels.items()))}")
    if manifest.provenance and manifest.provenance.commit:
        print(f"commit  {manifest.provenance.commit}{' (and changes)' if manifest.provenance.dirty else ''}")
    if manifest.recipe:
        print(f"locked  {manifest.recipe.platform or 'by its author' if manifest.recipe.locked else 'no'}")
    for model in manifest.models or ():
        print(f"model   {model.tag}, {size(model.size)}, sha256:{model.digest[:12]}")
    print(f"files   {len(manifest.files)}, {size(manifest.size)}")
    for file in manifest.files:
        print(f"        {file.path}{' -> ' + file.link if file.link else ''}")


def remove(tags: list[str], *, as_json: bool, yes: bool = False) -> None:
    """Delete tags from the local store, and the bundles no other tag leads to."""
    store = _store()
    wanted = [tag for text in tags for tag in (_versions(store, text) if yes else (text,))]
    deleted = [{"tag": tag, "content": store.delete(tag)} for tag in wanted]
    if as_json:
        output.data(deleted)
        return
    for item in deleted:
        print(f"deleted {item['tag']}{'' if item['content'] else '; its content has another tag'}")


def _versions(store: BundleStore, text: str) -> list[str]:
    """Every version of a name without one."""
    found = [tagged.tag for tagged in store.list() if tagged.tag.rpartition(":")[0] == text]
    return found or [text]
