"""Which warnings are shown for what was applied. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tiffin.plan.objects import Applied

_ABOUT = re.compile(r"([a-z0-9.-]+/[a-z0-9.-]+) \(")


def about(done: Sequence[Applied], *, prefixed: bool = True) -> list[str]:
    """Each warning once, behind the key of the deployment it is about.

    What is said of deployments that were applied before is no news, and left out.
    """
    keys = {one.key for one in done}
    lines = []
    for one in done:
        for text in map(str, one.warnings):
            said_of = _ABOUT.match(text)
            if said_of is None:
                lines.append(f"{one.key}: {text}" if prefixed else text)
            elif said_of[1] in keys:
                lines.append(text)
    return list(dict.fromkeys(lines))
