"""``tiffin deploy``: from sources to an address on a cluster, in one command."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from tiffin.cli import apply as applying
from tiffin.cli import notices, output, showing, sources, targets, watching
from tiffin.cli.options import Json
from tiffin.errors import AuthorError, SpecError
from tiffin.plan.objects import Source

PROJECT = {"apiVersion": "tiffin.dev/v1", "kind": "Deployment"}


class Built(NamedTuple):
    """A service or class that has to be in an image: its place in a document, and what it is made from."""

    holder: dict[str, Any]
    kind: str
    directory: Path
    target: str
    bundle: str


def deploy(
    project: Annotated[
        str, typer.Argument(metavar="[DIR]", help="The directory of a service, where no file says it.")
    ] = "",
    files: Annotated[
        list[str] | None,
        typer.Option("--filename", "-f", help="A manifest; may be repeated.", metavar="FILE"),
    ] = None,
    name: Annotated[str, typer.Option(help="Of the deployment of a DIR; that of its bundle when not given.")] = "",
    registry: Annotated[
        str, typer.Option(help="Where images are pushed: host/path. TIFFIN_REGISTRY when not given.")
    ] = "",
    base: Annotated[str, typer.Option(help="What images are made on, as for `tiffin image`.")] = "",
    insecure: Annotated[bool, typer.Option("--insecure", help="Ask the registry in plain HTTP.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Return when all of it is ready.")] = True,
    timeout: Annotated[str, typer.Option(help="How long it waits, such as 90s or 5m.")] = "10m",
    as_json: Json = False,
) -> None:
    """Build what a cluster needs, push it, apply, wait, and print the address.

    A manifest whose models are in buckets or volumes is applied as it is. Services and classes that stand in
    directories or bundles of this machine are built, made images and pushed to --registry first; on the cluster
    the manifest names those images. DIR alone is a service with nothing said about how it runs.
    """
    from tiffin.cli.clusters import calls, documents

    if bool(project) == bool(files):
        raise SpecError("expected -f FILE or a DIR", hint="`tiffin deploy .` for the service in this directory")
    limit = watching.seconds(timeout)
    targets.choose(targets.as_cluster())
    client = targets.connect()
    assert isinstance(client, calls.ClusterClient)
    client.check()  # before minutes of building
    if project:
        found = [_of_project(project, name)]
        texts = ["the service in " + project]
    else:
        read = documents.read(sources.sources(files or []))
        found, texts = [one.value for one in read], [one.file for one in read]
    services = [
        built
        for document, text in zip(found, texts, strict=True)
        for built in needed(document, Path(text).parent if text else Path())
    ]
    if services:
        prefix = _registry(registry)
        client.apply(_source(rehearsed(found, prefix)), dry_run=True)  # before minutes of building
        for built in services:
            _to_image(built, prefix, base=base, insecure=insecure)
    done = client.apply(_source(found))
    for warning in notices.about(done):
        output.warn(warning)
    if not as_json:
        applying.report(done, dry_run=False)
    keys = [one.key for one in done]
    if wait:
        watching.until(
            client, keys, watching.is_ready, timeout=limit, wish="is not ready", tell=True,
            give_up=watching.has_failed,
        )  # fmt: skip
    urls = {key: client.get(key).status.url for key in keys}
    if as_json:
        showing.data({"items": done, "urls": urls}, "json")
        return
    for key, url in urls.items():
        print(f"{key} {'is ready at' if wait else 'will be at'} {url}")


def needed(document: dict[str, Any], base: Path) -> Iterator[Built]:
    """The services and classes of a manifest that no registry has: in directories, or in local bundles. Pure."""
    if document.get("kind") != PROJECT["kind"] or not str(document.get("apiVersion")).startswith("tiffin.dev/"):
        return
    yield from _within(document.get("spec"), base)


def rehearsed(found: Sequence[dict[str, Any]], registry: str) -> list[dict[str, Any]]:
    """The same manifests as if all that has to be built were, for a server to judge the rest of them. Pure."""
    copies = copy.deepcopy(list(found))
    for document in copies:
        for number, built in enumerate(needed(document, Path())):
            _name(built, f"{registry}/rehearsal:{number}", built.target or "service:Rehearsal")
    return copies


def _name(built: Built, image: str, target: str) -> None:
    """Let the manifest name an image instead of sources."""
    own = built.holder[built.kind]
    said = {} if isinstance(own, str) else {key: value for key, value in own.items() if key != "directory"}
    built.holder[built.kind] = {**said, **({"target": target} if target else {}), "bundle": image}


def _source(documents: Sequence[dict[str, Any]]) -> list[Source]:
    import yaml

    return [Source(text=yaml.safe_dump_all(documents, sort_keys=False), file="what is deployed")]


def _within(value: Any, base: Path) -> Iterator[Built]:
    if isinstance(value, list):
        for one in value:
            yield from _within(one, base)
    if not isinstance(value, dict):
        return
    for kind, own in list(value.items()):
        if kind not in ("service", "class") or not isinstance(own, str | dict):
            yield from _within(own, base)
            continue
        said = {"target": own} if isinstance(own, str) else own
        bundle = str(said.get("bundle") or "")
        if "/" in bundle or "://" in bundle:
            continue  # a registry's
        directory = base / str(said.get("directory") or ".")
        yield Built(value, kind, directory, str(said.get("target") or ""), bundle)


def _of_project(project: str, name: str) -> dict[str, Any]:
    directory = Path(project)
    if not directory.is_dir():
        raise SpecError("expected a directory with a service, found none", place=project)
    tag = _build(directory, "")
    document: dict[str, Any] = {**PROJECT, "metadata": {"name": name or tag.partition(":")[0].replace("_", "-")}}
    document["spec"] = {"service": {"bundle": tag}}
    return document


def _to_image(built: Built, registry: str, *, base: str, insecure: bool) -> None:
    """Build, make an image of it, push that, and name it in the manifest."""
    tag = built.bundle or _build(built.directory, built.target)
    image = f"{registry}/{tag}"
    arguments = ["image", tag, "--tag", image, "--push", *(("--base", base) if base else ())]
    _run([*arguments, *(("--insecure",) if insecure else ())])
    _name(built, image, built.target or _target(tag))


def _build(directory: Path, target: str) -> str:
    arguments = ["build", str(directory), "--output", "tag", *(("--target", target) if target else ())]
    said = _run(arguments, capture=True)
    tag = next((line.removeprefix("__tag__:") for line in said.splitlines() if line.startswith("__tag__:")), "")
    if not tag:
        raise AuthorError(f"expected the tag of a bundle from `tiffin {' '.join(arguments)}`, found {said!r}")
    return tag


def _target(tag: str) -> str:
    """What a local bundle serves."""
    from tiffin.bundle import BundleStore
    from tiffin.kits import paths

    return str(BundleStore(paths.data_directory().bundles).get(tag).manifest.target or "")


def _run(arguments: list[str], *, capture: bool = False) -> str:
    """Another command of ours, as if it had been typed; what it printed. Its progress goes to stderr."""
    output.say(f"tiffin {' '.join(arguments)}")
    done = subprocess.run(
        (sys.executable, "-m", "tiffin", *arguments),
        stdout=subprocess.PIPE if capture else sys.stderr,
        text=True,
        check=False,
    )
    if done.returncode:
        raise typer.Exit(done.returncode)
    return done.stdout or ""


def _registry(given: str) -> str:
    from tiffin.oci import credentials

    found = given.strip("/") or credentials.prefix(os.environ)
    if not found:
        raise SpecError(
            "expected --registry host/path: a cluster has none of this machine's files",
            hint="or set TIFFIN_REGISTRY; nodes must be able to pull from it",
        )
    return found
