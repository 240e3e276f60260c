"""Which parts a controller is made of on this machine: those whose packages are installed."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from tiffin.local.containers import Containers
from tiffin.local.home import Home
from tiffin.local.judging import Judge
from tiffin.local.launching import Processes
from tiffin.local.limits import Limited
from tiffin.local.programs import Programs
from tiffin.local.scaling import Autoscaler
from tiffin.local.zygotes import Zygotes


def has_api() -> bool:
    """Whether the API and the activator can be served."""
    return find_spec("aiohttp") is not None


def of(home: Home) -> dict[str, Any]:
    """Arguments of ``Controller`` beside its home and its gateway."""
    found: dict[str, Any] = {
        "launchers": [
            Limited(Zygotes(home.sockets, home.orders, home.logs)),
            Limited(Programs(home.data)),
            Containers(home.run),
            Limited(Processes()),
        ],
        "decider": Autoscaler(),
        "judge": Judge(home.data.root / "recordings"),
    }
    if has_api():
        from tiffin.local.activator import Activator

        found["activator"] = Activator()
    return found
