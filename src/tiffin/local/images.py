"""What an image stands for on this machine: a local bundle of that tag, else what a container engine has."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import msgspec

from tiffin.errors import BundleError
from tiffin.kits.paths import DataDirectory
from tiffin.local import engine as engines
from tiffin.local.engine import EngineAbsent
from tiffin.models import storage
from tiffin.spec import Component, ContainerSource
from tiffin.spec.deployment import Artefact


def located(
    component: Component, data: DataDirectory, *, progress: Callable[[storage.Progress], None] | None = None
) -> tuple[Component, Path]:
    """The component as a launcher is told of it, and the directory it starts in; blocking.

    Mounts are fetched, and their addresses are local paths from here on.

    Raises:
        BundleError: neither a bundle nor an engine has the image; the text says what to do.
        StorageError: a mount cannot be fetched.
    """
    source = component.source
    assert isinstance(source, ContainerSource)
    source = msgspec.structs.replace(source, mounts=_fetched(source, data, progress))
    try:
        return _from_bundle(component, source, data)
    except BundleError as error:
        missing = error
    try:
        engine = engines.find()
    except EngineAbsent as absent:
        raise BundleError(
            f"the image {source.image} is not in the local bundle store ({missing.message}), and {absent.message}",
            hint=f"make a bundle of its sources: tiffin build -t {source.image} DIR; or {absent.hint}",
        ) from missing
    if not engine.has_image(source.image):
        raise BundleError(
            f"the image {source.image} is neither in the local bundle store nor in the container engine",
            hint=f"docker pull {source.image}, or make a bundle of it: tiffin build -t {source.image} DIR",
        ) from missing
    return msgspec.structs.replace(component, source=source), data.root


def _fetched(
    source: ContainerSource, data: DataDirectory, progress: Callable[[storage.Progress], None] | None
) -> dict[str, Artefact]:
    found = {}
    for place, artefact in source.mounts.items():
        path = storage.fetch(
            artefact.uri,
            base=Path(artefact.base).absolute(),
            cache=data.cache,
            progress=progress,
            credentials=source.credentials,
        )
        found[place] = Artefact(uri=str(path))
    return found


def _from_bundle(component: Component, source: ContainerSource, data: DataDirectory) -> tuple[Component, Path]:
    from tiffin.bundle.store import BundleStore

    bundle = BundleStore(data.bundles).get(source.image)
    if bundle.kind != "program":
        raise BundleError(
            f"the bundle {source.image} is a {bundle.kind}, and a program is wanted here",
            hint=f"build it as one: tiffin build -t {source.image} --kind program DIR",
        )
    manifest = bundle.manifest
    # An image's command replaces its ENTRYPOINT and CMD, its arguments replace CMD alone.
    defaults = () if source.command or manifest.arguments is msgspec.UNSET else manifest.arguments
    found = msgspec.structs.replace(
        source,
        bundle=bundle.digest,
        command=source.command or tuple(shlex.split(bundle.target)),
        arguments=source.arguments or defaults,
    )
    environment = {**manifest.environment, **component.environment}
    return msgspec.structs.replace(component, source=found, environment=environment), bundle.source
