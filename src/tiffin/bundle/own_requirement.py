"""The line ``tiffin[extra]`` of an author's requirements: Tiffin comes into an image by itself, its extras do not.

So nothing looks for Tiffin on an index, which may have another version than the one that builds; what its extras
need takes the line's place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib import metadata

from tiffin.bundle import requirements

_OWN = re.compile(r"(?i)tiffin\s*(?:\[([^\]]*)\])?\s*(?:[=<>!~;@ ].*)?")
_EXTRA = re.compile(r"""\(?extra == ['"]([^'"]+)['"]\)?""")


def expanded(text: str, of_tiffin: Iterable[str] | None = None) -> str:
    """The requirements, with what Tiffin's extras need in place of a line that names Tiffin.

    Args:
        text: as pip reads it.
        of_tiffin: what Tiffin's own metadata says it requires; that of the Tiffin that runs when not given.
    """
    lines = list(requirements.lines(text))
    if not any(_OWN.fullmatch(line) for line in lines):
        return text
    known = list(_requires() if of_tiffin is None else of_tiffin)
    made: list[str] = []
    for line in lines:
        found = _OWN.fullmatch(line)
        if found is None:
            made.append(line)
            continue
        for extra in filter(None, (part.strip() for part in (found[1] or "").split(","))):
            made += [need for need in needs(known, extra) if need not in made]
    return "".join(f"{line}\n" for line in made)


def needs(known: Iterable[str], extra: str) -> list[str]:
    """What one extra requires, without the marker that says it is of the extra."""
    found = []
    for line in known:
        requirement, _, marker = line.partition(";")
        said = _EXTRA.search(marker)
        if said is None or _plain(said[1]) != _plain(extra):
            continue
        rest = re.sub(r"^\s*and\s+|\s+and\s*$", "", _EXTRA.sub("", marker).strip()).strip()
        found.append(f"{requirement.strip()}; {rest}" if rest else requirement.strip())
    return found


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _requires() -> list[str]:
    try:
        return metadata.requires("tiffin") or []
    except metadata.PackageNotFoundError:
        return []
