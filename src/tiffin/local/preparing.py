"""From paths on a command line to deployments whose artefacts are on this disk.

What is wrong in a file stops everything, before anything started. What is wrong with one deployment (its
service does not import, its model cannot be fetched) is kept with it, and the others go on.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import msgspec

from tiffin import dialects
from tiffin.dialects import bentoml
from tiffin.errors import AuthorError, BundleError, ServiceError, TiffinError
from tiffin.kits import threads
from tiffin.kits.paths import DataDirectory
from tiffin.spec import (
    ClassSource,
    Component,
    ContainerSource,
    Deployment,
    ModelSource,
    ServiceDescription,
    ServiceSource,
    SpecWarning,
)

DESCRIBE_SECONDS = 120.0


@dataclass(frozen=True)
class Prepared:
    """A deployment with the local path of each component's artefact, or the reason why it cannot start."""

    deployment: Deployment
    paths: dict[str, Path] = field(default_factory=dict)
    error: TiffinError | None = None


@dataclass(frozen=True)
class Settings:
    """How files are read. ``domain`` ends host names; ``trust`` opens pickles that are not on the allow-list."""

    domain: str
    trust: bool = False


Progress = Callable[[str, int, int | None], None]
"""An address, the bytes that came, and how many there will be (``None``: unknown); called from threads."""


def read(paths: Sequence[Path], domain: str) -> list[Deployment]:
    """All deployments of the paths, as written; raises SpecError."""
    return [deployment for path in paths for deployment in dialects.read(path, domain=domain)]


async def prepare(
    paths: Sequence[Path], settings: Settings, data: DataDirectory, *, progress: Progress
) -> tuple[list[Prepared], list[SpecWarning]]:
    """Read, describe services, settle names and addresses, fetch artefacts; raises SpecError."""
    written = await threads.in_daemon(partial(read, paths, settings.domain))
    described = await asyncio.gather(*(_described(deployment, settings, data) for deployment in written))
    combined, warnings = dialects.combine([deployment for deployment, _ in described])
    prepared = await asyncio.gather(
        *(
            threads.in_daemon(partial(_fetch, deployment, error, settings, data, progress))
            for deployment, (_, error) in zip(combined, described, strict=True)
        )
    )
    return prepared, warnings


async def _described(
    deployment: Deployment, settings: Settings, data: DataDirectory
) -> tuple[Deployment, TiffinError | None]:
    """The deployment with what its service says of itself; with the error when that cannot be learnt."""
    for component in deployment.components:
        if isinstance(component.source, ServiceSource):
            try:
                component, directory = _located(component, settings, data, lambda *_: None)
                description = await describe(component, directory)
                return bentoml.with_description(deployment, description, domain=settings.domain), None
            except TiffinError as error:
                return deployment, error
    return deployment, None


async def describe(component: Component, directory: Path) -> ServiceDescription:
    """Ask a process of its own to import the service; raises ServiceError with what it printed."""
    assert isinstance(component.source, ServiceSource)
    target = component.source.target
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tiffin.service", "describe", target, "--directory", str(directory)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **component.environment},
    )
    try:
        output, said = await asyncio.wait_for(process.communicate(), DESCRIBE_SECONDS)
    except TimeoutError as error:
        raise ServiceError(
            f"importing {target} in {directory} took longer than {DESCRIBE_SECONDS:.0f} s"
        ) from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return description_of(target, directory, process.returncode or 0, output, said)


def description_of(target: str, directory: Path, code: int, output: bytes, said: bytes) -> ServiceDescription:
    """What the describing process printed, read; raises ServiceError with the reason it gives."""
    try:
        if code == 0:
            return msgspec.json.decode(output, type=ServiceDescription)
        failure = msgspec.json.decode(output, type=_Failure)
    except msgspec.DecodeError as error:
        last = said.decode("utf-8", "replace").strip().rpartition("\n")[2] or f"exit code {code}"
        raise ServiceError(f"{target} in {directory} gave no description: {last}") from error
    # Nothing else keeps the traceback: this process has no log.
    trace = f"\n{textwrap.indent(failure.traceback, '    ')}" if failure.traceback else ""
    raise ServiceError(f"{failure.message}{trace}", hint=failure.hint)


class _Failure(msgspec.Struct):
    message: str
    hint: str | None = None
    traceback: str | None = None


def _fetch(
    deployment: Deployment,
    error: TiffinError | None,
    settings: Settings,
    data: DataDirectory,
    progress: Progress,
) -> Prepared:
    if error is not None:
        return Prepared(deployment, error=error)
    components, paths = [], {}
    try:
        for component in deployment.components:
            located, paths[component.name] = _located(component, settings, data, progress)
            components.append(located)
    except TiffinError as failure:
        return Prepared(deployment, error=failure)
    return Prepared(msgspec.structs.replace(deployment, components=tuple(components)), paths)


def _located(
    component: Component, settings: Settings, data: DataDirectory, progress: Progress
) -> tuple[Component, Path]:
    """The component as a replica is told of it, and where its artefact is; raises TiffinError."""
    source = component.source
    if isinstance(source, ModelSource):
        from tiffin.models import storage

        path = storage.fetch(
            source.artefact.uri,
            base=Path(source.artefact.base).absolute(),
            cache=data.cache,
            progress=lambda so_far: progress(so_far.uri, so_far.done, so_far.total),
        )
        trusted = msgspec.structs.replace(source, trust=source.trust or settings.trust)
        return msgspec.structs.replace(component, source=trusted), path
    if isinstance(source, ContainerSource):
        raise BundleError(f"the image {source.image} is not in the local bundle store, and no engine runs it here")
    directory = _directory(source)
    if directory is None:
        return _from_bundle(component, source, data)
    if not source.target:
        raise AuthorError(
            f"which class of {directory} is to run is not said",
            hint="build a bundle of it: tiffin build -t NAME DIR",
        )
    return component, directory


def _directory(source: ClassSource | ServiceSource) -> Path | None:
    """The directory the artefact names; ``None`` when it is the tag of an image or bundle."""
    if isinstance(source, ClassSource) and source.image:
        return None
    path = Path(source.artefact.base or ".", source.artefact.uri).absolute()
    return path if path.is_dir() else None


def _from_bundle(
    component: Component, source: ClassSource | ServiceSource, data: DataDirectory
) -> tuple[Component, Path]:
    from tiffin.bundle.store import BundleStore

    tag = source.artefact.uri
    try:
        bundle = BundleStore(data.bundles).get(tag)
    except BundleError as error:
        if isinstance(source, ClassSource) and source.image:
            raise BundleError(
                f"the image {tag} is not in the local bundle store ({error.message})",
                hint=f"make it of the directory with the class: tiffin build -t {tag} DIR",
            ) from error
        raise
    found = msgspec.structs.replace(source, target=source.target or bundle.target)
    environment = {**bundle.manifest.environment, **component.environment}
    return msgspec.structs.replace(component, source=found, environment=environment), bundle.source
