"""``tiffin containerize``: BentoML's words for ``tiffin image``; and images that an engine builds for both."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from tiffin.cli import output
from tiffin.errors import ImageError, SpecError

if TYPE_CHECKING:
    from tiffin.bundle import Bundle


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine is to build, and under which names."""

    engine: str
    names: list[str]
    base: str = ""
    python: str = ""
    platforms: list[str] = []
    options: list[str] = []
    push: bool = False


def containerize(
    bundle: Annotated[str, typer.Argument(metavar="TAG", help="A tag of the local store.")],
    tags: Annotated[
        list[str] | None, typer.Option("--image-tag", "-t", "--tag", help="What the image is called.")
    ] = None,
    backend: Annotated[
        str,
        typer.Option(
            help="docker, buildx, podman, buildah or nerdctl; without one no engine is needed.",
            envvar="BENTOML_CONTAINERIZE_BACKEND",
        ),
    ] = "",
    options: Annotated[
        list[str] | None, typer.Option("--opt", metavar="KEY=VALUE", help="An option for the backend.")
    ] = None,
    platform: Annotated[list[str] | None, typer.Option(help="linux/amd64, linux/arm64, ...")] = None,
    push: Annotated[bool, typer.Option("--push", help="Push it to the registry of its tag.")] = False,
    build_arg: Annotated[list[str] | None, typer.Option("--build-arg", help="Goes on to the backend.")] = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Goes on to the backend.")] = False,
    progress: Annotated[str, typer.Option(help="Goes on to the backend.")] = "",
    run_as_root: Annotated[bool, typer.Option("--run-as-root", hidden=True)] = False,
    features: Annotated[list[str] | None, typer.Option("--enable-features", hidden=True)] = None,
) -> None:
    """Make a container image of a bundle, as `bentoml containerize` does.

    `tiffin image` has more to choose from.
    """
    if run_as_root:
        raise SpecError(
            "--run-as-root is not honoured: the user of these images is no root",
            hint="`docker run --user 0` starts a container as root",
        )
    if features:
        raise SpecError(
            f"--enable-features {','.join(features)} is not honoured: Tiffin's extras are packages",
            hint="add what the service needs to its requirements, for example tiffin[record]",
        )
    if not backend:
        from tiffin.cli import image

        given = [name for name, used in (("--opt", options), ("--build-arg", build_arg)) if used]
        given += [name for name, used in (("--no-cache", no_cache), ("--progress", progress)) if used]
        if given:
            raise SpecError(f"{given[0]} is for a --backend; there is none here")
        image.image(bundle, tags=tags, platform=platform, push=push)
        return
    from tiffin.bundle import BundleStore
    from tiffin.cli.image import image_names
    from tiffin.kits import paths

    extra = [*(options or []), *(f"build-arg={one}" for one in build_arg or [])]
    extra += ["no-cache"] * no_cache + [f"progress={progress}"] * bool(progress)
    wanted = Wanted(
        engine=backend,
        names=image_names(tags or [], bundle),
        platforms=[one for text in platform or [] for one in text.split(",")],
        options=extra,
        push=push,
    )
    build(BundleStore(paths.data_directory().bundles).get(bundle), wanted, None)


def build(bundle: Bundle, wanted: Wanted, out: Path | None, *, as_json: bool = False) -> None:
    """Let an engine build the image."""
    from tiffin.image import engines

    engines.check(wanted.engine)
    if out is not None and out.suffix != ".tar":
        raise SpecError(
            f"expected a file that ends in .tar, found {out}", hint="an engine writes no OCI directory"
        )
    with tempfile.TemporaryDirectory(prefix="tiffin-image-") as directory:
        place = Path(directory, "context")
        _write(bundle, wanted, place)
        command = engines.build_command(
            wanted.engine, place, wanted.names, platforms=wanted.platforms, options=wanted.options
        )
        engines.run(command)
    if out is not None:
        engines.run(engines.save_command(wanted.engine, wanted.names[0], out))
    if wanted.push:
        for name in wanted.names:
            engines.run(engines.push_command(wanted.engine, name))
    if as_json:
        output.data({"tags": wanted.names, "builder": wanted.engine, "output": str(out) if out else None})
        return
    print(f"made {wanted.names[0]} with {wanted.engine}")
    output.say(f"run it: {wanted.engine} run --rm -p 3000:3000 {wanted.names[0]}")


def write_dockerfile(bundle: Bundle, wanted: Wanted, out: Path | None) -> None:
    """Write the Dockerfile and what it copies to a directory."""
    if out is None or out.suffix == ".tar":
        raise SpecError("--dockerfile-only needs a directory to write to", hint="-o DIR")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SpecError(f"expected an empty directory at {out}, found something in it")
    _write(bundle, wanted, out)
    print(f"wrote {out / 'Dockerfile'}")
    output.say(f"build it: docker build -t {wanted.names[0]} {out}")


def _write(bundle: Bundle, wanted: Wanted, place: Path) -> None:
    from tiffin.image import building, dockerfile, platforms
    from tiffin.kits import paths
    from tiffin.store.models import ModelStore

    if wanted.base.partition(":")[0] in ("oci", "oci-archive", "docker-archive", "scratch-from-host"):
        raise ImageError(
            f"expected a reference as the base of a Dockerfile, found {wanted.base}",
            hint="leave --builder out, or load that base into the engine and name it there",
        )
    python = platforms.python(wanted.python or bundle.manifest.python)
    dockerfile.write(
        place,
        bundle,
        building.models_of(bundle, ModelStore(paths.data_directory().models)),
        base=wanted.base or building.base_of(building.recipe_of(bundle), python),
        python=python,
    )
