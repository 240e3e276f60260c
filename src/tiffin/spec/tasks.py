"""Where the tasks of a deployment are kept, and under which name; pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

VARIABLE = "TIFFIN_TASKS"
BENTOML_VARIABLE = "BENTOML_RESULT_STORE"


def store_url(
    environment: Mapping[str, str], root: Path, *, namespace: str, deployment: str, directory: str = ""
) -> str:
    """The address of the store: what the environment says, else a file of the deployment in the data directory.

    ``directory`` is that of a service that is served without a platform: two projects may both be called ``app``.
    """
    for name in (VARIABLE, BENTOML_VARIABLE):
        if url := environment.get(name):
            return url
    name = f"{namespace}.{deployment}"
    if directory:
        name += f"-{hashlib.sha256(directory.encode()).hexdigest()[:8]}"
    return f"sqlite:///{root / 'tasks' / name}.db"


def queue_name(namespace: str, deployment: str, service: str, variant: str = "") -> str:
    """The queue of a service; a shadow that was sent a copy of a call must not take the task of the real one."""
    return f"{namespace}/{deployment}/{service}" + (f"@{variant}" if variant else "")
