"""Deployments with the addresses that each has beside the others: what several want goes to the first. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tiffin import dialects
from tiffin.errors import SpecError
from tiffin.spec import Deployment


def together(deployments: Sequence[Deployment]) -> list[Deployment]:
    """The same deployments, their names kept; raises SpecError when they cannot be routed together."""
    found, _ = dialects.combine([msgspec.structs.replace(one, derived_name=False) for one in deployments])
    return found


class Settling:
    """Remembers the last answer: everything that is shown of one deployment asks for all of them."""

    def __init__(self) -> None:
        self._asked: list[Deployment] = []
        self._settled: dict[str, Deployment] = {}

    def of(self, deployment: Deployment, every: Sequence[Deployment]) -> Deployment:
        """The deployment among ``every``; as it is when they cannot be routed together."""
        # The very same objects: a spec is never changed, and comparing them would take as long as settling.
        if len(every) != len(self._asked) or any(a is not b for a, b in zip(every, self._asked, strict=True)):
            try:
                self._settled = {one.key: one for one in together(every)}
            except SpecError:
                self._settled = {}
            self._asked = list(every)
        return self._settled.get(deployment.key, deployment)
