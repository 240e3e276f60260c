"""Programs: a bundle that is started like a container, with a command line, and serves by itself.

``python model.py`` of a KServe model is one, and so is any HTTP server. Sources are read, never run.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
from pathlib import Path

from tiffin.bundle.entries import EntryPoint, Sources
from tiffin.errors import BundleError

KSERVE = "kserve"
_PYTHON = re.compile(r"python[0-9.]*")


def find(root: Path, sources: Sources) -> EntryPoint:
    """The program of a directory: what its Dockerfile or Procfile starts, else the one that starts ModelServer.

    Raises:
        BundleError: there is none, or more than one.
    """
    started = written(root)
    if started is not None:
        _check(started, sources)
        return started
    found = of_kserve(sources)
    if len(found) == 1:
        return EntryPoint("program", shlex.join(["python", found[0]]), "the only one with ModelServer().start()")
    if found:
        raise BundleError(
            f"expected one program with ModelServer().start() in {root}, found {len(found)}: {', '.join(found)}",
            hint=f"name it: `tiffin build --target {found[0]}`",
        )
    raise BundleError(
        f"expected a program in {root}, found none",
        hint="name it: `tiffin build --target model.py`, or write an ENTRYPOINT into a Dockerfile",
    )


def is_one(sources: Sources, target: str) -> bool:
    """Whether what was named is a program: a command line, or a file that starts ModelServer."""
    return " " in target.strip() or (target in sources and target in of_kserve(sources))


def of_target(sources: Sources, target: str) -> EntryPoint:
    """The program that was named: ``model.py``, or a command line such as ``python -m package.model``."""
    words = _words(target)
    if len(words) == 1 and words[0].endswith(".py"):
        words = ["python", *words]
    entry = EntryPoint("program", shlex.join(words), "--target")
    _check(entry, sources)
    return entry


def of_kserve(sources: Sources) -> list[str]:
    """The modules that import kserve and make a ModelServer."""
    return [path for path in sorted(sources) if path.endswith(".py") and _makes_server(sources[path])]


def uses_kserve(root: Path) -> bool:
    """Whether anything in a directory imports kserve: its program is then served by Tiffin's own server."""
    for directory, directories, files in os.walk(root):
        directories[:] = [name for name in directories if not name.startswith(".")]
        for name in files:
            tree = _parse(Path(directory, name)) if name.endswith(".py") else None
            if tree is not None and _imports_kserve(tree):
                return True
    return False


def written(root: Path) -> EntryPoint | None:
    """What a Dockerfile or a Procfile starts; None when neither says."""
    dockerfile, procfile = root / "Dockerfile", root / "Procfile"
    if dockerfile.is_file():
        entry, arguments = _docker(dockerfile.read_text(encoding="utf-8", errors="replace"))
        if entry:
            return EntryPoint("program", shlex.join(entry), "ENTRYPOINT in Dockerfile", tuple(arguments))
        if arguments:
            return EntryPoint("program", shlex.join(arguments), "CMD in Dockerfile")
    if procfile.is_file():
        for line in procfile.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, command = line.partition(":")
            if name.strip() == "web" and command.strip():
                return EntryPoint("program", shlex.join(_words(command)), "web in Procfile")
    return None


def _docker(text: str) -> tuple[list[str], list[str]]:
    """ENTRYPOINT and CMD of the last stage, as words; a shell form is run by a shell, as docker does."""
    entry: list[str] = []
    command: list[str] = []
    for line in re.sub(r"\\\s*\n", " ", text).splitlines():
        instruction, _, rest = line.strip().partition(" ")
        match instruction.upper():
            case "FROM":
                entry, command = [], []
            case "ENTRYPOINT":
                entry, command = _form(rest), []
            case "CMD":
                command = _form(rest)
            case _:
                pass
    return entry, command


def _form(text: str) -> list[str]:
    text = text.strip()
    try:
        found = json.loads(text)
        if isinstance(found, list) and all(isinstance(word, str) for word in found):
            return found
    except ValueError:
        pass
    plain = not re.search(r"[$&|;<>`*?()]", text)
    return _words(text) if plain else ["/bin/sh", "-c", text]


def _words(text: str) -> list[str]:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise BundleError(f"expected a command line, found {text!r}: {error}") from error
    if not words:
        raise BundleError("expected a command line, found nothing")
    return words


def _check(entry: EntryPoint, sources: Sources) -> None:
    """A Python program has to be in the bundle."""
    words = shlex.split(entry.target)
    if not _PYTHON.fullmatch(os.path.basename(words[0])) or len(words) < 2:
        return
    rest = [word for word in words[1:] if word not in ("-u", "-B", "-O", "-I", "-s", "-E")]
    if not rest or (rest[0].startswith("-") and rest[0] != "-m"):
        return
    if rest[0] == "-m":
        base = rest[1].replace(".", "/") if len(rest) > 1 else ""
        top = base.partition("/")[0]
        inside = any(path == f"{top}.py" or path.startswith(f"{top}/") for path in sources)
        if not inside or any(path in sources for path in (f"{base}.py", f"{base}/__main__.py")):
            return  # An installed module (gunicorn, say) is not for the bundle to have.
        wanted = f"{base}.py"
    else:
        wanted = os.path.normpath(rest[0])
        if wanted in sources:
            return
    raise BundleError(
        f"expected {wanted} for `{entry.target}` ({entry.said_by}), found no such file in the bundle",
        hint="a program starts in the directory that was built; name another with --target",
    )


def _makes_server(file: Path) -> bool:
    tree = _parse(file)
    return tree is not None and _imports_kserve(tree) and any(_is_server(node) for node in ast.walk(tree))


def _is_server(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    name = node.func
    return (isinstance(name, ast.Name) and name.id == "ModelServer") or (
        isinstance(name, ast.Attribute) and name.attr == "ModelServer"
    )


def _imports_kserve(tree: ast.Module) -> bool:
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                if any(alias.name.partition(".")[0] == KSERVE for alias in names):
                    return True
            case ast.ImportFrom(module=str(module), level=0):
                if module.partition(".")[0] == KSERVE:
                    return True
            case _:
                pass
    return False


def _parse(file: Path) -> ast.Module | None:
    try:
        return ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return None
