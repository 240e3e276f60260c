"""What Tiffin costs beside requests: installed size, import time, start, memory."""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import time
from importlib import metadata
from types import ModuleType
from typing import Any

from cases import Case
from packaging.requirements import Requirement
from server import running


def import_ms(rounds: int) -> float:
    """Median of `import tiffin` alone, the interpreter's own start left out."""
    program = "import time; t = time.perf_counter(); import tiffin; print((time.perf_counter() - t) * 1000)"
    return statistics.median(
        float(subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout)
        for _ in range(rounds)
    )


def help_ms(rounds: int) -> float:
    """Median of the whole process `tiffin --help`, interpreter included."""
    took = []
    for _ in range(rounds):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "tiffin", "--help"], capture_output=True, check=True)
        took.append((time.perf_counter() - started) * 1000)
    return statistics.median(took)


def core_install_mb() -> float:
    """Size of what `pip install tiffin` brings without extras, in MB (10^6 bytes), bytecode included."""
    return sum(_size(name) for name in _with_dependencies("tiffin")) / 1e6


def start_and_memory(peer: ModuleType, case: Case, rounds: int, cores: set[int]) -> dict[str, Any]:
    """Median seconds from start to first answer, and resident MB of the idle server after it."""
    seconds, resident = [], []
    for _ in range(rounds):
        with running(peer, case, cores) as server:
            seconds.append(server.first_answer_seconds)
            resident.append(server.resident_mb())
    return {"start_seconds": statistics.median(seconds), "idle_resident_mb": statistics.median(resident)}


def _with_dependencies(root: str) -> set[str]:
    found: set[str] = set()
    waiting = [(root, frozenset[str]())]
    seen = set(waiting)
    while waiting:
        name, extras = waiting.pop()
        found.add(_plain(name))
        for line in metadata.requires(name) or []:
            requirement = Requirement(line)
            wanted = requirement.marker is None or any(
                requirement.marker.evaluate({"extra": extra}) for extra in extras or {""}
            )
            needed = (_plain(requirement.name), frozenset(requirement.extras))
            if wanted and needed not in seen:
                seen.add(needed)
                waiting.append(needed)
    return found


def _size(name: str) -> int:
    paths = [file.locate() for file in metadata.files(name) or []]
    return sum(path.stat().st_size for path in paths if path.is_file())  # type: ignore[attr-defined]


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
