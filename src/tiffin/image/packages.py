"""The Python packages of an image: a bundle's own and Tiffin's, as layers."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import msgspec

from tiffin.bundle import Bundle
from tiffin.bundle.manifest import Recipe
from tiffin.errors import ImageError
from tiffin.image import bytecode, fetching, members, own, places, wheels
from tiffin.image.layers import Layer, Workshop
from tiffin.image.members import Member
from tiffin.image.wheels import Wheel

_LARGE = 8 << 20
"""A wheel from this size in bytes on has a layer of its own, so that a change of another one leaves it alone."""

_MOST_ALONE = 24
PINNED = re.compile(r"(?m)^([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^]]*\])?\s*==\s*([^\s;\\]+)")
_OWNPINNED = re.compile(r"(?m)^tiffin\b[^\n\\]*(?:\\\n[^\n\\]*)*\n?", re.IGNORECASE)


class Target(NamedTuple):
    """What packages are for: a version of Python and the platform tags of wheels, the best first."""

    python: str
    tags: list[str]


class Resolved(msgspec.Struct, frozen=True):
    """A package of an image, for labels and messages; ``group`` is the layer it goes into."""

    name: str
    version: str
    sha256: str
    size: int
    group: str


def layers(
    workshop: Workshop, bundle: Bundle, target: Target, place: Path, *, compile_modules: bool
) -> list[Layer]:
    """Layers with everything that is imported, the least often changed first; Tiffin's own is the last.

    Args:
        workshop: keeps them.
        bundle: says what it needs.
        target: what for.
        place: a directory for what is needed meanwhile.
        compile_modules: add byte code, where an interpreter of that version is here.

    Raises:
        ImageError: a package has no wheel for the platform, or is not what was locked.
        StorageError: the package index does not answer.
    """
    links = place / "own"
    links.mkdir(parents=True)
    tiffin = wheels.read(own.write(links))
    program = bytecode.interpreter(target.python) if compile_modules else None
    key = workshop.key("packages", [_wanted(bundle), _own_requirements(), target])
    held = workshop.recall(key, list[Resolved])
    if held is not None:
        made = _assembled(workshop, held, {}, tiffin, target, program, place)
        if made is not None:
            return made
    workshop.say(f"fetching Python packages for {target.tags[0]}")
    found = _fetched(bundle, target, place, links, tiffin)
    resolved = _grouped(found, {wheel.name for wheel in found[0]})
    workshop.remember(key, resolved)
    files = {wheel.sha256: wheel for part in found for wheel in part}
    made = _assembled(workshop, resolved, files, tiffin, target, program, place)
    assert made is not None
    return made


def _wanted(bundle: Bundle) -> list[str]:
    recipe = _recipe(bundle)
    return [recipe.locked, "" if recipe.locked else bundle.manifest.requirements]


def _recipe(bundle: Bundle) -> Recipe:
    recipe = bundle.manifest.recipe
    return recipe if isinstance(recipe, Recipe) else Recipe()


def _own_requirements() -> list[str]:
    """What Tiffin needs, and the versions it is known to run with."""
    needed = [line for line in metadata.requires(own.NAME) or () if "extra ==" not in line]
    return [*sorted(needed), *(f"{name}=={version}" for name, version in sorted(own.installed().items()))]


_Found = tuple[list[Wheel], list[Wheel]]


def _fetched(bundle: Bundle, target: Target, place: Path, links: Path, tiffin: Wheel) -> _Found:
    """The wheels of a bundle, and those that Tiffin needs beyond them."""
    name = bundle.tags[0] if bundle.tags else f"sha256:{bundle.digest[:12]}"
    locked, loose = _wanted(bundle)
    recipe_platform = _recipe(bundle).platform
    # Tiffin comes from here; a bundle that lists it means what runs it.
    locked, loose = _OWNPINNED.sub("", locked), _own_extras(loose)
    asked = fetching.Asked(python=target.python, tags=target.tags, root=bundle.source, locked_for=recipe_platform)
    theirs: list[Wheel] = []
    if locked:
        where = f"the locked requirements of {name}"
        theirs = fetching.download(
            locked, place / "theirs", asked, hashed="--hash" in locked, dependencies=False, where=where
        )
        _check_complete(locked, theirs, where)
    elif loose.strip():
        text = f"{loose}\n{tiffin.pinned}\n"
        theirs = fetching.download(text, place / "theirs", asked, links=links, where=f"the requirements of {name}")
    pins = {wheels.normal(key): version for key, version in own.installed().items()}
    pins |= {wheel.name: wheel.version for wheel in theirs}
    pins.pop(own.NAME, None)
    ours = fetching.download(
        f"{tiffin.pinned}\n",
        place / "ours",
        asked,
        constraints=pins,
        links=links,
        also=place / "theirs" if theirs else None,
        where="Tiffin's own requirements",
    )
    known = {wheel.name for wheel in theirs} | {own.NAME}
    return (
        [wheel for wheel in theirs if wheel.name != own.NAME],
        [wheel for wheel in ours if wheel.name not in known],
    )


def _own_extras(text: str) -> str:
    """Requirements with ``tiffin`` at any version: this one is the one there is."""
    return re.sub(r"(?mi)^(tiffin[ \t]*(?:\[[^]\n]*\])?)[ \t]*(?:[<>=!~][^;\n]*)?", r"\1", text)


def _check_complete(locked: str, found: list[Wheel], where: str) -> None:
    """Pip leaves out what a marker excludes on this machine, whatever the image is for."""
    names = {wheel.name for wheel in found}
    for matched in PINNED.finditer(locked):
        line = locked[matched.start() :].partition("\n")[0]
        if wheels.normal(matched[1]) not in names and ";" not in line:
            raise ImageError(f"expected the wheel of {matched[1]}=={matched[2]}, pip left it out", at=where)


def _grouped(found: _Found, theirs: set[str]) -> list[Resolved]:
    everything = sorted((wheel for part in found for wheel in part), key=lambda wheel: -wheel.size)
    alone = {wheel.sha256 for wheel in everything[:_MOST_ALONE] if wheel.size >= _LARGE}
    return [
        Resolved(
            wheel.name,
            wheel.version,
            wheel.sha256,
            wheel.size,
            wheel.name if wheel.sha256 in alone else ("packages" if wheel.name in theirs else "tiffin needs"),
        )
        for wheel in sorted(everything, key=lambda wheel: wheel.name)
    ]


def _assembled(
    workshop: Workshop,
    resolved: list[Resolved],
    files: dict[str, Wheel],
    tiffin: Wheel,
    target: Target,
    program: bytecode.Interpreter | None,
    place: Path,
) -> list[Layer] | None:
    """The layers; None when one is not there any more and its wheels are not at hand."""
    groups: dict[str, list[Resolved]] = {}
    for one in resolved:
        groups.setdefault(one.group, []).append(one)
    # The large ones first, then a bundle's own, then what Tiffin needs, which changes with Tiffin alone.
    order = sorted(groups, key=lambda group: (group == "tiffin needs", group == "packages", group))
    jobs = [(_title(group, groups[group]), groups[group]) for group in order]
    jobs.append((f"Tiffin {tiffin.version}", [Resolved(own.NAME, tiffin.version, tiffin.sha256, tiffin.size, "")]))
    files = {**files, tiffin.sha256: tiffin}
    about = [program.tag, program.release] if program else []

    def build(job: tuple[str, list[Resolved]]) -> Layer | None:
        title, parts = job
        inputs = ["wheels", [one.sha256 for one in parts], target.python, places.PREFIX, about]
        if not all(one.sha256 in files for one in parts) and not workshop.has(inputs):
            return None
        directory = place / f"pyc-{parts[0].name}"
        return workshop.layer(
            title, inputs, lambda: _members([files[one.sha256] for one in parts], target, program, directory)
        )

    with ThreadPoolExecutor(2) as several:
        made = list(several.map(build, jobs))
    found = [layer for layer in made if layer is not None]
    return found if len(found) == len(made) else None


def _title(group: str, parts: list[Resolved]) -> str:
    if group == "packages":
        return f"Python packages ({len(parts)})"
    if group == "tiffin needs":
        return f"Python packages Tiffin needs ({len(parts)})"
    return f"Python package {parts[0].name} {parts[0].version}"


def _members(
    parts: list[Wheel], target: Target, program: bytecode.Interpreter | None, directory: Path
) -> list[Member]:
    found: dict[str, Member] = {}
    for wheel in parts:
        found.update((one.path, one) for one in wheels.unpack(wheel, prefix=places.PREFIX, python=target.python))
    everything = list(found.values())
    if program is not None:
        everything += bytecode.compiled(everything, program, directory)
    return members.tree(places.PREFIX, everything)
