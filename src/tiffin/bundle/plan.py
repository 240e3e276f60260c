"""What a build puts into a bundle: decided from the sources and the build file, before anything is written."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable
from pathlib import Path

import msgspec

from tiffin.bundle import entry_point, programs, selection
from tiffin.bundle.entries import EntryPoint, Sources
from tiffin.bundle.manifest import MANIFEST, SBOM, SOURCE, Kind, Manifest
from tiffin.dialects import bentoml
from tiffin.dialects.bentoml import BuildConfig
from tiffin.errors import BundleError, SpecError
from tiffin.kits import paths
from tiffin.kits.names import snake_case
from tiffin.spec import SpecWarning
from tiffin.spec.target import class_target, module_target
from tiffin.store.files import File, copy

REQUIREMENTS = "requirements.txt"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A manifest, where each of its files is now (by its path in the bundle), and a name for it.

    ``sbom`` is the text of the bundle's bill of materials, empty when it has none. ``root`` is the directory and
    ``config`` its build file.
    """

    manifest: Manifest
    origins: dict[str, Path]
    name: str
    said_by: str
    sbom: bytes = b""
    root: Path = Path()
    config: BuildConfig | None = None
    warnings: tuple[SpecWarning, ...] = ()

    def write(self, directory: Path, progress: Callable[[int], None] | None = None) -> None:
        """Write the whole bundle into a directory that does not exist yet; modes become 0644 or 0755.

        ``progress`` is called with the bytes that were written since.

        Raises:
            BundleError: a file changed while the bundle was made.
        """
        source = directory / SOURCE
        source.mkdir(parents=True)
        for file in self.manifest.files:
            place = source / file.path
            place.parent.mkdir(parents=True, exist_ok=True)
            if file.link:
                place.symlink_to(file.link)
                continue
            if copy(self.origins[file.path], place, progress) != file.sha256:
                raise BundleError(
                    "it changed while the bundle was made", hint="build again", at=str(self.origins[file.path])
                )
            place.chmod(0o755 if file.executable else 0o644)
        for name, content in ((MANIFEST, self.manifest.encode()), (SBOM, self.sbom)):
            if content:
                (directory / name).write_bytes(content)
                (directory / name).chmod(0o644)


def plan(
    directory: Path,
    *,
    target: str = "",
    kind: Kind | None = None,
    bentofile: Path | None = None,
    most_bytes: int = selection.MOST_BYTES,
) -> Plan:
    """Decide what a build of ``directory`` makes from its sources alone; reads them and writes nothing.

    Raises:
        BundleError: nothing there can be served, or not clearly one thing.
        SpecError: the build file is malformed.
    """
    root = directory.resolve()
    if not root.is_dir():
        raise BundleError(
            f"expected a directory, found {'a file' if root.exists() else 'nothing'}", at=str(directory)
        )
    config = _build_config(root, bentofile) if kind != "class" else None
    files, origins = _files(root, config, most_bytes)
    sources = {file.path: origins[file.path] for file in files if not file.link}
    entry = _entry_point(root, sources, target, kind, config)
    if entry.kind != "program":
        entry_point.check(entry.target, entry.kind, sources, entry.said_by)
    manifest = Manifest(
        kind=entry.kind,
        target=entry.target,
        python=_python(config),
        requirements=_requirements(root, config),
        labels=config.labels if config else {},
        environment=_environment(config),
        files=files,
        arguments=entry.arguments or msgspec.UNSET,
    )
    return Plan(
        manifest=manifest,
        origins=origins,
        name=_name(config, entry, root),
        said_by=entry.said_by,
        root=root,
        config=config,
        warnings=config.warnings if config else (),
    )


def _build_config(root: Path, bentofile: Path | None) -> BuildConfig | None:
    """The build file that was named, or else the one the directory has."""
    if bentofile is not None:
        if not bentofile.is_file():
            raise BundleError("expected a bentofile, found nothing", at=str(bentofile))
        found = _read_config(bentofile)
        if found is None:
            raise BundleError("expected [tool.bentoml.build], found none", at=str(bentofile))
        return found
    for name in (*bentoml.FILES, "pyproject.toml"):
        if (root / name).is_file() and (config := _read_config(root / name)) is not None:
            return config
    return None


