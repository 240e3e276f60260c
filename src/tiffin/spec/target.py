"""How what is served is named: one grammar for command lines, build files and Seldon's ``MODEL_NAME``. Pure.

target     = place [":" attribute]
place      = module | file
module     = name *("." name)              package.module
file       = path, ending in ".py"         ./service.py, src/iris/service.py
attribute  = name *("." name)              Iris, Outer.inner
"""

from __future__ import annotations

import re
from typing import NamedTuple

from tiffin.errors import SpecError

_DOTTED = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*"
_TARGET = re.compile(rf"(?P<module>{_DOTTED}):(?P<name>{_DOTTED})")
_NAME = re.compile(_DOTTED)


def class_target(text: str) -> str:
    """``module:Class`` from any way to write it.

    ``Iris`` is class Iris of module Iris; ``package.module.Iris`` is class Iris of package.module, as Seldon
    reads its MODEL_NAME; ``module:Iris`` stays. ``Iris.py`` is taken for ``Iris``.

    Raises:
        SpecError: it is none of these.
    """
    text = text.strip().removesuffix(".py")
    if _TARGET.fullmatch(text):
        return text
    if _NAME.fullmatch(text):
        module, _, name = text.rpartition(".")
        return f"{module or name}:{name}"
    raise SpecError(f"expected module:Class or the name of a class, found {text!r}")


class Named(NamedTuple):
    """A target taken apart: either ``module`` or ``file`` is set; ``attribute`` is empty where none is named."""

    module: str
    file: str
    attribute: str

    @property
    def path(self) -> str:
        """The file, from the directory the target is looked for in; for a module that is no package."""
        return self.file or f"{self.module.replace('.', '/')}.py"

    def __str__(self) -> str:
        place = self.file or self.module
        return f"{place}:{self.attribute}" if self.attribute else place


def parse(text: str) -> Named | None:
    """A target's parts; ``None`` for a text that is none, such as ``.``, ``model.joblib`` or ``s3://bucket``."""
    place, colon, attribute = text.rpartition(":")
    if not colon:
        place, attribute = text, ""
    elif not _NAME.fullmatch(attribute):
        return None
    if place.endswith(".py"):
        return Named("", place.removeprefix("./"), attribute)
    if _NAME.fullmatch(place):
        return Named(place, "", attribute)
    return None


def module_target(text: str) -> str | None:
    """``module:Attribute`` for files, too, as a bundle has them: its files are found from its top."""
    found = parse(text)
    if found is None:
        return None
    module = found.module or found.file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    if not _NAME.fullmatch(module):
        return None
    return f"{module}:{found.attribute}" if found.attribute else module
