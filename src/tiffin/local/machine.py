"""What this machine has for replicas."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import psutil

from tiffin.autoscale import placement
from tiffin.plan.state import Problem
from tiffin.spec import Component


def here() -> placement.Machine:
    """Cores this process may use, all of the memory, and NVIDIA's GPUs."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    gpus = sum(path.name.removeprefix("nvidia").isdigit() for path in Path("/dev").glob("nvidia*"))
    return placement.Machine(cpu=float(cores), memory_bytes=int(psutil.virtual_memory().total), gpu=float(gpus))


def room_for(machine: placement.Machine, component: Component, running: Sequence[Component]) -> Problem | None:
    """Why one more replica of ``component`` does not fit beside those that run; by what they ask for."""
    taken = [placement.Replica(name=one.name, resources=one.resources) for one in running]
    wanted = placement.Replica(name=component.name, resources=component.resources)
    (found,) = placement.placement(machine, taken, [wanted])
    if found.fits:
        return None
    return Problem(
        reason="Unschedulable",
        message=f"one more replica of its {component.name} does not fit on this machine: {found.reason}",
        hint="lower its resources.requests, or stop something",
    )
