"""``tiffin wait``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from tiffin.cli import jsonpath, names, watching
from tiffin.cli.options import Namespace
from tiffin.cli.targets import connect
from tiffin.client import Client
from tiffin.errors import NoSuchDeployment, SpecError
from tiffin.plan.objects import Object


def wait(
    words: Annotated[list[str], typer.Argument(metavar="[KIND] NAME...", help="The deployments.")],
    what: Annotated[
        str,
        typer.Option("--for", help="condition=Ready, condition=Ready=False, delete, or jsonpath={.a.b}=value."),
    ] = "condition=Ready",
    timeout: Annotated[str, typer.Option(help="How long, such as 60s or 5m; 0 looks once.")] = "60s",
    namespace: Namespace = "",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Tell nothing meanwhile.")] = False,
) -> None:
    """Wait until deployments are ready, deleted or as you say; exit code 1, and why, when the time is over.

    Meanwhile it tells what downloads and starts.
    """
    limit = watching.seconds(timeout)
    wanted = names.asked(words)
    if not wanted.names or wanted.kind != "deployments":
        raise SpecError("expected the name of a deployment", hint="`tiffin get` lists what there is")
    client = connect()
    is_so, wish, done = _meaning(what, client)
    if what == "delete":
        keys = [names.key(name, namespace, client.namespace) for name in wanted.names]
    else:
        keys = [names.find(client, name, namespace, wanted.dialect).spec.key for name in wanted.names]
    watching.until(client, keys, is_so, timeout=limit, wish=wish, tell=not quiet)
    for key in keys:
        print(f"{key} {done}")


def _meaning(what: str, client: Client) -> tuple[Callable[[Object | None], bool], str, str]:
    """The test, what is said when it does not come, and when it does."""
    kind, separator, rest = what.partition("=")
    if what == "delete":
        return (lambda found: found is None), "is not deleted", "is deleted"
    if kind == "condition" and rest:
        name, _, status = rest.partition("=")
        wanted = (status or "True").capitalize()
        if name == "Ready" and wanted == "True":
            return watching.is_ready, "is not ready", "is ready"
        return (
            lambda found: _condition(found, name) == wanted,
            f"has no condition {name}={wanted}",
            f"has condition {name}={wanted}",
        )
    if kind == "jsonpath" and separator:
        path, equals, value = _split_path(rest)

        def holds(found: Object | None) -> bool:
            if found is None:
                return False
            try:
                said = jsonpath.text(path, client.native(found.spec.key))
            except NoSuchDeployment:
                return False
            return said == value if equals else bool(said)

        jsonpath.values(path, {})
        return holds, f"has not {what.partition('=')[2]}", f"has {rest}"
    raise SpecError(
        f"expected --for to be condition=NAME, delete or jsonpath=PATH, found {what!r}",
        hint="for example --for=condition=Ready",
    )


def _split_path(text: str) -> tuple[str, bool, str]:
    """A path and the value it should have; an ``=`` inside of braces belongs to the path."""
    text = text.strip("'\"")
    if text.startswith("{") and "}" in text:
        path, _, after = text.rpartition("}")
        return f"{path}}}", after.startswith("="), after.removeprefix("=").strip("'\"")
    path, equals, value = text.partition("=")
    return path, bool(equals), value.strip("'\"")


def _condition(found: Object | None, name: str) -> str:
    condition = found.status.condition(name) if found is not None else None
    return condition.status if condition else ""
