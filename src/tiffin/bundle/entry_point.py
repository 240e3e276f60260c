"""Which class of a directory is served: written down somewhere, or the only one it can be.

Sources are read as text (``ast``) and never imported: building a bundle must not run what is in it.
"""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path
from typing import NamedTuple

from tiffin.bundle import programs
from tiffin.bundle.entries import EntryPoint, Sources
from tiffin.bundle.manifest import Kind
from tiffin.errors import BundleError, SpecError
from tiffin.spec.target import class_target

_VERBS = {"predict", "predict_raw", "transform_input", "transform_output", "route", "aggregate"}
_VERBS |= {f"{verb}_raw" for verb in _VERBS if not verb.endswith("_raw")}

_S2I = ".s2i/environment"


class Candidate(NamedTuple):
    module: str
    name: str
    kind: Kind

    @property
    def target(self) -> str:
        return f"{self.module}:{self.name}"


def find(root: Path, sources: Sources, *, kind: Kind | None = None) -> EntryPoint:
    """The entry point of a directory that was not told one.

    In this order: ``MODEL_NAME`` in ``.s2i/environment``, in a Dockerfile's ``ENV``; the one class with
    ``@service``; the program that starts KServe's ModelServer; the one class with a Seldon method that carries its
    module's name; the one class with any; the program that a Dockerfile or Procfile starts.

    Raises:
        BundleError: nothing, or several things, could be meant; the text lists them.
    """
    if kind == "program":
        return programs.find(root, sources)
    if kind != "service":
        for name, where in _written_names(root):
            try:
                return EntryPoint("class", class_target(name), where)
            except SpecError as error:
                raise BundleError(str(error), at=where) from error
    found = [c for path in sorted(sources) if path.endswith(".py") for c in candidates(sources, path)]
    services = [c for c in found if c.kind == "service"]
    classes = [c for c in found if c.kind == "class"]
    if services and kind != "class":
        return _only(services, root, "with @service")
    if kind is None and programs.of_kserve(sources):
        return programs.find(root, sources)
    if kind != "service":
        named = [c for c in classes if c.name == c.module.rpartition(".")[2]]
        if named or classes:
            return _only(named if len(named) == 1 else classes, root, "with predict")
    if kind is None and (started := programs.written(root)) is not None:
        return started
    wanted = "@service" if kind == "service" else "predict or @service"
    raise BundleError(
        f"expected a class with {wanted} in {root}, found none",
        hint="name it: `tiffin build --target module:Class`",
    )


def check(target: str, kind: Kind, sources: Sources, said_by: str) -> None:
    """Raise BundleError when the module of a target is not in the bundle, or has no such class."""
    module, _, name = target.partition(":")
    base = module.replace(".", "/")
    path = next((p for p in (f"{base}.py", f"{base}/__init__.py") if p in sources), None)
    if path is None:
        raise BundleError(
            f"expected {base}.py for {target!r} ({said_by}), found no such file in the bundle",
            hint="look at include and exclude, or name another one with --target module:Class",
        )
    tree = _parse(sources[path], path)
    if kind == "class" and tree is not None and name.partition(".")[0] not in _names_bound(tree):
        raise BundleError(f"expected class {name} ({said_by}), found none of that name", at=path)


def candidates(sources: Sources, path: str) -> list[Candidate]:
    """The classes of a module that can be served, in the order they are written."""
    tree = _parse(sources[path], path)
    if tree is None:
        return []
    module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    if not all(part.isidentifier() for part in module.split(".")):
        return []
    found: list[Candidate] = []
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            if any(_is_service(decorator) for decorator in node.decorator_list):
                found.append(Candidate(module, node.name, "service"))
            elif not node.name.startswith("_") and _methods(node) & _VERBS:
                found.append(Candidate(module, node.name, "class"))
    return found


def _only(found: list[Candidate], root: Path, said: str) -> EntryPoint:
    if len(found) != 1:
        listed = ", ".join(sorted(c.target for c in found))
        raise BundleError(
            f"expected one class {said} in {root}, found {len(found)}: {listed}",
            hint=f"name it: `tiffin build --target {found[0].target}`",
        )
    return EntryPoint(found[0].kind, found[0].target, f"the only class {said}")


def _methods(node: ast.ClassDef) -> set[str]:
    return {item.name for item in node.body if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)}


def _is_service(decorator: ast.expr) -> bool:
    """``@bentoml.service(...)``, ``@tiffin.service``, ``@service``, ``@bt.service()``."""
    if isinstance(decorator, ast.Call):
        decorator = decorator.func
    return (isinstance(decorator, ast.Attribute) and decorator.attr == "service") or (
        isinstance(decorator, ast.Name) and decorator.id == "service"
    )


def _names_bound(tree: ast.Module) -> set[str]:
    bound: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                bound.add(name)
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                bound |= {(alias.asname or alias.name).partition(".")[0] for alias in names}
            case ast.Name(id=name, ctx=ast.Store()):
                bound.add(name)
            case _:
                pass
    return bound


def _parse(file: Path, path: str) -> ast.Module | None:
    try:
        return ast.parse(file.read_bytes(), filename=path)
    except (SyntaxError, ValueError, RecursionError):
        # Not ours to judge: a template or a file for another Python may lie beside the class.
        return None


def _written_names(root: Path) -> list[tuple[str, str]]:
    found = []
    for path, read in ((_S2I, _environment_lines), ("Dockerfile", _docker_environment)):
        file = root / path
        if file.is_file():
            name = read(file.read_text(encoding="utf-8", errors="replace")).get("MODEL_NAME")
            if name:
                found.append((name, f"MODEL_NAME in {path}"))
    return found


def _environment_lines(text: str) -> dict[str, str]:
    pairs = (
        line.partition("=") for line in text.splitlines() if "=" in line and not line.lstrip().startswith("#")
    )
    return {key.strip().removeprefix("export ").strip(): value.strip().strip("'\"") for key, _, value in pairs}


def _docker_environment(text: str) -> dict[str, str]:
    """``ENV KEY value`` and ``ENV KEY=value OTHER="value"`` over all lines; the last one wins."""
    found: dict[str, str] = {}
    for line in re.sub(r"\\\s*\n", " ", text).splitlines():
        instruction, _, rest = line.strip().partition(" ")
        if instruction.upper() != "ENV":
            continue
        first, _, value = rest.strip().partition(" ")
        if "=" not in first:
            found[first] = value.strip().strip("'\"")
            continue
        try:
            words = shlex.split(rest)
        except ValueError:
            continue
        found.update((key, value) for key, _, value in (word.partition("=") for word in words))
    return found
