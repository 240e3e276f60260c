"""What ``tiffin serve TARGET`` means: a model file or address, a service, a class, a program, a project."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from tiffin.bundle import programs
from tiffin.errors import SpecError
from tiffin.kits.names import snake_case
from tiffin.models import archives
from tiffin.spec import Artefact, ClassSource, ContainerSource, ModelSource, ServiceSource
from tiffin.spec import target as grammar

_PROJECT_FILES = ("bentofile.yaml", "bentofile.yml", "service.py")
_MANIFESTS = (".yaml", ".yml", ".json")


class Target(NamedTuple):
    """A component's source, the directory or file it is in, and a name for it.

    ``path`` is None when the artefact still has to be fetched.
    """

    source: ModelSource | ServiceSource | ClassSource | ContainerSource
    path: Path | None
    name: str

    @property
    def address(self) -> str:
        """Where the artefact is fetched from; empty for a program, which is always a file here."""
        return "" if isinstance(self.source, ContainerSource) else self.source.artefact.uri


def resolve(text: str, directory: Path) -> Target:
    """Say what a target is, by looking at the file system only.

    Raises:
        SpecError: it is nothing that can be served.
    """
    if "://" in text:
        # The tag of oci:// and the revision of hf:// are no part of the name.
        named_so = re.sub(r"(?<=[^/])[:@][^/]*$", "", text.rstrip("/"))
        return Target(ModelSource(artefact=Artefact(text)), None, model_name(Path(named_so)))
    named = grammar.parse(text)
    if named is not None and named.attribute:
        return _service(named.module or named.file, named.attribute, directory)
    path = (directory / text).resolve()
    if path.is_dir():
        return _directory(path)
    if path.is_file():
        return _file(path)
    if (directory / f"{text.replace('.', '/')}.py").is_file():
        return _service(text, "", directory)
    if path.exists():
        raise SpecError(f"expected a file or a directory, found something else at {path}")
    if path.suffix or "/" in text:
        raise SpecError(f"there is no file or directory {path}")
    raise SpecError(
        f"expected a model file, a directory, MODULE:CLASS or an address, found {text!r}",
        hint="for example `tiffin serve model.joblib` or `tiffin serve service:Iris`",
    )


def _service(module: str, attribute: str, directory: Path) -> Target:
    home = directory
    name = attribute.rpartition(".")[2] or module.rpartition(".")[2]
    if module.endswith(".py"):
        file = (directory / module).resolve()
        if not file.is_file():
            raise SpecError(f"there is no file {module}")
        home, module = file.parent, file.stem
        name = attribute.rpartition(".")[2] or module
    target = f"{module}:{attribute}" if attribute else module
    return Target(ServiceSource(artefact=Artefact(str(home)), target=target), home, snake_case(name, "service"))


def _directory(path: Path) -> Target:
    if any((path / name).is_file() for name in _PROJECT_FILES) or _has_build_table(path / "pyproject.toml"):
        return Target(
            ServiceSource(artefact=Artefact(str(path)), target=""), path, snake_case(path.name, "service")
        )
    return Target(ModelSource(artefact=Artefact(str(path))), path, model_name(path))


def _has_build_table(file: Path) -> bool:
    return file.is_file() and "[tool.bentoml.build]" in file.read_text(encoding="utf-8", errors="replace")


def _file(path: Path) -> Target:
    if path.suffix == ".py" and programs.of_kserve({path.name: path}):
        program = ContainerSource(image=path.name, command=("python", path.name))
        return Target(program, path.parent, snake_case(path.stem, "model"))
    if path.suffix == ".py":
        return _service(path.name, "", path.parent)
    if path.name in _PROJECT_FILES or path.name == "pyproject.toml":
        return _directory(path.parent)
    if path.suffix in _MANIFESTS and b"apiVersion" in path.read_bytes()[:65_536]:
        raise SpecError(
            f"{path.name} is a deployment file, which `tiffin serve` does not take", hint=f"tiffin up {path.name}"
        )
    # An archive is not served in place: fetching unpacks it.
    return Target(
        ModelSource(artefact=Artefact(str(path))),
        None if archives.is_archive(path.name) else path,
        model_name(path),
    )


def model_name(path: Path) -> str:
    """A name for a model from its file or directory; ``model.joblib`` says nothing, its directory may."""
    stem = path.name.partition(".")[0]
    if stem in ("model", "saved_model", "") and path.parent.name:
        stem = path.parent.name
    cleaned = "".join(c if c.isalnum() or c in "-_." else "-" for c in stem).strip("-._")
    return cleaned or "model"
