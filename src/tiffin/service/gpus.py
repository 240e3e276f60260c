"""Which GPUs a service sees, where it asks for some and nobody has chosen: BentoML's rule for one machine."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path

from tiffin.service.settings import Settings

log = logging.getLogger(__name__)

OPT_OUTS = ("TIFFIN_DISABLE_GPU_ALLOCATION", "BENTOML_DISABLE_GPU_ALLOCATION")


def visible_devices(settings: Settings, environment: Mapping[str, str], count: int | None = None) -> str | None:
    """The value of ``CUDA_VISIBLE_DEVICES`` for all workers of a service; ``None`` leaves it as it is.

    It is left when it is set, when one of ``OPT_OUTS`` is, when there is a worker for each core, and when the
    machine has fewer GPUs than are asked for (with a warning). A part of a GPU is the first one.

    Args:
        settings: Of the service.
        environment: Of the process.
        count: GPUs the machine has; looked up without it.
    """
    if settings.gpu is None or settings.workers == "cpu" or "CUDA_VISIBLE_DEVICES" in environment:
        return None
    if any(environment.get(name, "").lower() in ("1", "true", "yes") for name in OPT_OUTS):
        return None
    wanted = max(1, math.ceil(settings.gpu))
    found = nvidia_count() if count is None else count
    if found < wanted:
        log.warning("resources.gpu: expected %d GPUs on this machine, found %d", wanted, found)
        return None
    return ",".join(map(str, range(wanted)))


def nvidia_count(directory: Path = Path("/proc/driver/nvidia/gpus")) -> int:
    """How many NVIDIA GPUs the driver knows."""
    try:
        return sum(1 for _ in directory.iterdir())
    except OSError:
        return 0
