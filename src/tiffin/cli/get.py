"""``tiffin get``: tables of what is there, or the objects themselves."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from tiffin.cli import bundles, names, output, rendering, showing
from tiffin.cli.options import AllNamespaces, Json, Namespace, Output
from tiffin.cli.targets import connect
from tiffin.client import Client, NoController
from tiffin.errors import NoSuchDeployment, SpecError
from tiffin.plan.objects import Object


def get(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KIND] [NAME...]", help="deployments (default), revisions, replicas, events, "
                       "runtimes, bundles, isvc, sdep; or the tag of a bundle, NAME:VERSION."),
    ] = None,
    namespace: Namespace = "",
    all_namespaces: AllNamespaces = False,
    output_format: Output = "",
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on with what changes.")] = False,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Show deployments, or what belongs to them.

    `tiffin get` lists the deployments of a namespace, `tiffin get NAME` shows one, `tiffin get replicas NAME` its
    replicas. `-o yaml` prints an object as the system its file was written for shows it: an InferenceService with
    KServe's status. What has a `:` is the tag of a bundle, which takes `-o json`, `yaml` or `path`.
    """
    wanted = names.asked(words or ())
    if wanted.kind == "bundles":
        _bundles(wanted, output_format, as_json)
        return
    form = showing.form(output_format, as_json)
    client = connect()
    where = None if all_namespaces else (namespace or client.namespace)
    if watch:
        if wanted.kind != "deployments" or showing.is_data(form):
            raise SpecError("expected deployments, as a table, with --watch", hint="see `tiffin events -w`")
        _watch(client, wanted, where, wide=form == "wide")
        return
    show: Callable[..., None] = {
        "deployments": _deployments,
        "revisions": _revisions,
        "replicas": _replicas,
        "events": _events,
        "runtimes": _runtimes,
    }[wanted.kind]
    try:
        show(client, wanted, where, form, namespace)
    except (NoSuchDeployment, NoController) as error:
        if wanted.named_kind or not wanted.names or not bundles.is_there(wanted.names[0]):
            raise
        output.say(f"{wanted.names[0]} is no deployment ({error}); this is the bundle of that name:\n")
        _bundles(wanted, output_format, as_json)


def _bundles(wanted: names.Asked, output_format: str, as_json: bool) -> None:
    if not wanted.names:
        bundles.list_bundles("", output_format, as_json)
    for tag in wanted.names:
        bundles.show(tag, bundles.form(output_format, as_json))


def _deployments(client: Client, wanted: names.Asked, where: str | None, form: str, namespace: str) -> None:
    if wanted.names:
        found = [names.find(client, name, namespace, wanted.dialect) for name in wanted.names]
    else:
        found = _of_dialect(client.list(where).items, wanted.dialect)
    if form == "name":
        _print(f"deployments/{item.metadata.name}" for item in found)
    elif showing.is_data(form):
        natives = [client.native(item.spec.key) for item in found]
        single = len(wanted.names) == 1
        showing.data(natives[0] if single else {"apiVersion": "v1", "kind": "List", "items": natives}, form)
    elif found:
        spaces = where is None
        _print(rendering.deployments(found, time.time(), namespaces=spaces, wide=form == "wide"))
    else:
        _say_none(client, "deployments", where)


def _revisions(client: Client, wanted: names.Asked, where: str | None, form: str, namespace: str) -> None:
    rows = [
        (item, revision)
        for item in _objects(client, wanted, where, namespace)
        for revision in sorted(item.status.revisions, key=lambda revision: -revision.number)
    ]
    if form == "name":
        _print(f"revisions/{revision.name}" for _, revision in rows)
    elif showing.is_data(form):
        showing.data({"items": [{"deployment": item.spec.key, **_plain(one)} for item, one in rows]}, form)
    elif rows:
        _print(rendering.revisions(rows, time.time(), wide=form == "wide"))
    else:
        _say_none(client, "revisions", where)


