"""``tiffin image``: an image of a bundle, with or without a container engine."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tiffin.cli import output
from tiffin.cli.rendering import size
from tiffin.errors import AuthorError, RegistryError, SpecError

if TYPE_CHECKING:
    from tiffin.bundle import Bundle
    from tiffin.image.building import Made, Wanted
    from tiffin.image.layers import Workshop
    from tiffin.oci.records import Descriptor


def image(
    bundle: Annotated[
        str, typer.Argument(metavar="BUNDLE", help="A tag of the local store, or a digest.", show_default=False)
    ] = "",
    tags: Annotated[
        list[str] | None,
        typer.Option("--tag", "-t", help="What the image is called: repository/name:tag. May be repeated."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write a directory (an OCI layout), or a file that ends in .tar."),
    ] = None,
    form: Annotated[
        Literal["oci", "docker"], typer.Option("--format", help="What the .tar is; docker: for `docker load`.")
    ] = "docker",
    push: Annotated[bool, typer.Option("--push", help="Push it to the registry of its tag.")] = False,
    base: Annotated[
        str,
        typer.Option(
            help="A reference, oci:DIR, oci-archive:FILE, docker-archive:FILE, or scratch-from-host; that of the"
            " bundle when not given."
        ),
    ] = "",
    platform: Annotated[
        list[str] | None,
        typer.Option(help="linux/amd64,linux/arm64: several make an index. This machine's when not given."),
    ] = None,
    python: Annotated[str, typer.Option(help="Version of Python; that of the bundle when not given.")] = "",
    without_byte_code: Annotated[
        bool, typer.Option("--no-byte-code", help="Leave out compiled modules: smaller, and slower to start.")
    ] = False,
    runtime: Annotated[
        bool, typer.Option("--runtime", help="Of Tiffin itself instead of a bundle: what a cluster runs.")
    ] = False,
    insecure: Annotated[bool, typer.Option("--insecure", help="Ask the registry in plain HTTP.")] = False,
    builder: Annotated[
        Literal["", "docker", "podman", "buildah", "nerdctl"],
        typer.Option(help="Let this engine build it, from a Dockerfile."),
    ] = "",
    options: Annotated[
        list[str] | None, typer.Option("--opt", metavar="KEY=VALUE", help="An option for the builder.")
    ] = None,
    dockerfile_only: Annotated[
        bool,
        typer.Option("--dockerfile-only", help="Write a Dockerfile and what it needs to -o DIR, and no more."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make a container image of a bundle.

    No container engine is needed: layers are written directly, and those that did not change are neither made nor
    pushed again. The same bundle makes the same image.
    """
    from tiffin.bundle import BundleStore
    from tiffin.image import building, platforms
    from tiffin.kits import paths

    if runtime == bool(bundle):
        found = "both" if bundle else "neither"
        raise SpecError(f"expected a bundle or --runtime, found {found}")
    if runtime:
        from tiffin.image.runtime import NAME

        bundle = NAME
    names = image_names(tags or [], bundle)
    several = tuple(platforms.parse(one) for text in platform or () for one in text.split(",") if one.strip())
    source = _runtime(python) if runtime else BundleStore(paths.data_directory().bundles).get(bundle)
    if builder or dockerfile_only:
        from tiffin.cli import containerize

        wanted = containerize.Wanted(
            engine=builder,
            names=names,
            base=base,
            python=python,
            platforms=[str(one) for one in several],
            options=options or [],
            push=push,
        )
        if dockerfile_only:
            containerize.write_dockerfile(source, wanted, out)
        else:
            containerize.build(source, wanted, out, as_json=as_json)
        return
    if options:
        raise SpecError("--opt is for a --builder; there is none here")
    _check_output(out, form, len(several))
    begun = time.monotonic()
    workshop = _workshop()
    chosen = building.Wanted(base=base, platforms=several, python=python, byte_code=not without_byte_code)
    made = make(source, workshop, chosen, insecure=insecure)
    for name in names:
        workshop.layout.tag(made.descriptor, name)
    where = _write(out, form, workshop, made.descriptor, names)
    moved = _push(workshop, made, names, insecure) if push else None
    _report(made, names, where, moved, time.monotonic() - begun, as_json)


def _runtime(python: str) -> Bundle:
    """What there is to make an image of where it is of Tiffin itself."""
    from tiffin.image import runtime
    from tiffin.kits import paths

    return runtime.bundle(paths.data_directory().make().images / "runtime", python=python)


def image_names(tags: list[str], bundle: str) -> list[str]:
    """What an image is called: the tags that were given, else that of its bundle."""
    from tiffin.oci import reference

    found = tags or [bundle if ":" in bundle.rpartition("/")[2] else f"{bundle}:latest"]
    if not tags and bundle.startswith("sha256:"):
        raise SpecError("expected a name for the image", hint="-t repository/name:tag")
    names = []
    for text in found:
        parsed = reference.parse(text)
        if parsed.digest:
            raise SpecError(f"expected repository/name:tag, found a digest in {text!r}")
        names.append(text if parsed.tag and ":" in text.rpartition("/")[2] else f"{text}:latest")
    return names


