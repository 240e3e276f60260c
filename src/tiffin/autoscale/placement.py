"""What fits on a machine: which wanted replicas get a place, and why the others have to wait."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from tiffin.spec import Resources


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What may be given to replicas: cores, bytes of memory, GPUs."""

    cpu: float
    memory_bytes: int
    gpu: float = 0.0


class Replica(msgspec.Struct, frozen=True, kw_only=True):
    """One replica by name, with what it asks for."""

    name: str
    resources: Resources = Resources()


class Placement(msgspec.Struct, frozen=True):
    """``reason`` is empty when there is room, else what is missing, as a sentence without a full stop."""

    replica: Replica
    reason: str = ""

    @property
    def fits(self) -> bool:
        """Whether there is room."""
        return not self.reason


def placement(machine: Machine, running: Iterable[Replica], wanted: Sequence[Replica]) -> list[Placement]:
    """Give each of ``wanted``, in order, a place or the reason why there is none.

    Only what replicas ask for counts, not what they use; one that asks for nothing always fits. One that does
    not fit takes nothing, so a smaller one after it may.
    """
    left = _Left(machine)
    for replica in running:
        left.take(replica.resources)
    found = []
    for replica in wanted:
        reason = left.missing(replica.resources)
        if not reason:
            left.take(replica.resources)
        found.append(Placement(replica, reason))
    return found


class _Left:
    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._cpu = machine.cpu
        self._memory = machine.memory_bytes
        self._gpu = machine.gpu

    def take(self, asked: Resources) -> None:
        self._cpu -= asked.cpu or 0.0
        self._memory -= asked.memory_bytes or 0
        self._gpu -= asked.gpu or 0.0

    def missing(self, asked: Resources) -> str:
        machine = self._machine
        reasons = []
        if asked.cpu and asked.cpu > self._cpu + 1e-9:
            reasons.append(f"{_cores(asked.cpu)} asked for, {_free(self._cpu)} of {_cores(machine.cpu)} free")
        if asked.memory_bytes and asked.memory_bytes > self._memory:
            free, all_of_it = shown_bytes(max(0, self._memory)), shown_bytes(machine.memory_bytes)
            reasons.append(f"{shown_bytes(asked.memory_bytes)} of memory asked for, {free} of {all_of_it} free")
        if asked.gpu and asked.gpu > self._gpu:
            reasons.append(f"{asked.gpu:g} GPU asked for, {_free(self._gpu)} of {machine.gpu:g} free")
        return "; ".join(reasons)


def _cores(count: float) -> str:
    return f"{count:g} core" if count == 1 else f"{count:g} cores"


def _free(count: float) -> str:
    return f"{max(0.0, round(count, 3)):g}"


def shown_bytes(count: int) -> str:
    """``1.5 GiB``."""
    value = float(count)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.3g} {unit}"
        value /= 1024
    return f"{value:.3g} GiB"
