"""CustomResourceDefinitions: the kinds that Tiffin serves, as an API server checks them. Pure.

``own`` is generated from the table that parses Tiffin's file; ``kserve`` and ``seldon`` say the fields that the
dialects read. What can be said of a field is in the schema, what holds between fields in CEL rules, so that
``kubectl apply`` refuses a bad object without a webhook. Pods and containers are taken as they are, which keeps
each definition at some kB.
"""

from __future__ import annotations

from collections.abc import Iterable

from tiffin.errors import SpecError
from tiffin.kube.crds import kserve, own, seldon
from tiffin.kube.manifests import Manifest

GROUPS = {"kserve": kserve.definitions, "seldon": seldon.definitions, "tiffin": own.definitions}
"""Whose kinds there are, by the word that ``tiffin install --crds`` takes."""


def manifests(groups: Iterable[str] = tuple(GROUPS)) -> tuple[Manifest, ...]:
    """The definitions of some of ``GROUPS``, in the order of the table.

    Raises:
        SpecError: there is no such group.
    """
    wanted = tuple(groups)
    for name in wanted:
        if name not in GROUPS:
            raise SpecError(f"expected kinds of {', '.join(GROUPS)}, found {name!r}", at="--crds")
    return tuple(one for name, made in GROUPS.items() if name in wanted for one in made())