def _check_output(out: Path | None, form: str, platforms: int) -> None:
    """Before anything is made: a long build should not end with a name that was wrong from the start."""
    if out is None:
        return
    if out.suffix == ".tar":
        if out.is_dir():
            raise SpecError(f"expected a file to write, found the directory {out}")
        if form == "docker" and platforms > 1:
            raise SpecError(
                "docker's archive has room for one platform", hint="--format oci, or -o DIR, or one --platform"
            )
        parent = out.parent
    else:
        if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / "oci-layout").is_file())):
            raise SpecError(
                f"expected an OCI layout or an empty directory at {out}, found something else",
                hint="a single file has to end in .tar",
            )
        parent = out if out.exists() else out.parent
    if not parent.is_dir():
        raise SpecError(f"expected the directory {parent} to write to, found none")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise SpecError(f"cannot write to {parent}: permission denied")


def _workshop() -> Workshop:
    from tiffin.image.layers import Workshop
    from tiffin.kits import paths

    def tell(title: str, count: int, cached: bool) -> None:
        if not cached:
            output.say(f"  {title}: {size(count)}")

    written = os.environ.get("SOURCE_DATE_EPOCH", "").strip() or "0"
    if not written.isdigit():
        raise SpecError(f"expected SOURCE_DATE_EPOCH to be seconds since 1970, found {written!r}")
    return Workshop(
        paths.data_directory().make().images,
        mtime=int(written),
        tell=tell,
        say=lambda text: output.say(f"  {text}"),
    )


def make(bundle: Bundle, workshop: Workshop, wanted: Wanted, *, insecure: bool = False) -> Made:
    """Make the image in the workshop, saying what goes on."""
    from tiffin.cli.transfers import Transfers
    from tiffin.image import building
    from tiffin.kits import paths
    from tiffin.oci.layout import Layout
    from tiffin.oci.records import Platform
    from tiffin.store.models import ModelStore

    def fetch(reference: str, layout: Layout, platform: Platform) -> Descriptor:
        from tiffin.oci.registry import Registry

        output.say(f"  pulling the base {reference} for {platform}")
        with Transfers() as shown:
            registry = Registry(insecure=insecure)
            try:
                return registry.pull(reference, layout, platform=platform, progress=shown.show).descriptor
            except RegistryError as error:
                other = "without a network, --base scratch-from-host makes one of this machine's own Python"
                error.hint = f"{error.hint}; {other}" if error.hint else other
                raise

    made = building.build(bundle, ModelStore(paths.data_directory().models), wanted, workshop, fetch=fetch)
    for warning in made.warnings:
        output.warn(warning)
    return made


def _write(out: Path | None, form: Any, workshop: Workshop, descriptor: Descriptor, names: list[str]) -> str:
    from tiffin.oci import archives
    from tiffin.oci.layout import Layout

    if out is None:
        return f"oci:{workshop.root}"
    if out.suffix == ".tar":
        archives.export(workshop.layout, descriptor, out, name=names[0], form=form)
        return f"{form}-archive:{out}"
    layout = Layout(out)
    workshop.layout.copy_to(layout, descriptor)
    for name in names:
        layout.tag(descriptor, name)
    return f"oci:{out}"


def _push(workshop: Workshop, made: Made, names: list[str], insecure: bool) -> dict[str, int]:
    from tiffin.cli.transfers import Transfers
    from tiffin.oci.registry import Registry

    moved = kept = 0
    for name in names:
        with Transfers() as shown:
            registry = Registry(insecure=insecure)
            done = registry.push(
                workshop.layout, made.descriptor, name, progress=shown.show, sources=_beside(made.base, name)
            )
        output.say(f"  pushed {name}: {size(done.moved)} sent, {size(done.kept)} there before")
        moved, kept = moved + done.moved, kept + done.kept
    return {"moved": moved, "kept": kept}


def _beside(base: str, name: str) -> list[str]:
    """The base's repository when it is in the same registry, which then need not be sent its layers again."""
    from tiffin.image.base import SCRATCH
    from tiffin.oci import reference

    if base == SCRATCH:
        return []
    try:
        origin, target = reference.parse(base), reference.parse(name)
    except AuthorError:
        return []  # A file, a directory, or this machine.
    return [origin.repository] if origin.registry == target.registry else []


def _report(
    made: Made, names: list[str], where: str, moved: dict[str, int] | None, seconds: float, as_json: bool
) -> None:
    if as_json:
        images = [
            {
                "platform": str(platform),
                "digest": found.digest,
                "base": made.base,
                "size": sum(one.size for one in base.layers) + sum(layer.descriptor.size for layer in layers),
                "layers": [
                    {"title": layer.title, "digest": layer.descriptor.digest, "size": layer.descriptor.size}
                    for layer in layers
                ],
            }
            for platform, (found, layers, base) in made.images.items()
        ]
        output.data(
            {
                "tags": names,
                "digest": made.descriptor.digest,
                "mediaType": made.descriptor.media_type,
                "output": where,
                "images": images,
                "pushed": moved,
            }
        )
        return
    for platform, (_, layers, base) in made.images.items():
        total = sum(one.size for one in base.layers) + sum(layer.descriptor.size for layer in layers)
        parts = f"base {made.base} and {len(layers)} layers"
        print(f"made {names[0]} for {platform}: {size(total)} compressed, {parts}, in {seconds:.1f} s")
    print(f"{made.descriptor.digest}")
    output.say(f"it is at {where}" + (f" as {names[0]}" if where.startswith("oci:") else ""))
    if where.startswith("docker-archive:"):
        output.say(f"run it: docker load -i {where.partition(':')[2]} && docker run --rm -p 3000:3000 {names[0]}")
    elif moved is None:
        output.say(f"with an engine: skopeo copy {where}:{names[0]} docker-daemon:{names[0]}; or add -o FILE.tar")
