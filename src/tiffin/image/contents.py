"""The layers that are Tiffin's own making: the environment around the packages, the models, the sources."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import msgspec

from tiffin.bundle import Bundle, programs
from tiffin.bundle.manifest import MANIFEST, SBOM
from tiffin.image import members, places
from tiffin.image.base import Base
from tiffin.image.members import Member
from tiffin.store.files import File
from tiffin.store.manifest import FILES
from tiffin.store.manifest import MANIFEST as MODEL_MANIFEST
from tiffin.store.models import StoredModel
from tiffin.store.reference import Reference
from tiffin.store.reference import parse as parse_reference

_NAME = "tiffin"
_NOLOGIN = "/sbin/nologin"


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """What ``tiffin.image.entry`` starts: ``target`` are words of ``tiffin serve``, or a program's own."""

    kind: str
    target: list[str]
    arguments: list[str] = []
    directory: str = f"/{places.BUNDLE}/src"


def start(bundle: Bundle) -> Start:
    """How a bundle is served in an image. A program of KServe's is served by Tiffin, any other by itself."""
    manifest = bundle.manifest
    if manifest.kind != "program":
        return Start(kind="serve", target=[manifest.target])
    words = shlex.split(manifest.target)
    arguments = [] if manifest.arguments is msgspec.UNSET else list(manifest.arguments)
    if len(words) == 2 and words[1].endswith(".py") and programs.uses_kserve(bundle.source):
        return Start(kind="serve", target=[words[1]])
    return Start(kind="program", target=words, arguments=arguments)


def environment(base: Base, python: str) -> list[Member]:
    """The virtual environment without its packages, the user and its home."""
    interpreter = base.look.pythons[python]
    settings = (
        f"home = {interpreter.rpartition('/')[0]}\ninclude-system-site-packages = false\nversion = {python}\n"
    )
    prefix = places.PREFIX
    made = [
        members.text(f"{prefix}/pyvenv.cfg", settings),
        members.symlink(f"{prefix}/bin/python", interpreter),
        members.symlink(f"{prefix}/bin/python3", "python"),
        members.symlink(f"{prefix}/bin/python{python}", "python"),
        members.directory(places.HOME, 0o775, uid=places.USER, gid=places.GROUP),
        # Where BentoML's users look.
        members.symlink("home/bentoml", "tiffin"),
        members.symlink(f"{places.HOME}/bento", "bundle"),
    ]
    texts = base.look.texts
    user = f"{_NAME}:x:{places.USER}:{places.USER}:Tiffin:/{places.HOME}:{_NOLOGIN}\n"
    made.append(members.text("etc/passwd", _with_line(texts.get("etc/passwd", ""), user)))
    made.append(members.text("etc/group", _with_line(texts.get("etc/group", ""), f"{_NAME}:x:{places.USER}:\n")))
    return members.tree(prefix, made)


def _with_line(text: str, line: str) -> str:
    """An account file with one account more, unless its name is taken."""
    name = line.partition(":")[0]
    if any(held.startswith(f"{name}:") for held in text.splitlines()):
        return text
    return (text if not text or text.endswith("\n") else text + "\n") + line


def model(stored: StoredModel) -> list[Member]:
    """A model as the model store in the image has it, without the tags that lead to it."""
    place = f"{places.HOME}/models/content/{stored.digest}"
    made = [members.text(f"{place}/{MODEL_MANIFEST}", stored.manifest.encode())]
    made += _files(stored.files, stored.path, f"{place}/{FILES}")
    return members.tree(f"{places.HOME}/models", made)


def sources(bundle: Bundle, models: Sequence[tuple[str, str]]) -> list[Member]:
    """The bundle, how it is started, and the tags of its models (tag and digest)."""
    made = [members.text(f"{places.BUNDLE}/{MANIFEST}", bundle.manifest.encode())]
    made += _files(bundle.manifest.files, bundle.source, f"{places.BUNDLE}/src")
    if (bundle.path / SBOM).is_file():
        made.append(members.file(f"{places.BUNDLE}/{SBOM}", bundle.path / SBOM))
    for tag, digest in models:
        name: Reference = parse_reference(tag)
        made.append(members.text(f"{places.HOME}/models/tags/{name.file}/{name.version}", f"{digest}\n"))
    made.append(members.directory(f"{places.BUNDLE}/src"))
    made.append(members.text(places.START, msgspec.json.encode(start(bundle))))
    return [one for one in members.tree(places.HOME, made) if one.path != places.HOME]


def _files(files: Sequence[File], origin: Path, place: str) -> list[Member]:
    return [
        members.symlink(f"{place}/{one.path}", one.link)
        if one.link
        else members.file(
            f"{place}/{one.path}", origin / one.path, mode=0o755 if one.executable else 0o644, size=one.size
        )
        for one in files
    ]