def _read_config(path: Path) -> BuildConfig | None:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(f"cannot read it: {error}", at=str(path)) from error
    if path.suffix == ".toml":
        return bentoml.parse_pyproject(text, str(path))
    return bentoml.parse(text, str(path))


def _own_data(root: Path) -> list[str]:
    """A pattern for Tiffin's data directory where that lies in the directory: a store is no source."""
    data = paths.data_directory().root.resolve()
    if data == root or not data.is_relative_to(root):
        return []
    return [re.sub(r"([*?\[\]!# \\])", r"\\\1", f"/{data.relative_to(root).as_posix()}/")]


def _files(root: Path, config: BuildConfig | None, most_bytes: int) -> tuple[tuple[File, ...], dict[str, Path]]:
    include, exclude = (config.include, config.exclude) if config else ((), ())
    found = selection.select(root, include, (*exclude, *_own_data(root)), most_bytes=most_bytes)
    if not (config and config.python.is_src_layout):
        return found, {file.path: root / file.path for file in found}
    # BentoML's src layout: what lies in src/ is imported as if it lay at the top.
    origins: dict[str, Path] = {}
    moved: list[File] = []
    for file in found:
        path = file.path.removeprefix("src/")
        if path in origins:
            raise BundleError(f"expected one {path}, found it at the top and in src/", at=str(root))
        origins[path] = root / file.path
        moved.append(msgspec.structs.replace(file, path=path))
    return tuple(sorted(moved, key=lambda file: file.path)), origins


def _entry_point(
    root: Path, sources: Sources, target: str, kind: Kind | None, config: BuildConfig | None
) -> EntryPoint:
    if not target and config is not None and config.service:
        target, said_by = config.service, f"service in {os.path.basename(config.file)}"
        kind = "service"
    else:
        said_by = "--target"
    if not target:
        return entry_point.find(root, sources, kind=kind)
    if kind == "program" or (kind is None and programs.is_one(sources, target)):
        return programs.of_target(sources, target)
    if kind is None:
        kind = "service" if _is_service(sources, target) else "class"
    if kind == "service":
        return EntryPoint(kind, _service_target(sources, target), said_by)
    try:
        return EntryPoint(kind, class_target(target), said_by)
    except SpecError as error:
        raise BundleError(str(error), at=said_by) from error


def _is_service(sources: Sources, target: str) -> bool:
    module, _, name = (module_target(target) or target).partition(":")
    path = module.replace(".", "/") + ".py"
    found = entry_point.candidates(sources, path) if path in sources else []
    return any(c.kind == "service" and name in ("", c.name) for c in found)


def _service_target(sources: Sources, target: str) -> str:
    """``service.py:Iris`` is ``service:Iris``; a module alone means the one service in it, when that is clear."""
    named = module_target(target)
    if named is None:
        raise BundleError(
            f"expected module:Class or path/file.py:Class, found {target!r}", hint="for example service:Iris"
        )
    module, colon, _ = named.partition(":")
    if colon:
        return named
    path = module.replace(".", "/") + ".py"
    found = entry_point.candidates(sources, path) if path in sources else []
    services = [candidate.name for candidate in found if candidate.kind == "service"]
    return f"{module}:{services[0]}" if len(services) == 1 else module


def _python(config: BuildConfig | None) -> str:
    wanted = config.docker.python_version if config else ""
    return wanted or ".".join(platform.python_version_tuple()[:2])


def _requirements(root: Path, config: BuildConfig | None) -> str:
    if config is None:
        file = root / REQUIREMENTS
        return _text(file) if file.is_file() else ""
    if config.python.requirements_txt:
        file = root / config.python.requirements_txt
        if not file.is_file():
            raise BundleError(
                f"expected {config.python.requirements_txt}, found nothing", at="python.requirements_txt"
            )
        return _text(file)
    return "".join(f"{package}\n" for package in config.python.packages)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").replace("\r\n", "\n")
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(f"cannot read it: {error}", at=str(file)) from error


def _environment(config: BuildConfig | None) -> dict[str, str]:
    if config is None:
        return {}
    written = {v.name: v.value for v in config.envs if v.value is not None and v.stage != "build"}
    return config.docker.env | written


def _name(config: BuildConfig | None, entry: EntryPoint, root: Path) -> str:
    if config and config.name:
        return config.name
    if entry.kind == "program":
        return snake_case(root.name, "bundle")
    return snake_case(entry.target.partition(":")[2] or root.name, "bundle")
