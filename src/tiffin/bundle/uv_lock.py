"""``uv.lock`` as requirements with hashes: what the project needs, without its development groups. Pure."""

from __future__ import annotations

import tomllib
from typing import Any

from tiffin.errors import BundleError

_When = frozenset[str]
"""Markers that all have to hold; none means always. A set, so that a circle of packages comes to an end."""
_Markers = frozenset[_When]
"""When a package is needed, as alternatives."""


def requirements(text: str, file: str = "uv.lock") -> str:
    """The packages that the project of a lock file needs, one a line, with markers and hashes.

    Raises:
        BundleError: it is no lock file of uv, or holds a package that cannot be installed by pip with a hash.
    """
    try:
        packages = tomllib.loads(text)["package"]
        by_name: dict[str, list[dict[str, Any]]] = {}
        for package in packages:
            by_name.setdefault(package["name"], []).append(package)
        needed = _needed(packages, by_name)
        lines = [_line(package, needed[_key(package)]) for package in packages if _key(package) in needed]
    except (tomllib.TOMLDecodeError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"expected a lock file of uv: {type(error).__name__}: {error}", at=file) from error
    except BundleError as error:
        raise BundleError(error.message, hint=error.hint, at=file) from error
    return "".join(f"{line}\n" for line in sorted(lines))


def _key(package: dict[str, Any]) -> tuple[str, str]:
    return package["name"], str(package.get("version", ""))


def _is_project(package: dict[str, Any]) -> bool:
    return bool({"virtual", "editable"} & package.get("source", {}).keys())


def _needed(
    packages: list[dict[str, Any]], by_name: dict[str, list[dict[str, Any]]]
) -> dict[tuple[str, str], _Markers]:
    """Every package that is reached from the project, and when it is needed."""
    found: dict[tuple[str, str], _Markers] = {}
    seen: set[tuple[tuple[str, str], _When, frozenset[str]]] = set()
    waiting: list[tuple[dict[str, Any], _When, frozenset[str]]] = [
        (package, frozenset(), frozenset()) for package in packages if _is_project(package)
    ]
    while waiting:
        package, when, extras = waiting.pop()
        if (state := (_key(package), when, extras)) in seen:
            continue
        seen.add(state)
        wanted = list(package.get("dependencies", []))
        for extra in extras:
            wanted += package.get("optional-dependencies", {}).get(extra, [])
        for dependency in wanted:
            both = when | ({dependency["marker"]} if "marker" in dependency else set())
            for one in by_name[dependency["name"]]:
                if dependency.get("version", one.get("version")) == one.get("version"):
                    if not _is_project(one):
                        found[_key(one)] = found.get(_key(one), frozenset()) | {both}
                    waiting.append((one, both, frozenset(dependency.get("extra", ()))))
    return found


def _line(package: dict[str, Any], markers: _Markers) -> str:
    name, version = package["name"], package["version"]
    source = package.get("source", {})
    if "registry" not in source:
        kind = next(iter(source), "nothing")
        raise BundleError(
            f"expected packages of an index, found {name} from {kind}",
            hint="put a wheel of it into the directory and name that in the requirements",
        )
    files = [*package.get("wheels", ()), *([package["sdist"]] if "sdist" in package else ())]
    hashes = sorted({file["hash"] for file in files if "hash" in file})
    if not hashes:
        raise BundleError(f"expected a hash for {name} {version}, found none")
    when = "" if frozenset() in markers else f" ; {_text(markers)}"
    return f"{name}=={version}{when}" + "".join(f" --hash={hash}" for hash in hashes)


def _text(markers: _Markers) -> str:
    """Alternatives of conjunctions as one marker; one that holds whenever another does is left out."""
    least = [one for one in markers if not any(other < one for other in markers)]
    alternatives = sorted(
        " and ".join(f"({marker})" if len(one) > 1 else marker for marker in sorted(one)) for one in least
    )
    return " or ".join(f"({text})" if len(alternatives) > 1 else text for text in alternatives)
