"""A whole build: the sources' plan, completed with what the service says, its environment, models and origin."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from tiffin.bundle import describing, locking, pinning, provenance, requirements, sbom, selection
from tiffin.bundle.manifest import FORMAT, Kind, Manifest, Recipe
from tiffin.bundle.plan import Plan, plan
from tiffin.bundle.recipe import Around, around, python_version
from tiffin.errors import BundleError
from tiffin.kits.names import snake_case
from tiffin.kits.paths import DataDirectory
from tiffin.service import arguments
from tiffin.spec import ServiceDescription, SpecWarning
from tiffin.store.files import record, sha256_of

DATA_LABELS = ("training-data", "training_data")
ARGUMENTS = arguments.VARIABLES[0]

_HONOURED = frozenset(
    {"docker.distro", "docker.python_version", "docker.system_packages", "docker.setup_script",
     "docker.base_image", "docker.env", "models", "args"}
)  # fmt: skip
_NOT_IN_IMAGES = {
    "cuda_version": "is not acted on: name an image with CUDA in docker.base_image",
    "dockerfile_template": "is not acted on: use docker.setup_script, or commands of images.Image",
}


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What a build is asked for.

    ``target``, ``kind`` and ``bentofile`` are as for ``plan``; ``labels`` stand above those of the build file;
    ``arguments`` are the service's own; ``data`` refers to the training data; ``platform`` is what to resolve
    for (this machine when empty); ``most_bytes`` limits the sources.
    """

    target: str = ""
    kind: Kind | None = None
    bentofile: Path | None = None
    labels: dict[str, str] = {}
    arguments: dict[str, Any] = {}
    data: str = ""
    platform: str = ""
    is_importing: bool = True
    is_locking: bool = True
    most_bytes: int = selection.MOST_BYTES


def prepare(directory: Path, wish: Wish, data: DataDirectory, *, say: Callable[[str], None] | None = None) -> Plan:
    """Decide what a build makes, as ``plan`` does, and complete it; writes nothing but locks to be used again.

    Args:
        directory: holds the sources.
        wish: what is asked for.
        data: where models and locks are.
        say: told what is going on, for what can take long.

    Raises:
        BundleError: it cannot be built: a file, requirement or target.
        ServiceError: the service cannot be imported, or a signature cannot be served.
        ModelError: a model it needs is not there.
        SpecError: the build file is malformed.
    """
    made = plan(
        directory, target=wish.target, kind=wish.kind, bentofile=wish.bentofile, most_bytes=wish.most_bytes
    )
    described = _described(made, wish, say)
    found = around(made.root, made.config, described.image if described else None)
    made = _with_files(made, found)
    python = python_version(found.python, made.manifest.python)
    recipe = _locked(found, wish, python, data, made.root, say)
    models = pinning.pinned(made.config.models if made.config else (), described.models if described else (), data)
    labels = {**(described.labels if described else {}), **made.manifest.labels, **wish.labels}
    reference = wish.data or next((labels[name] for name in DATA_LABELS if name in labels), "")
    origin = provenance.of(
        made.root, {_below(made, path) for path in made.origins}, data=reference, inputs=_inputs(made, found)
    )
    packages = requirements.pinned(recipe.locked or found.requirements)
    bill = sbom.document(
        name=made.manifest.target, builder=origin.builder, python=python, packages=packages, models=models
    )
    given = {**(made.config.args if made.config else {}), **wish.arguments}
    text = _text(made, described)
    manifest = msgspec.structs.replace(
        made.manifest,
        format=FORMAT,
        target=described.target if described and described.target else made.manifest.target,
        python=python,
        requirements=found.requirements,
        labels=labels,
        environment=_environment(made, described, found, given),
        recipe=recipe,
        models=models or msgspec.UNSET,
        schema=described.schema if described else msgspec.UNSET,
        provenance=origin,
        sbom=hashlib.sha256(bill).hexdigest(),
        description=text or msgspec.UNSET,
        options=given or msgspec.UNSET,
    )
    return msgspec.structs.replace(
        made,
        manifest=manifest,
        sbom=bill,
        name=_name(made, described),
        warnings=_warnings(made, described, found, manifest),
    )


def _described(made: Plan, wish: Wish, say: Callable[[str], None] | None) -> ServiceDescription | None:
    if made.manifest.kind != "service" or not wish.is_importing:
        return None
    if say is not None:
        say(f"importing {made.manifest.target} in a process of its own")
    environment = dict(made.manifest.environment)
    given = {**(made.config.args if made.config else {}), **wish.arguments}
    if given:
        environment[ARGUMENTS] = _json(given)
    if made.config is not None and made.config.python.is_src_layout:
        before = os.environ.get("PYTHONPATH", "")
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(made.root / "src"), before)))
    return describing.describe(made.manifest.target, made.root, environment)


