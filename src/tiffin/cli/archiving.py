"""``tiffin export`` and ``tiffin import``: bundles in files, with the models they need."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from tiffin.cli import output

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def export(
    tag: Annotated[str, typer.Argument(help="name:version, a name, or the start of a digest.")],
    out: Annotated[
        str, typer.Argument(help="A file (.tiffin, .tar, .tar.gz, .tar.xz, .zip), directory or address.")
    ] = ".",
    no_models: Annotated[bool, typer.Option("--no-models", help="Leave out the models it needs.")] = False,
    as_json: Json = False,
) -> None:
    """Write a bundle, and the models it needs, into a file.

    The ending says the format; in a directory the file is called after the tag. The same bundle makes the same
    file.
    """
    from tiffin.bundle import BundleStore, trees
    from tiffin.cli import stored
    from tiffin.kits import paths
    from tiffin.store.models import ModelStore

    stored.adopt(tag)
    data = paths.data_directory()
    store, models = BundleStore(data.bundles), ModelStore(data.models)
    with sending(out, ".tiffin") as place, output.busy("exporting"):
        written = trees.export(store, models, tag, place, with_models=not no_models)
    told(tag, written if "://" not in out else None, out, as_json)


def import_(
    source: Annotated[str, typer.Argument(metavar="PATH", help="A file, directory or address such as s3://...")],
    tag: Annotated[str, typer.Option("--tag", "-t", help="name:version; else as it was exported.")] = "",
    as_json: Json = False,
) -> None:
    """Store the bundle of a file or directory: one of `tiffin export`, or a .bento of BentoML's.

    Everything in it is checked before it is stored: digests, paths, links.
    """
    from tiffin.bundle import BundleStore, trees
    from tiffin.kits import paths
    from tiffin.store.models import ModelStore

    data = paths.data_directory().make()
    with fetched(source) as path, output.busy("importing"):
        found = trees.import_bundle(BundleStore(data.bundles), ModelStore(data.models), path, tag)
    for warning in found.warnings:
        output.warn(str(warning))
    if as_json:
        output.data(
            {"tag": found.tag, "digest": f"sha256:{found.bundle.digest}", "models": found.models,
             "path": str(found.bundle.path)}
        )  # fmt: skip
    else:
        count = len(found.models)
        print(f"imported {found.tag}{f', which needs {count} model' + 's' * (count != 1) if count else ''}")


def told(tag: str, written: Path | None, out: str, as_json: bool) -> None:
    """Say where something was written."""
    place = str(written) if written is not None else out
    if as_json:
        output.data({"tag": tag, "path": place})
    else:
        print(f"exported {tag} to {place}")


@contextlib.contextmanager
def sending(out: str, ending: str) -> Iterator[Path]:
    """Where to write: the path itself, or a file that is then sent to the address."""
    if "://" not in out:
        yield Path(out)
        return
    from tiffin.errors import StorageError
    from tiffin.models import remotes
    from tiffin.store import archives

    name = remotes.name_of(out)
    if not archives.is_archive(name):
        raise StorageError(
            f"expected an address that ends in the name of a file, found {remotes.shown(out)}",
            hint=f"for example {remotes.shown(out).rstrip('/')}/iris{ending}",
        )
    remotes.refuse_unsupported(out)
    filesystem = remotes.open_filesystem(out, dict(os.environ))
    with tempfile.TemporaryDirectory(prefix="tiffin-") as directory:
        yield Path(directory, name)
        with remotes.told(out):
            filesystem.put_file(str(Path(directory, name)), out)


@contextlib.contextmanager
def fetched(source: str) -> Iterator[Path]:
    """The path itself, or a file that was fetched from the address; it is gone afterwards."""
    if "://" not in source:
        yield Path(source)
        return
    from tiffin.models import remotes

    remotes.refuse_unsupported(source)
    filesystem = remotes.open_filesystem(source, dict(os.environ))
    with tempfile.TemporaryDirectory(prefix="tiffin-") as directory:
        place = Path(directory, remotes.name_of(source))
        with remotes.told(source):
            filesystem.get_file(source, str(place))
        yield place
