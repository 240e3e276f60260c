"""``tiffin models``: the local model store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tiffin.cli import archiving, output, showing
from tiffin.cli.bundles import StoreOutput, form, readable, split
from tiffin.cli.rendering import size, table

if TYPE_CHECKING:
    from tiffin.store.bentoml import Found
    from tiffin.store.models import ModelStore, StoredModel


def models(
    action: Annotated[
        Literal["list", "get", "delete", "save", "export", "import", "push", "pull"],
        typer.Argument(help="What to do."),
    ] = "list",
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TAG...] [PATH]", help="Tags; a path for save, export and import."),
    ] = None,
    label: Annotated[list[str] | None, typer.Option("--label", help="KEY=VALUE, with save.")] = None,
    run: Annotated[str, typer.Option(help="The training run it comes from, with save.")] = "",
    parent: Annotated[str, typer.Option(help="The model it was made from, with save.")] = "",
    data: Annotated[str, typer.Option(help="The digest or address of the training data, with save.")] = "",
    tag: Annotated[str, typer.Option("--tag", "-t", help="name:version, with import.")] = "",
    output_format: StoreOutput = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete every version when none is written.")] = False,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Ask the registry in plain HTTP, with push and pull.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List, show, save, delete, export, import, push and pull models.

    `tiffin models save TAG PATH` stores a file, or the files of a directory. A model that a bundle needs is not
    deleted. `tiffin serve model://TAG` serves a saved model. Other systems are named in place of a file:
    `mlflow://host:port/NAME/VERSION` or `models:/NAME/VERSION` is MLflow's registry, `hf-dir:DIRECTORY` a model as
    Hugging Face lays it out.
    """
    from tiffin.errors import SpecError

    given = list(words or ())
    chosen = form(output_format, as_json)
    if action == "list":
        _list(given[0] if given else "", chosen, as_json=as_json)
    elif action == "get" and given:
        for one in split(given):
            _show(one, chosen)
    elif action == "delete" and given:
        _delete(split(given), as_json=as_json, yes=yes)
    elif action == "save" and len(given) == 2:
        _save(given[0], given[1], label or [], {"run": run, "parent": parent, "data": data}, as_json=as_json)
    elif action == "export" and len(given) in (1, 2):
        _export(given[0], given[1] if len(given) == 2 else ".", as_json=as_json)
    elif action in ("push", "pull") and len(given) in (1, 2):
        _move(action, given, tag, as_json=as_json, insecure=insecure)
    elif action == "import" and len(given) == 1:
        _import(given[0], tag, as_json=as_json)
    else:
        wanted = {
            "save": "TAG PATH", "export": "TAG [OUT]", "import": "PATH", "push": "TAG [REF]", "pull": "REF"
        }.get(action, "TAG...")  # fmt: skip
        raise SpecError(f"expected tiffin models {action} {wanted}", hint="`tiffin models list` lists the tags")


def _store() -> ModelStore:
    from tiffin.kits import paths
    from tiffin.store.models import ModelStore

    return ModelStore(paths.data_directory().models)


def _list(name: str, chosen: str, *, as_json: bool) -> None:
    from tiffin.store import bentoml

    found = [_row(model) for model in _store().list(name)]
    known = {row["tag"] for row in found}
    found += [
        _foreign(other)
        for other in bentoml.every("models")
        if other.tag not in known and (not name or other.tag.partition(":")[0] == name)
    ]
    if chosen == "path":
        for row in found:
            print(row["path"])
    elif chosen:
        showing.data(found if as_json else [readable(row) for row in found], chosen)
    elif not found:
        output.say("there are no models yet; `tiffin models save TAG PATH` stores one" if not name
                   else f"there is no model {name}")  # fmt: skip
    else:
        rows = [
            (r["tag"], r["module"] + (" (bentoml)" if r["store"] == "bentoml" else ""), size(r["size"]),
             r["creation_time"], r["digest"][:12])
            for r in found
        ]  # fmt: skip
        for line in table(("TAG", "MODULE", "SIZE", "CREATED", "DIGEST"), rows):
            print(line)


def _foreign(other: Found) -> dict[str, Any]:
    return {
        "tag": other.tag,
        "module": str(other.record.get("module") or ""),
        "size": other.size,
        "creation_time": other.created,
        "digest": "",
        "store": "bentoml",
        "path": str(other.path),
    }


def _row(model: StoredModel) -> dict[str, Any]:
    return {
        "tag": model.tag,
        "module": model.module,
        "size": model.size,
        "creation_time": model.created,
        "digest": model.digest,
        "store": "tiffin",
        "path": str(model.path),
    }


