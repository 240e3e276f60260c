"""Tags of the stores, where a command also takes other things."""

from __future__ import annotations

import contextlib
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from tiffin.cli import output

if TYPE_CHECKING:
    from tiffin.bundle import Bundle
    from tiffin.runtime.target import Target


def adopt(tag: str) -> None:
    """Make a bundle of a bento of BentoML's store, when only that has the tag."""
    from tiffin.bundle import BundleStore, bentos
    from tiffin.errors import BundleError
    from tiffin.kits import paths
    from tiffin.store.models import ModelStore

    data = paths.data_directory()
    bundles = BundleStore(data.bundles)
    with contextlib.suppress(BundleError):
        bundles.find(tag)
        return
    made = bentos.adopt(bundles, ModelStore(data.models), tag)
    if made is not None:
        output.say(f"made a bundle of {made} in BentoML's store")


def target_of(text: str, directory: Path) -> Target | None:
    """The bundle that ``tiffin serve TARGET`` means; None when the target is something else.

    What is in the directory comes first: ``service:Iris`` is a class of ``service.py``, if there is one. The
    variables a bundle was built with are set, unless the shell has them.
    """
    from tiffin.bundle import bentos
    from tiffin.errors import BundleError
    from tiffin.kits import paths

    module = text.partition(":")[0]
    base = directory / module.replace(".", "/")
    if "://" in text or not text or (directory / text).exists() or text.startswith((".", "/")):
        return None
    # A directory alone is no module: iris:v1 is a bundle also where its project lies in iris/.
    places = (directory / module, base.with_name(f"{base.name}.py"), base / "__init__.py")
    if any(place.is_file() for place in places):
        return None
    try:
        bundle = bentos.get(text, paths.data_directory())
    except BundleError as error:
        if error.message.startswith(("there is no bundle", "expected name:version")):
            return None
        raise
    for name, value in bundle.manifest.environment.items():
        os.environ.setdefault(name, value)
    return _target(text, bundle)


def _target(text: str, bundle: Bundle) -> Target:
    from tiffin.runtime.target import Target
    from tiffin.spec import Artefact, ClassSource, ContainerSource, ServiceSource

    name = text.partition(":")[0].rpartition("/")[2]
    artefact = Artefact(str(bundle.source))
    source: ServiceSource | ClassSource | ContainerSource
    if bundle.kind == "service":
        source = ServiceSource(artefact=artefact, target=bundle.target)
    elif bundle.kind == "class":
        source = ClassSource(artefact=artefact, target=bundle.target)
    else:
        source = ContainerSource(
            image=text,
            bundle=bundle.digest,
            command=tuple(shlex.split(bundle.target)),
            arguments=bundle.manifest.arguments or (),
        )
    return Target(source, bundle.source, name)
