"""The memory limit of a replica that is a process: kept by the kernel where it lets us, else by looking.

A control group is exact; it needs a writable hierarchy (root, or a delegated one). Without one the replica's
memory is measured five times a second: what it shares counts in parts, and between two looks it may use more.
An address-space limit (``RLIMIT_AS``) is not used: threads and numpy reserve far more than they use.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
from collections.abc import Mapping
from pathlib import Path

import psutil

from tiffin.kits import processes
from tiffin.kits.processes import Identity
from tiffin.local.seams import Launcher, Order, Running
from tiffin.spec import Component

log = logging.getLogger(__name__)

OOM_KILLED = "OOMKilled"
LOOK_SECONDS = 0.2
_ROOT = Path("/sys/fs/cgroup")
_SETTLE_SECONDS = 1.0


class Group:
    """A control group that the kernel keeps to a number of bytes."""

    def __init__(self, path: Path, *, is_unified: bool) -> None:
        self.path = path
        self._is_unified = is_unified

    @classmethod
    def make(cls, name: str, most_bytes: int) -> Group | None:
        """A new group (or the one of that name, with another limit); ``None`` where we may make none."""
        for parent, is_unified in _parents():
            path = parent / f"tiffin-{name}"
            group = cls(path, is_unified=is_unified)
            try:
                path.mkdir(exist_ok=True)
                group._limit(most_bytes)
            except OSError:
                with contextlib.suppress(OSError):
                    path.rmdir()
                continue
            return group
        return None

    def _limit(self, most_bytes: int) -> None:
        if self._is_unified:
            (self.path / "memory.max").write_text(str(most_bytes))
            self._write("memory.swap.max", "0")
            self._write("memory.oom.group", "1")
        else:
            # The one with swap must never be the smaller.
            self._write("memory.memsw.limit_in_bytes", "-1")
            (self.path / "memory.limit_in_bytes").write_text(str(most_bytes))
            self._write("memory.memsw.limit_in_bytes", str(most_bytes))

    def _write(self, name: str, text: str) -> None:
        with contextlib.suppress(OSError):
            (self.path / name).write_text(text)

    def add(self, pid: int) -> bool:
        """Keep a process, and what it starts from now on; whether the kernel agreed."""
        try:
            (self.path / "cgroup.procs").write_text(str(pid))
        except OSError:
            return False
        return True

    def kills(self) -> int:
        """How many of its processes the kernel has ended for their memory."""
        name = "memory.events" if self._is_unified else "memory.oom_control"
        with contextlib.suppress(OSError, ValueError):
            for line in (self.path / name).read_text().splitlines():
                key, _, count = line.partition(" ")
                if key == "oom_kill":
                    return int(count)
        return 0

    def peak(self) -> int:
        """The most it ever used, in bytes; 0 when the kernel does not say."""
        name = "memory.peak" if self._is_unified else "memory.max_usage_in_bytes"
        try:
            return int((self.path / name).read_text())
        except (OSError, ValueError):
            return 0

    def remove(self) -> bool:
        """Remove it, once its processes have gone; whether it is gone."""
        try:
            self.path.rmdir()
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True


def sweep() -> None:
    """Remove groups of replicas that have gone; one with somebody in it stays."""
    for parent, _ in _parents():
        for path in parent.glob("tiffin-*"):
            with contextlib.suppress(OSError):
                path.rmdir()


def _parents() -> list[tuple[Path, bool]]:
    """The groups this process is in that could have groups below them: with a memory controller."""
    found = []
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                for root in (_ROOT, _ROOT / "unified"):
                    own = root / path.lstrip("/")
                    with contextlib.suppress(OSError):
                        if "memory" in (own / "cgroup.subtree_control").read_text().split():
                            found.append((own, True))
            elif "memory" in controllers.split(","):
                found.append((_ROOT / "memory" / path.lstrip("/"), False))
    return [(path, is_unified) for path, is_unified in found if os.access(path, os.W_OK)]


def memory_of(identity: Identity) -> int | None:
    """Bytes that a process and what it started use; ``None`` when it has gone.

    What is shared counts in parts where the total could matter, as ``/proc/PID/smaps_rollup`` says it.
    """
    process = processes.find(identity)
    if process is None:
        return None
    total = 0
    with contextlib.suppress(psutil.Error):
        for one in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                total += one.memory_info().rss
    return total


def _proportional(identity: Identity) -> int:
    total = 0
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(identity.pid)
        for one in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.Error, OSError, ValueError):
                for line in Path(f"/proc/{one.pid}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        total += int(line.split()[1]) * 1024
    return total or memory_of(identity) or 0


class LimitedRunning:
    """A replica whose memory is looked after; see ``seams.Running``."""

    def __init__(self, inner: Running, order: Order, most_bytes: int, group: Group | None) -> None:
        self._inner = inner
        self._name = order.name
        self._most = most_bytes
        self._group = group
        self._kills = group.kills() if group is not None else 0
        self._used = 0
        self.problem = ""
        self._watching = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        """Look, until it has ended."""
        while self._inner.exit_code is None:
            if self._is_over():
                self._inner.kill()
                return
            await asyncio.sleep(LOOK_SECONDS)

    def _is_over(self) -> bool:
        if self._group is not None:
            return self._was_ended_by_the_kernel()
        used = memory_of(self._inner.identity)
        # The cheap measure counts what is shared in full: only when it is over, the exact one is asked for.
        if used is None or used <= self._most:
            return False
        used = _proportional(self._inner.identity)
        if used <= self._most:
            return False
        self._used = used
        self._tell(used)
        return True

    def _was_ended_by_the_kernel(self) -> bool:
        if self._group is None or self._group.kills() <= self._kills:
            return False
        self._tell(self._group.peak())
        return True

    def _tell(self, used: int) -> None:
        most = self._most >> 20
        had = max(used >> 20, most)
        self.problem = f"was ended for using more than its {most} MiB of memory ({OOM_KILLED}; it had {had} MiB)"

    @property
    def identity(self) -> Identity:
        return self._inner.identity

    @property
    def endpoint(self) -> str:
        return self._inner.endpoint

    @property
    def exit_code(self) -> int | None:
        return self._inner.exit_code

    @property
    def has_answered(self) -> bool:
        return self._inner.has_answered

    @property
    def start_seconds(self) -> Mapping[str, float]:
        return self._inner.start_seconds

    async def exited(self) -> int:
        """Wait for its end, and learn whether it was for its memory."""
        code = await self._inner.exited()
        await self._tidy()
        return code

    async def is_ready(self) -> bool:
        return await self._inner.is_ready()

    async def stop(self, *, grace_seconds: float) -> None:
        self._watching.cancel()
        await self._inner.stop(grace_seconds=grace_seconds)
        await self._tidy()

    def kill(self) -> None:
        self._inner.kill()

    def describe_end(self) -> str:
        """How it ended, with its last log lines."""
        if not self.problem:
            self._was_ended_by_the_kernel()
        said = self._inner.describe_end()
        if not self.problem:
            return said
        _, separator, lines = said.partition("; its last log lines:")
        return f"{self._name} {self.problem}{separator}{lines}"

    async def _tidy(self) -> None:
        self._watching.cancel()
        if self._group is None:
            return
        if not self.problem:
            self._was_ended_by_the_kernel()
        # Its workers are still in it for a moment, and a group with somebody in it stays.
        for _ in range(int(_SETTLE_SECONDS / LOOK_SECONDS)):
            if self._group.remove():
                return
            self._inner.kill()
            await asyncio.sleep(LOOK_SECONDS)


class Limited:
    """A launcher whose replicas are kept to the memory their component may use; see ``seams.Launcher``."""

    def __init__(self, inner: Launcher) -> None:
        self._inner = inner
        self._has_swept = False

    def takes(self, component: Component) -> bool:
        return self._inner.takes(component)

    async def launch(self, order: Order) -> Running:
        return self._kept(order, await self._inner.launch(order))

    async def adopt(self, order: Order, identity: Identity, endpoint: str) -> Running | None:
        running = await self._inner.adopt(order, identity, endpoint)
        return None if running is None else self._kept(order, running)

    def _kept(self, order: Order, running: Running) -> Running:
        most = order.spec.component.resources.memory_limit_bytes
        if not most:
            return running
        if not self._has_swept:
            # What a controller that was killed left.
            self._has_swept = True
            sweep()
        name = hashlib.sha256(os.fsencode(order.file)).hexdigest()[:12]
        group = Group.make(f"{order.file.stem}-{name}", most)
        if group is not None and not group.add(running.identity.pid):
            group.remove()
            group = None
        if group is None:
            log.debug("%s: no control group here; its memory is looked at instead", order.name)
        return LimitedRunning(running, order, most, group)

    async def close(self) -> None:
        await self._inner.close()
