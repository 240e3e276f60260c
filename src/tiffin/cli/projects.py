"""What ``tiffin new`` writes: templates, filled in."""

from __future__ import annotations

import difflib
import importlib.util
import keyword
import re
import subprocess
import sys
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import NamedTuple

from tiffin.errors import PlatformError, SpecError

_ENDING = ".tmpl"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*([-_][A-Za-z0-9]+)*")

NEEDS = {"sklearn": "scikit-learn", "torch": "torch", "llm": "transformers"}
_MODULES = {"scikit-learn": "sklearn", "torch": "torch", "transformers": "transformers"}


class Project(NamedTuple):
    """Files by path, filled in; ``trains`` says whether there is a ``train.py``, ``needs`` what that imports."""

    files: dict[str, str]
    trains: bool
    needs: str


def templates() -> list[str]:
    """Their names."""
    return sorted(entry.name for entry in _home().iterdir() if entry.is_dir())


def plan(name: str, template: str) -> Project:
    """The files of a project.

    Raises:
        SpecError: there is no such template, or the name cannot be one of a project.
    """
    known = templates()
    if template not in known:
        near = difflib.get_close_matches(template, known, n=1)
        raise SpecError(
            f"expected --template to be one of {', '.join(known)}, found {template!r}",
            hint=f"did you mean {near[0]}?" if near else None,
        )
    words = re.split("[-_]", name)
    if not _NAME.fullmatch(name) or keyword.iskeyword(name) or len(name) > 50:
        raise SpecError(
            f"expected a name of letters and digits, joined by - or _, found {name!r}",
            hint="for example flower-names",
        )
    class_name = "".join(word[:1].upper() + word[1:] for word in words)
    values = {"name": name, "dashed": "-".join(words).lower(), "class": class_name}
    files = {path: _fill(text, values) for path, text in _read(_home() / template, "")}
    return Project(files, "train.py" in files, NEEDS.get(template, ""))


def write(project: Project, place: Path) -> None:
    """Write the files into a directory that is not there yet, or is empty.

    Raises:
        PlatformError: something is in the way, or the directory cannot be written.
    """
    try:
        if place.exists() and (not place.is_dir() or any(place.iterdir())):
            raise PlatformError(f"expected an empty place, found something at {place}", hint="choose another name")
        for path, text in project.files.items():
            file = place / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise PlatformError(f"cannot write {error.filename}: {error.strerror}") from error


def train(place: Path) -> bool:
    """Run the project's ``train.py``; False when what it imports is not installed here.

    Raises:
        PlatformError: it failed.
    """
    text = (place / "train.py").read_text(encoding="utf-8")
    if any(f"import {module}" in text or f"from {module}" in text for module in _missing()):
        return False
    done = subprocess.run([sys.executable, "train.py"], cwd=place, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PlatformError(f"train.py failed: {done.stderr.strip()[-500:]}", hint=f"the project is in {place}")
    return True


def _missing() -> list[str]:
    return [module for module in _MODULES.values() if importlib.util.find_spec(module) is None]


def _home() -> Traversable:
    return resources.files("tiffin") / "templates"


def _read(directory: Traversable, prefix: str) -> list[tuple[str, str]]:
    found = []
    for entry in sorted(directory.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            found += _read(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(_ENDING):
            found.append((prefix + entry.name.removesuffix(_ENDING), entry.read_text(encoding="utf-8")))
    return found


def _fill(text: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        text = text.replace("{{" + name + "}}", value)
    return text
