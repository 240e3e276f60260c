"""The other way: a Dockerfile for a container engine, and the directory it is built from.

The image is used as the one that is written directly: same places, same user, same entry point.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

import pathspec

from tiffin.bundle import Bundle
from tiffin.bundle.manifest import Recipe
from tiffin.image import config, contents, members, own, packages, places, wheels
from tiffin.image.base import Base
from tiffin.image.layers import saving
from tiffin.image.looking import Look
from tiffin.image.members import Member
from tiffin.store.models import StoredModel

_NAME = "Dockerfile"
_INSTALL = {
    "debian": "apt-get update && apt-get install --yes --no-install-recommends {} && rm -rf /var/lib/apt/lists/*",
    "alpine": "apk add --no-cache {}",
}


def write(directory: Path, bundle: Bundle, models: Sequence[StoredModel], *, base: str, python: str) -> Path:
    """Write the Dockerfile and everything it copies into a directory that is empty or not there.

    Raises:
        StorageError: it cannot be written.
    """
    recipe = bundle.manifest.recipe
    recipe = recipe if isinstance(recipe, Recipe) else Recipe()
    with saving(directory):
        directory.mkdir(parents=True, exist_ok=True)
        requirements = recipe.locked or bundle.manifest.requirements
        (directory / "requirements.txt").write_text(requirements, encoding="utf-8")
        (directory / "constraints.txt").write_text(_pins(recipe.locked), encoding="utf-8")
        (directory / "own").mkdir(exist_ok=True)
        wheel = own.write(directory / "own")
        tags = [(one.tag, one.digest) for one in models]
        lay(contents.sources(bundle, tags), directory / "files")
        for one in models:
            lay(contents.model(one), directory / "files")
        included = _included(bundle, recipe, directory / "include")
        text = render(
            bundle,
            recipe,
            base=base,
            python=python,
            wheel=wheel.name,
            has_requirements=bool(requirements.strip()),
            is_included=included,
        )
        (directory / _NAME).write_text(text, encoding="utf-8")
        (directory / ".dockerignore").write_text(f"{_NAME}\n.dockerignore\n", encoding="utf-8")
    return directory / _NAME


def render(
    bundle: Bundle,
    recipe: Recipe,
    *,
    base: str,
    python: str,
    wheel: str,
    has_requirements: bool,
    is_included: bool,
) -> str:
    """The Dockerfile. Pure."""
    start = contents.start(bundle)
    prefix, home, source = f"/{places.PREFIX}", f"/{places.HOME}", start.directory
    lines = [f"FROM {base}", "USER root"]
    if recipe.system_packages:
        names = shlex.join(recipe.system_packages)
        lines.append(f"RUN {_INSTALL['alpine' if recipe.distro == 'alpine' else 'debian'].format(names)}")
    lines.append(f"WORKDIR {source}")
    if is_included:
        lines.append("COPY include/ ./")
    lines += [f"RUN {command}" for command in recipe.commands]
    lines.append(f"RUN python{python} -m venv {prefix}")
    if has_requirements:
        hashed = " --require-hashes" if "--hash" in recipe.locked else ""
        lines += [
            "COPY requirements.txt /tmp/requirements.txt",
            f"RUN {prefix}/bin/python -m pip install --no-cache-dir{hashed} -r /tmp/requirements.txt",
        ]
    # Tiffin keeps to the versions it was made with, where the bundle has not chosen others.
    lines += [
        "COPY own/ constraints.txt /tmp/own/",
        f"RUN {prefix}/bin/python -m pip freeze > /tmp/own/theirs.txt"
        f" && {prefix}/bin/python -m pip install --no-cache-dir -c /tmp/own/constraints.txt"
        f" -r /tmp/own/theirs.txt /tmp/own/{wheel}"
        " && rm -rf /tmp/own",
    ]
    lines += [f"RUN {command}" for command in recipe.post_commands]
    lines += [
        "COPY files/ /",
        f"RUN mkdir -p {home} && chown {places.USER}:{places.GROUP} {home} && chmod 0775 {home}"
        f" && ln -s tiffin /home/bentoml && ln -s bundle {home}/bento",
    ]
    nothing = Base(name=base, origin=base, digest="", layers=[], diff_ids=[], config={}, history=[], look=Look())
    variables = config.variables(bundle, nothing)
    path = f"{prefix}/bin:$PATH"
    for name, value in variables.items():
        lines.append(f"ENV {name}={path if name == 'PATH' else _quoted(value)}")
    labels = config.labels(bundle, nothing, version=own.installed().get("tiffin", ""), created="")
    lines += [f"LABEL {_quoted(name)}={_quoted(value)}" for name, value in sorted(labels.items())]
    check = json.dumps(config.health(python, start))
    lines += [
        f"EXPOSE {places.PORT}",
        "STOPSIGNAL SIGTERM",
        f"HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD {check}",
        f"USER {places.USER}",
        f"WORKDIR {source}",
        f"ENTRYPOINT {json.dumps(config.ENTRY)}",
    ]
    return "\n".join(lines) + "\n"


def _pins(locked: str) -> str:
    """The versions Tiffin is known to run with; none where a bundle has no lock, and may choose others."""
    if not locked:
        return ""
    theirs = {wheels.normal(matched[1]) for matched in packages.PINNED.finditer(locked)} | {own.NAME}
    return "".join(
        f"{name}=={version}\n"
        for name, version in sorted(own.installed().items())
        if wheels.normal(name) not in theirs
    )


def _quoted(value: str) -> str:
    """A value as a Dockerfile reads it back: quotes, backslashes and dollars stand for themselves."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$").replace("\n", " ")
    return f'"{escaped}"'


def _included(bundle: Bundle, recipe: Recipe, place: Path) -> bool:
    """Copy the files that commands need before the packages are there; whether there are any."""
    if not recipe.build_include:
        return False
    patterns = pathspec.GitIgnoreSpec.from_lines(recipe.build_include)
    found = False
    for one in bundle.manifest.files:
        if not one.link and patterns.match_file(one.path):
            target = place / one.path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(bundle.source / one.path, target)
            target.chmod(0o755 if one.executable else 0o644)
            found = True
    return found


def lay(parts: Sequence[Member], directory: Path) -> None:
    """Write members below a directory, as a layer would have them."""
    for one in sorted(parts, key=lambda member: member.path):
        target = directory / one.path
        target.parent.mkdir(parents=True, exist_ok=True)
        if one.kind == "directory":
            target.mkdir(exist_ok=True)
        elif one.kind == "symlink":
            target.unlink(missing_ok=True)
            os.symlink(one.target, target)
        elif one.content is not None:
            with one.content() as source, target.open("wb") as copy:
                shutil.copyfileobj(source, copy, members.CHUNK)
            target.chmod(one.mode)
