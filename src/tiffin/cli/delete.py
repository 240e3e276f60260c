"""``tiffin delete``: deployments by name or file, bundles by tag."""

from __future__ import annotations

from typing import Annotated

import typer

from tiffin.cli import bundles, names, output, watching
from tiffin.cli.options import Json, Namespace
from tiffin.cli.sources import sources
from tiffin.cli.targets import connect
from tiffin.client import Client, NoController
from tiffin.errors import NoSuchDeployment, SpecError


def delete(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME...|TAG...]", help="Deployments; what has a : is the tag of a bundle."),
    ] = None,
    files: Annotated[
        list[str] | None,
        typer.Option("--filename", "-f", help="Delete the deployments of these files.", metavar="FILE"),
    ] = None,
    namespace: Namespace = "",
    ignore_missing: Annotated[
        bool, typer.Option("--ignore-not-found", help="What is not there is no error.")
    ] = False,
    yes: bundles.Yes = False,
    wait: Annotated[bool, typer.Option("--wait", help="Return when they are gone from the list.")] = False,
    as_json: Json = False,
) -> None:
    """Delete deployments, or bundles by their tag.

    The replicas of a deployment finish the calls in hand. `tiffin delete TAG` deletes tags of bundles, and the
    bundles no other tag leads to.
    """
    if bool(words) == bool(files):
        raise SpecError("expected names or -f FILE", hint="`tiffin get` lists what there is")
    wanted = names.asked(bundles.split(words or []))
    if wanted.kind == "bundles":
        if not wanted.names:
            raise SpecError("expected the tag of a bundle", hint="`tiffin list` lists them")
        bundles.remove(list(wanted.names), as_json=as_json, yes=yes)
        return
    if wanted.kind != "deployments":
        raise SpecError(f"expected deployments or bundles to delete, found {wanted.kind}")
    if words and not wanted.names:
        raise SpecError("expected the name of a deployment", hint="`tiffin get` lists what there is")
    client = connect()
    if files:
        keys = list(client.keys(sources(files)))
    else:
        keys = [names.key(name, namespace, client.namespace) for name in wanted.names]
    deleted = [key for key in keys if _one(client, key, wanted, ignore_missing=ignore_missing)]
    if wait and deleted:
        watching.until(client, deleted, lambda found: found is None, timeout=300, wish="is still there")
    if as_json:
        output.data([{"key": key} for key in deleted])
    else:
        for key in deleted:
            print(f"{key} deleted")


def _one(client: Client, key: str, wanted: names.Asked, *, ignore_missing: bool) -> bool:
    name = key.partition("/")[2]
    try:
        if wanted.dialect:
            names.find(client, name, key.partition("/")[0], wanted.dialect)
        client.delete(key)
    except (NoSuchDeployment, NoController) as error:
        if isinstance(error, NoSuchDeployment) and ignore_missing:
            output.say(f"{key} is not there")
            return False
        if wanted.names and not wanted.named_kind and bundles.is_there(name):
            raise NoSuchDeployment(
                f"{name} is no deployment, but there is a bundle of that name",
                hint=f"`tiffin delete {name}:VERSION` deletes a bundle; `tiffin list {name}` lists its tags",
            ) from error
        if isinstance(error, NoController):
            raise
        raise names.missing(key, [item.spec.key for item in client.list().items]) from error
    return True
