"""CustomResourceDefinitions: the kinds that Tiffin serves, as an API server checks them. Pure.

``own`` is generated from the table that parses Tiffin's file; ``kserve`` and ``seldon`` say the fields that the
dialects read. What can be said of a field is in the schema, what holds between fields in CEL rules, so that
``kubectl apply`` refuses a bad object without a webhook. Pods and containers are taken as they are, which keeps
each definition at some kB.
"""

from __future__ import annotations

from collections.abc import Iterable

from tiffin.errors import SpecError
from tiffin.kube.crds.kserve import definitions as of_kserve
from tiffin.kube.crds.own import definitions as of_tiffin
from tiffin.kube.crds.seldon import definitions as of_seldon
from tiffin.kube.manifests import Manifest

GROUPS = {"kserve": of_kserve, "seldon": of_seldon, "tiffin": of_tiffin}
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