def _show(tag: str, chosen: str) -> None:
    from tiffin.bundle import pinning

    model, store = pinning.located(_store(), tag)
    if chosen == "path":
        print(model.path)
        return
    if chosen:
        showing.data({**_row(model), "store": store or "tiffin", "manifest": model.manifest}, chosen)
        return
    manifest = model.manifest
    print(f"tag       {model.tag}{' (in the store of BentoML)' if store else ''}")
    print(f"digest    sha256:{model.digest}")
    print(f"module    {manifest.module or 'none: plain files'}")
    print(f"created   {model.created}")
    print(f"path      {model.path}")
    for word, pairs in (("labels", manifest.labels), ("metadata", manifest.metadata)):
        if pairs:
            print(f"{word:<9} {' '.join(f'{key}={value}' for key, value in sorted(pairs.items()))}")
    for word in ("run", "parent", "data", "source"):
        if value := getattr(manifest.lineage, word):
            print(f"{word:<9} {value}")
    print(f"files     {len(manifest.files)}, {size(manifest.size)}")
    for file in manifest.files:
        print(f"          {file.path}{' -> ' + file.link if file.link else ''}")


def _delete(tags: list[str], *, as_json: bool, yes: bool) -> None:
    from tiffin.bundle import pruning
    from tiffin.kits import paths

    store = _store()
    if yes:
        tags = [one for text in tags for one in _versions(store, text)]
    deleted = [
        {"tag": one, "content": store.delete(one, may_go=pruning.keeper(paths.data_directory(), one))}
        for one in tags
    ]
    if as_json:
        output.data(deleted)
        return
    for item in deleted:
        print(f"deleted {item['tag']}{'' if item['content'] else '; its content has another tag'}")


def _versions(store: ModelStore, text: str) -> list[str]:
    return [model.tag for model in store.list(text)] if ":" not in text else [text]


def _save(tag: str, path: str, labels: list[str], lineage: dict[str, str], *, as_json: bool) -> None:
    from tiffin.cli.build import pairs
    from tiffin.store import files
    from tiffin.store.manifest import Lineage, ModelManifest

    manifest = ModelManifest(labels=pairs(labels, "--label"), lineage=Lineage(**lineage))
    origin = Path(path)
    total = origin.stat().st_size if origin.is_file() else 0
    if origin.is_dir():
        total = sum((origin / one).lstat().st_size for one in files.walk(origin))
    with output.copying("saving", total) as progress:
        model = _store().add(origin, tag, manifest=manifest, progress=progress)
    _told("saved", model, as_json)


def _export(tag: str, out: str, *, as_json: bool) -> None:
    from tiffin.bundle import pinning
    from tiffin.kits import paths
    from tiffin.models import exchange
    from tiffin.store import trees

    store = _store()
    if exchange.handles(out):
        data = paths.data_directory().make()
        where = exchange.export_model(tag, out, data, progress=lambda path: output.say(f"uploading {path}"))
        archiving.told(tag, None, where, as_json)
        return
    if pinning.located(store, tag)[1]:
        paths.data_directory().make()
        _adopt(store, tag)
    with archiving.sending(out, ".tiffinmodel") as place, output.busy("exporting"):
        written = trees.export_model(store, tag, place)
    archiving.told(tag, written if "://" not in out else None, out, as_json)


def _adopt(store: ModelStore, tag: str) -> None:
    from tiffin.store import bentoml, trees

    found = bentoml.find("models", tag)
    if found is not None:
        trees.of_bentoml(store, found.path)
        output.say(f"copied {found.tag} from BentoML's store")


def _import(source: str, tag: str, *, as_json: bool) -> None:
    from tiffin.kits import paths
    from tiffin.models import exchange
    from tiffin.store import trees

    data = paths.data_directory().make()
    if exchange.handles(source):
        with output.busy("importing"):
            model = exchange.import_model(source, tag, data)
        _told("imported", model, as_json)
        return
    with archiving.fetched(source) as path, output.busy("importing"):
        model = trees.import_model(_store(), path, tag)
    _told("imported", model, as_json)


def _move(action: str, given: list[str], tag: str, *, as_json: bool, insecure: bool) -> None:
    from tiffin.cli import pushing
    from tiffin.errors import SpecError

    if action == "push":
        where = given[1] if len(given) == 2 else ""
        pushing.push(given[0], where, is_model=True, insecure=insecure, as_json=as_json)
    elif len(given) == 2:
        raise SpecError("expected tiffin models pull REF", hint="another name here: --tag NAME:VERSION")
    else:
        pushing.pull(given[0], tag, "model", insecure=insecure, as_json=as_json)


def _told(verb: str, model: StoredModel, as_json: bool) -> None:
    if as_json:
        output.data(_row(model))
    else:
        print(f"{verb} {model.tag} (sha256:{model.digest[:12]}, {size(model.size)})")
