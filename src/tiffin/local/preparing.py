"""What a deployment needs before it can start: a service's description, and artefacts on this disk."""

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

from tiffin.dialects import bentoml, dependencies, seldon_images
from tiffin.errors import AuthorError, BundleError, ServiceError, TiffinError
from tiffin.kits import threads
from tiffin.kits.paths import DataDirectory
from tiffin.local import signatures
from tiffin.spec import (
    ClassSource,
    Component,
    ContainerSource,
    Deployment,
    ModelSource,
    ServiceDescription,
    ServiceSource,
    Variant,
)

DESCRIBE_SECONDS = 120.0


@dataclass(frozen=True)
class Prepared:
    """Components as a replica is told of them, and the local path of each one's artefact, by its name."""

    components: tuple[Component, ...] = ()
    paths: dict[str, Path] = field(default_factory=dict)


Progress = Callable[[str, int, int | None], None]
"""An address, the bytes that came, and how many there will be (``None``: unknown); called from threads."""


async def prepare(components: Sequence[Component], data: DataDirectory, *, progress: Progress) -> Prepared:
    """Fetch what these components need; raises TiffinError for the first that cannot be had."""
    return await threads.in_daemon(partial(_fetch, tuple(components), data, progress))


async def described(
    deployment: Deployment, data: DataDirectory, domain: str
) -> tuple[Deployment, TiffinError | None]:
    """The deployment with what its service says of itself; with the error when that cannot be learnt."""
    try:
        if (component := _service_of(deployment.components)) is not None:
            description = await _description(component, data)
            deployment = bentoml.with_description(deployment, description, domain=domain)
        variants = [await _described_variant(variant, data, deployment.file) for variant in deployment.variants]
    except TiffinError as error:
        return deployment, error
    return msgspec.structs.replace(deployment, variants=tuple(variants)), None


def separated(deployment: Deployment) -> Deployment:
    """The deployment, whose services' dependencies run apart where its file says nothing of them."""

    def separate(components: tuple[Component, ...]) -> tuple[Component, ...]:
        return tuple(
            msgspec.structs.replace(part, dependencies={dependencies.ALL: ""})
            if isinstance(part.source, ServiceSource) and not part.dependencies and not part.is_dependency
            else part
            for part in components
        )

    variants = tuple(
        msgspec.structs.replace(variant, components=separate(variant.components))
        for variant in deployment.variants
    )
    return msgspec.structs.replace(deployment, components=separate(deployment.components), variants=variants)


def _service_of(components: Sequence[Component]) -> Component | None:
    found = (part for part in components if isinstance(part.source, ServiceSource) and not part.is_dependency)
    return next(found, None)


async def _description(component: Component, data: DataDirectory) -> ServiceDescription:
    located, directory = await threads.in_daemon(partial(_located, component, data, _quiet))
    return await describe(located, directory)


async def _described_variant(variant: Variant, data: DataDirectory, place: str) -> Variant:
    """A variant whose service's dependencies run apart, with their components."""
    component = _service_of(variant.components)
    if component is None or not component.dependencies:
        return variant
    description = await _description(component, data)
    others = [part for part in variant.components if part is not component]
    written = [part for part in others if part.is_dependency]
    entry, *parts = dependencies.apart(component, written, description, place=place)
    beside = [part for part in others if not part.is_dependency]
    return msgspec.structs.replace(variant, components=(entry, *beside, *parts))


def trusted(deployment: Deployment) -> Deployment:
    """The deployment, with pickles opened that are not on the allow-list."""
    return msgspec.structs.replace(
        deployment,
        components=_trusted(deployment.components),
        variants=tuple(
            msgspec.structs.replace(variant, components=_trusted(variant.components))
            for variant in deployment.variants
        ),
    )


def _trusted(components: Sequence[Component]) -> tuple[Component, ...]:
    return tuple(
        msgspec.structs.replace(part, source=msgspec.structs.replace(part.source, trust=True))
        if isinstance(part.source, ModelSource)
        else part
        for part in components
    )


def _quiet(uri: str, done: int, total: int | None) -> None:
    """Nobody looks."""


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
        async with asyncio.timeout(DESCRIBE_SECONDS):
            output, said = await process.communicate()
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


def _fetch(components: tuple[Component, ...], data: DataDirectory, progress: Progress) -> Prepared:
    required = signatures.required(components)
    found = {component.name: _located(component, data, progress, required) for component in components}
    return Prepared(
        tuple(component for component, _ in found.values()), {name: path for name, (_, path) in found.items()}
    )


def _located(
    component: Component,
    data: DataDirectory,
    progress: Progress,
    required: Sequence[signatures.Required] | None = None,
) -> tuple[Component, Path]:
    """The component as a replica is told of it, and where its artefact is, once its signatures were checked.

    Raises:
        TiffinError: it cannot be had, or is not signed as is required.
    """
    required = signatures.required([component]) if required is None else required
    found, path = _found(component, data, progress)
    return signatures.checked(found, path, data, required) if required else (found, path)


def _found(component: Component, data: DataDirectory, progress: Progress) -> tuple[Component, Path]:
    """The component and where its artefact is; raises TiffinError."""
    source = component.source
    if isinstance(source, ModelSource):
        from tiffin.models import storage

        path = storage.fetch(
            source.artefact.uri,
            base=Path(source.artefact.base).absolute(),
            cache=data.cache,
            progress=lambda so_far: progress(so_far.uri, so_far.done, so_far.total),
            credentials=source.credentials,
        )
        return component, path
    if isinstance(source, ContainerSource):
        from tiffin.local import images

        return images.located(
            component, data, progress=lambda so_far: progress(so_far.uri, so_far.done, so_far.total)
        )
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
    from tiffin.bundle import bentos

    tag = source.artefact.uri
    try:
        bundle = bentos.get(tag, data)
    except BundleError as error:
        if isinstance(source, ClassSource) and source.image:
            if (program := _in_engine(component, source)) is not None:
                return program, data.root
            raise BundleError(
                f"the image {tag} is not in the local bundle store ({error.message})",
                hint=f"make it of the directory with the class: tiffin build -t {tag} DIR",
            ) from error
        raise
    found = msgspec.structs.replace(source, target=source.target or bundle.target)
    environment = {**bundle.manifest.environment, **component.environment}
    return msgspec.structs.replace(component, source=found, environment=environment), bundle.source


def _in_engine(component: Component, source: ClassSource) -> Component | None:
    """A class's image as a container, where a container engine has it."""
    from tiffin.local import engine

    try:
        if not engine.find().has_image(source.image):
            return None
    except engine.EngineAbsent:
        return None
    return seldon_images.program(component, source)
