"""Requirements as pip reads them: what a file says once its own files are read in, and which lines are pinned."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tiffin.errors import BundleError

_NAME = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?:\[[^]]*\])?\s*")
_PINNED = re.compile(rf"{_NAME.pattern}===?\s*([A-Za-z0-9.!+_-]+)\s*(?:;.*)?")
_HASH = re.compile(r"--hash[= ]([a-z0-9]+:[0-9a-f]+)")
_NESTED = re.compile(r"(?:-r|--requirement|-c|--constraint)[= ]\s*(.+)")
_DEEPEST = 10


class Pinned(NamedTuple):
    """A package at one version; ``hashes`` (``sha256:...``) are of the files that may be installed for it."""

    name: str
    version: str
    hashes: tuple[str, ...] = ()


def read(root: Path, name: str) -> dict[str, str]:
    """A requirements file and every file it names, by path below ``root``; the first is the file itself.

    Raises:
        BundleError: a file is missing, cannot be read, lies outside of ``root``, or includes itself.
    """
    found: dict[str, str] = {}
    _read(root, name, (), found)
    return found


def _read(root: Path, name: str, above: tuple[str, ...], found: dict[str, str]) -> None:
    place = (root / name).resolve()
    said = f" ({above[-1]} names it)" if above else ""
    if not place.is_relative_to(root.resolve()):
        raise BundleError(
            f"expected a requirements file inside the directory, found {name}{said}",
            hint=f"build from a directory above {root}",
        )
    relative = place.relative_to(root.resolve()).as_posix()
    if relative in above or len(above) > _DEEPEST:
        raise BundleError(f"{above[-1]} includes {relative}, which includes it", at=str(place))
    try:
        text = place.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except FileNotFoundError:
        raise BundleError(f"expected the requirements file {name}{said}, found nothing", at=str(place)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(f"cannot read it: {error}", at=str(place)) from error
    found[relative] = text if text.endswith("\n") or not text else text + "\n"
    for line in lines(text):
        if match := _NESTED.fullmatch(line):
            base = place.parent.relative_to(root.resolve()).as_posix()
            _read(root, _normal(Path(base) / match[1].strip()), (*above, relative), found)


def flat(files: dict[str, str], name: str) -> str:
    """The text of a file with those it includes (``-r``) in their place. Constraints (``-c``) are left out."""
    made = []
    here = Path(name).parent
    for line in files[name].splitlines():
        match = _NESTED.fullmatch(line.strip())
        if match is None:
            made.append(line)
            continue
        if line.strip().startswith(("-r", "--req")):
            inner = _normal(here / match[1].strip())
            made.extend(flat(files, inner).splitlines())
    return "".join(f"{line}\n" for line in made)


def constraints(files: dict[str, str], name: str) -> str:
    """The constraints (``-c``) that a file and those it includes name, one after another."""
    made = ""
    here = Path(name).parent
    for line in lines(files[name]):
        if match := _NESTED.fullmatch(line):
            inner = _normal(here / match[1].strip())
            made += flat(files, inner) if line.startswith(("-c", "--con")) else constraints(files, inner)
    return made


def lines(text: str) -> Iterator[str]:
    """The lines that count: continued ones joined, comments and blanks left out."""
    for line in re.sub(r"\\\n", " ", text).splitlines():
        content = re.sub(r"(^|\s)#.*$", "", line).strip()
        if content:
            yield re.sub(r"\s+", " ", content)


def pinned(text: str) -> list[Pinned]:
    """The packages that a text pins to one version each, sorted by name."""
    found = []
    for line in lines(text):
        requirement = line.partition(" --hash")[0].strip()
        if match := _PINNED.fullmatch(requirement):
            found.append(Pinned(match[1], match[2], tuple(sorted(_HASH.findall(line)))))
    return sorted(found)


def is_lock(text: str) -> bool:
    """Whether every requirement has a hash, and a version or a file: nothing is left to resolve."""
    wanted = [line for line in lines(text) if not line.startswith("-")]
    return bool(wanted) and all(_HASH.search(line) and _is_fixed(line) for line in wanted)


def _is_fixed(line: str) -> bool:
    requirement = line.partition(" --hash")[0].strip()
    return bool(_PINNED.fullmatch(requirement)) or " @ " in requirement or requirement.startswith("./")


def is_empty(text: str) -> bool:
    """Whether there is no requirement, whatever options there are."""
    return all(line.startswith("-") and not line.startswith(("-e", "--editable")) for line in lines(text))


def _normal(path: Path) -> str:
    parts: list[str] = []
    for part in path.parts:
        if part == ".." and parts and parts[-1] != "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)