def _with_files(made: Plan, found: Around) -> Plan:
    """The plan with files that the recipe needs, whatever the patterns say."""
    missing = sorted(set(found.files) - made.origins.keys())
    if not missing:
        return made
    files = (*made.manifest.files, *(record(made.root, path) for path in missing))
    return msgspec.structs.replace(
        made,
        manifest=msgspec.structs.replace(made.manifest, files=tuple(sorted(files, key=lambda f: f.path))),
        origins={**made.origins, **{path: made.root / path for path in missing}},
    )


def _locked(
    found: Around, wish: Wish, python: str, data: DataDirectory, root: Path, say: Callable[[str], None] | None
) -> Recipe:
    if not (wish.is_locking and found.is_locking):
        return found.recipe
    if found.own_lock:
        lock = locking.canonical(found.own_lock)
        return msgspec.structs.replace(found.recipe, locked=lock)
    platform = wish.platform or locking.host_platform()
    wanted = locking.Wanted(
        requirements=found.requirements,
        constraints=found.constraints,
        python=python,
        platform=platform,
        arguments=found.arguments,
    )
    lock = locking.lock(wanted, data.cache / "requirements", root=root, say=say)
    return msgspec.structs.replace(found.recipe, locked=lock, platform=platform if lock else "")


def _environment(
    made: Plan, described: ServiceDescription | None, found: Around, given: Mapping[str, Any]
) -> dict[str, str]:
    """Variables: the decorator's, then files', then the build file's; the later one counts."""
    own = {
        v.name: v.value
        for v in (described.envs if described else ())
        if v.value is not None and v.stage != "build"
    }
    environment = {**own, **found.environment, **made.manifest.environment}
    return environment | ({ARGUMENTS: _json(given)} if given else {})


def _inputs(made: Plan, found: Around) -> dict[str, str]:
    """Digests of what was read beside the sources, by path below the directory, or by name from elsewhere."""
    inputs = dict(found.inputs)
    if made.config is not None and made.config.file:
        file = Path(made.config.file).resolve()
        name = file.relative_to(made.root).as_posix() if file.is_relative_to(made.root) else file.name
        inputs[name] = sha256_of(file)[0]
    return dict(sorted(inputs.items()))


def _below(made: Plan, path: str) -> str:
    """The path of a bundle's file in its directory, as git knows it."""
    return made.origins[path].relative_to(made.root).as_posix()


def _text(made: Plan, described: ServiceDescription | None) -> str:
    text = made.config.description if made.config else ""
    if text.startswith("file:"):
        name = text.removeprefix("file:").strip()
        place = (made.root / name).resolve()
        if not place.is_relative_to(made.root) or not place.is_file():
            raise BundleError(f"expected a file inside the directory, found {name!r}", at="description")
        text = place.read_text(encoding="utf-8", errors="replace").replace("\r\n", "\n")
    return text or (described.text if described else "")


def _name(made: Plan, described: ServiceDescription | None) -> str:
    if described is not None and not (made.config and made.config.name):
        return snake_case(described.name, "service")
    return made.name


def _warnings(
    made: Plan, described: ServiceDescription | None, found: Around, manifest: Manifest
) -> tuple[SpecWarning, ...]:
    warnings = [warning for warning in made.warnings if warning.path not in _HONOURED]
    docker = made.config.docker if made.config else None
    for name, message in _NOT_IN_IMAGES.items():
        if docker is not None and getattr(docker, name):
            warnings = [w for w in warnings if w.path != f"docker.{name}"]
            warnings.append(SpecWarning(f"docker.{name}", message))
    warnings += found.warnings
    for text in described.warnings if described else ():
        if not text.startswith("image:"):
            path, _, message = text.partition(": ")
            warnings.append(SpecWarning(path, message) if message else SpecWarning(manifest.target, text))
    for file in selection.large(manifest.files):
        warnings.append(
            SpecWarning(
                file.path,
                f"is {selection.readable(file.size)}: exclude it, or put models into the model store",
            )
        )
    if manifest.kind == "service" and described is None:
        warnings.append(SpecWarning(manifest.target, "was not imported: the bundle has no schema"))
    return tuple(warnings)


def _json(value: Any) -> str:
    return msgspec.json.encode(value, order="sorted").decode()