def _replicas(client: Client, wanted: names.Asked, where: str | None, form: str, namespace: str) -> None:
    rows = [
        (item, replica) for item in _objects(client, wanted, where, namespace) for replica in item.status.replicas
    ]
    if form == "name":
        _print(f"replicas/{replica.name}" for _, replica in rows)
    elif showing.is_data(form):
        showing.data({"items": [{"deployment": item.spec.key, **_plain(one)} for item, one in rows]}, form)
    elif rows:
        _print(rendering.replica_rows(rows, time.time(), wide=form == "wide"))
    else:
        _say_none(client, "replicas", where)


def _events(client: Client, wanted: names.Asked, where: str | None, form: str, namespace: str) -> None:
    if wanted.names:
        found = client.events(names.find(client, wanted.names[0], namespace).spec.key)
    else:
        found = client.events(namespace=where)
    if showing.is_data(form):
        showing.data({"items": found}, form)
    elif found:
        _print(rendering.events(found, time.time()))
    else:
        _say_none(client, "events", where)


def _runtimes(client: Client, wanted: names.Asked, where: str | None, form: str, namespace: str) -> None:
    found = [
        runtime for runtime in client.resources().runtimes if not wanted.names or runtime.name in wanted.names
    ]
    if wanted.names and not found:
        raise NoSuchDeployment(f"there is no runtime {wanted.names[0]}", hint="`tiffin get runtimes` lists them")
    if form == "name":
        _print(f"runtimes/{runtime.name}" for runtime in found)
    elif showing.is_data(form):
        showing.data({"items": found}, form)
    else:
        _print(rendering.runtimes(found))


def _objects(client: Client, wanted: names.Asked, where: str | None, namespace: str) -> Sequence[Object]:
    if wanted.names:
        return [names.find(client, name, namespace) for name in wanted.names]
    return client.list(where).items


def _watch(client: Client, wanted: names.Asked, where: str | None, *, wide: bool) -> None:
    keys = {names.find(client, name, where or "", wanted.dialect).spec.key for name in wanted.names}
    spaces = where is None
    space = None if keys else where
    widths: list[int] = []
    shown: dict[str, str] = {}

    def tell(items: Sequence[Object], note: str = "") -> None:
        chosen = [one for one in _of_dialect(items, wanted.dialect) if not keys or one.spec.key in keys]
        is_first = not widths
        lines = rendering.deployments(chosen, time.time(), namespaces=spaces, wide=wide, widths=widths)
        if is_first:
            print(lines[0], flush=True)
        for one, line in zip(chosen, lines[1:], strict=True):
            # That it is older is no change.
            content = rendering.deployments([one], one.metadata.created_at, wide=wide)[1]
            if shown.get(one.spec.key) != content + note:
                shown[one.spec.key] = content + note
                print(line + note, flush=True)

    listing = client.list(space)
    tell(listing.items)
    try:
        for change in client.watch(listing.resource_version, namespace=space):
            tell([change.object], "   (deleted)" if change.type == "DELETED" else "")
    except KeyboardInterrupt:
        return


def _of_dialect(found: Sequence[Object], dialect: str) -> list[Object]:
    return [item for item in found if not dialect or item.spec.dialect == dialect]


def _plain(value: Any) -> dict[str, Any]:
    found: dict[str, Any] = showing.plain(value)
    return found


def _print(lines: Any) -> None:
    for line in lines:
        print(line)


def _say_none(client: Client, what: str, where: str | None) -> None:
    everywhere = client.list().items
    others = sorted({item.metadata.namespace for item in everywhere} - {where})
    if where is not None and others and what != "events":
        output.say(f"no {what} in namespace {where}; there are some in {', '.join(others)}: add -A or -n")
    else:
        output.say(f"no {what}" + ("" if everywhere else "; `tiffin apply -f FILE` makes a deployment"))
