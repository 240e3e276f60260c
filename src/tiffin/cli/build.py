"""``tiffin build``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tiffin.cli import output

if TYPE_CHECKING:
    from tiffin.bundle import Bundle, Plan
    from tiffin.store.reference import Reference


def build(
    context: Annotated[
        str, typer.Argument(metavar="[CTX]", help="The directory with the sources, or MODULE:CLASS in this one.")
    ] = ".",
    tag: Annotated[
        str, typer.Option("--tag", "-t", help="name:version, or an image reference such as iris-image:v0.1.")
    ] = "",
    name: Annotated[str, typer.Option(help="The name alone; that of the build file or class otherwise.")] = "",
    version: Annotated[str, typer.Option(help="The version alone; from the digest when not given.")] = "",
    bentofile: Annotated[
        Path | None,
        typer.Option("--bentofile", "-f", help="A bentofile, or a pyproject.toml with [tool.bentoml.build]."),
    ] = None,
    target: Annotated[
        str, typer.Option(help="module:Class, or a program such as model.py; found by looking when not given.")
    ] = "",
    kind: Annotated[
        Literal["auto", "class", "service", "program"],
        typer.Option(help="A plain class with predict, a service, or a program that serves by itself."),
    ] = "auto",
    label: Annotated[list[str] | None, typer.Option("--label", help="KEY=VALUE; may be repeated.")] = None,
    arg: Annotated[
        list[str] | None, typer.Option("--arg", help="KEY=VALUE for use_arguments; may be repeated.")
    ] = None,
    arg_file: Annotated[
        Path | None, typer.Option("--arg-file", help="Such arguments in a YAML or JSON file.")
    ] = None,
    training_data: Annotated[
        str, typer.Option("--training-data", help="A reference to the training data, for the record.")
    ] = "",
    platform: Annotated[
        str, typer.Option(help="Resolve requirements for this one, such as x86_64-manylinux_2_36.")
    ] = "",
    no_lock: Annotated[bool, typer.Option("--no-lock", help="Do not resolve the requirements.")] = False,
    no_import: Annotated[
        bool, typer.Option("--no-import", help="Read the sources only; the bundle then has no schema.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Move a tag that leads to another bundle.")] = False,
    max_size: Annotated[
        str, typer.Option("--max-size", help="The most the sources may take, such as 500MB or 4GB.")
    ] = "4GB",
    containerize: Annotated[
        bool, typer.Option("--containerize", help="Make a container image of it, too.")
    ] = False,
    push: Annotated[bool, typer.Option("--push", help="Push it to the registry its tag names, too.")] = False,
    threads: Annotated[int, typer.Option("--threads", hidden=True)] = 0,
    output_format: Annotated[
        Literal["default", "tag", "json"],
        typer.Option("--output", "-o", help="tag: print __tag__:name:version and no more; json: as --json."),
    ] = "default",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make a bundle of a service, class or program, and give it a tag.

    A bundle holds the sources, what is served, the locked requirements and the digests of the models it needs. The
    same inputs make the same bundle. A service is imported in a process of its own, to learn its schema.
    """
    from tiffin.bundle import BundleStore, building
    from tiffin.kits import paths
    from tiffin.service import arguments
    from tiffin.store.reference import LATEST

    directory, named = _context(context)
    wanted = _reference(tag, name, version)
    data = paths.data_directory().make()
    if threads:
        output.say("--threads has no effect: nothing is uploaded here")
    wish = building.Wish(
        target=target or named,
        kind=None if kind == "auto" else kind,
        bentofile=bentofile,
        labels=pairs(label or (), "--label"),
        arguments=arguments.parse(arg or [], str(arg_file) if arg_file else None),
        data=training_data,
        platform=platform,
        is_importing=not no_import,
        is_locking=not no_lock,
        most_bytes=_size(max_size),
    )
    made = building.prepare(directory, wish, data, say=output.say)
    for warning in made.warnings:
        output.warn(str(warning))
    store = BundleStore(data.bundles)
    final = _named(made, wanted, name, version)
    with output.copying("building", made.manifest.size) as progress:
        tagged, bundle = store.add(made, final, progress=progress, is_moving=force or final.version == LATEST)
    _tell(tagged, bundle, made, "json" if as_json else output_format)
    if containerize:
        _then("containerize", tagged)
    if push:
        _then("push", tagged)


def _context(text: str) -> tuple[Path, str]:
    """The directory, and the target when one is named."""
    module, colon, attribute = text.rpartition(":")
    if colon and attribute.isidentifier() and not Path(text).exists():
        return Path("."), f"{module}:{attribute}"
    return Path(text), ""


def _reference(tag: str, name: str, version: str) -> Reference | None:
    from tiffin.errors import SpecError
    from tiffin.store import reference

    if tag and (name or version):
        raise SpecError("expected --tag, or --name and --version, found both")
    for text in filter(None, (tag, f"{name}:{version}" if name and version else name)):
        return reference.parse(text)
    return reference.parse(f"x:{version}") if version else None


def _named(made: Plan, wanted: Reference | None, name: str, version: str) -> Reference:
    from tiffin.store.reference import Reference

    if wanted is None:
        return Reference(made.name)
    return Reference(made.name, version) if version and not name else wanted


def pairs(texts: list[str] | tuple[str, ...], option: str) -> dict[str, str]:
    """``KEY=VALUE`` words as a mapping; raises SpecError for another one."""
    from tiffin.errors import SpecError

    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise SpecError(f"expected {option} KEY=VALUE, found {text!r}")
        found[key.strip()] = value
    return found


def _size(text: str) -> int:
    from tiffin.errors import SpecError

    units = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
             "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40}  # fmt: skip
    number = text.strip().rstrip("kKmMgGtTiIbB")
    unit = text.strip()[len(number) :].upper()
    if unit not in units or not number.replace(".", "", 1).isdigit():
        raise SpecError(f"expected a size such as 500MB or 4GB, found {text!r}")
    return int(float(number) * units[unit])


def _tell(tagged: str, bundle: Bundle, made: Plan, form: str) -> None:
    manifest = bundle.manifest
    if form == "json":
        output.data(
            {
                "tag": tagged,
                "digest": f"sha256:{bundle.digest}",
                "kind": bundle.kind,
                "target": bundle.target,
                "files": len(manifest.files),
                "size": manifest.size,
                "models": manifest.models or (),
                "path": str(bundle.path),
            }
        )
    elif form == "tag":
        # What BentoML's own scripts look for.
        print(f"__tag__:{tagged}")
    else:
        count = len(manifest.files)
        print(f"built {tagged} ({bundle.kind} {bundle.target}, {count} file{'s' * (count != 1)})")
        output.say(f"serving {bundle.target}: {made.said_by}; sha256:{bundle.digest[:12]}")


def _then(command: str, tag: str) -> None:
    """Go on with another command of ours, as if it had been typed."""
    import subprocess
    import sys

    status = subprocess.run((sys.executable, "-m", "tiffin", command, tag), check=False).returncode
    if status:
        raise typer.Exit(status)
