"""``tiffin push`` and ``tiffin pull``: bundles and models to registries and from them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tiffin.cli import output
from tiffin.cli.rendering import size

if TYPE_CHECKING:
    from tiffin.bundle.places import Moved
    from tiffin.bundle.transport import Transport
    from tiffin.oci.moving import Transfer

Insecure = Annotated[bool, typer.Option("--insecure", help="Ask the registry in plain HTTP.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def push(
    tag: Annotated[str, typer.Argument(help="A bundle or model here: name:version.")],
    reference: Annotated[
        str, typer.Argument(metavar="[REF]", help="host/repository[:tag]; below TIFFIN_REGISTRY when not given.")
    ] = "",
    is_model: Annotated[bool, typer.Option("--model", help="The tag is a model's.")] = False,
    with_models: Annotated[
        bool, typer.Option("--with-models/--without-models", help="Send a bundle's models, too.")
    ] = True,
    insecure: Insecure = False,
    force: Annotated[bool, typer.Option("--force", "-f", hidden=True)] = False,
    threads: Annotated[int, typer.Option("--threads", "-t", hidden=True)] = 0,
    as_json: Json = False,
) -> None:
    """Push a bundle or a model to a registry.

    Layers the registry has are not sent again; a push that was interrupted goes on where it was. A model becomes
    an artefact of the CNCF's ModelPack, which other tools read. Who asks is taken from TIFFIN_REGISTRY_USERNAME
    and TIFFIN_REGISTRY_PASSWORD, or from what `docker login` left.
    """
    from tiffin.bundle.places import reference_for
    from tiffin.oci import credentials

    del force, threads  # BentoML's: what is there already is never sent, and several layers go at once
    transport = _transport(insecure=insecure)
    where = reference_for(tag, reference, credentials.prefix(os.environ))
    is_model = is_model or _is_model(tag, transport)
    with _shown() as progress:
        if is_model:
            moved = transport.push_model(tag, where, progress=progress)
        else:
            moved = transport.push_bundle(tag, where, models=with_models, progress=progress)
    _tell("pushed", moved, as_json=as_json)


def pull(
    reference: Annotated[str, typer.Argument(metavar="REF", help="host/repository[:tag][@sha256:...].")],
    tag: Annotated[
        str, typer.Option("--tag", "-t", help="What to call it here; the end of REF when not given.")
    ] = "",
    expect: Annotated[
        Literal["any", "bundle", "model"], typer.Option("--expect", help="Refuse it when it is something else.")
    ] = "any",
    insecure: Insecure = False,
    force: Annotated[bool, typer.Option("--force", "-f", hidden=True)] = False,
    as_json: Json = False,
) -> None:
    """Pull a bundle with its models, or a model, from a registry.

    Every layer is compared with its digest as it arrives; what is here already is not fetched. Models are read as
    ModelPack and KitOps have them, and from images that hold them in /models.
    """
    from tiffin.oci.reference import parse

    del force  # BentoML's: what is pulled replaces a bundle of that tag anyway
    text = reference.removeprefix("oci://")
    if "/" not in text.partition("@")[0] and (home := os.environ.get("TIFFIN_REGISTRY")):
        text = f"{home.partition('://')[2] or home}/{text}"
    transport = _transport(insecure=insecure)
    with _shown() as progress:
        moved = transport.pull(parse(text), tag=tag, expect=expect, progress=progress)
    _tell("pulled", moved, as_json=as_json)


def _transport(*, insecure: bool) -> Transport:
    from tiffin.bundle.transport import Transport
    from tiffin.kits import paths
    from tiffin.oci.registry import Registry

    data = paths.data_directory().make()
    return Transport(data, Registry(insecure=insecure, notes=data.cache / "uploads"))


@contextmanager
def _shown() -> Iterator[Callable[[Transfer], None]]:
    from tiffin.cli.transfers import Transfers

    with Transfers() as transfers:
        yield transfers.show


def _is_model(tag: str, transport: Transport) -> bool:
    """Whether only the model store has the tag."""
    from tiffin.errors import AuthorError

    try:
        transport.bundles.find(tag)
    except AuthorError:
        try:
            transport.models.find(tag)
        except AuthorError:
            return False
        return True
    return False


def _tell(done: str, moved: Moved, *, as_json: bool) -> None:
    for note in moved.notes:
        output.warn(note)
    if as_json:
        output.data(moved)
        return
    arrow = "to" if done == "pushed" else "from"
    print(f"{done} {moved.kind} {moved.tag} {arrow} {moved.reference}@{moved.manifest}")
    kept = f", {size(moved.kept)} were there already" if moved.kept else ""
    output.say(f"{size(moved.moved)} {'sent' if done == 'pushed' else 'fetched'}{kept}")
    for model in moved.models:
        output.say(f"with the model {model}")
    if moved.signatures:
        output.say(f"with {moved.signatures} signature{'s' * (moved.signatures != 1)}")
