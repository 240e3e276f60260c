"""How a class is named in files: one grammar for ``module:Class`` and for Seldon's ``MODEL_NAME``."""

from __future__ import annotations

import re

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
