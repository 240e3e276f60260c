"""``tiffin doctor``: what this machine has, and what is wrong with it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from typing import Annotated, Literal, NamedTuple

import typer

from tiffin.cli import output
from tiffin.client import NoController, Place, connect
from tiffin.errors import TiffinError
from tiffin.kits import paths

GIB = 2**30
ROOM_BYTES = 2 * GIB
MEMORY_BYTES = GIB // 2
_EXTRAS = {"sklearn": "sklearn", "xgboost": "xgboost", "lightgbm": "lightgbm", "onnx": "onnxruntime"}
_SIGNS = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}


class Finding(NamedTuple):
    """One line. ``fail``: `tiffin up` cannot work; ``warn``: something will be missing."""

    check: str
    level: Literal["ok", "warn", "fail"]
    found: str
    hint: str = ""


def doctor(
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="The port that should be free.")] = 8080,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """Check what this machine has, and what is wrong with it.

    Exit codes: 0 all is well or only warnings, 1 something fails.
    """
    found = list(findings(port))
    if as_json:
        output.data([one._asdict() for one in found])
    else:
        width = max(len(one.check) for one in found)
        for one in found:
            print(f"{_SIGNS[one.level]}  {one.check:<{width}}  {one.found}")
            if one.hint:
                print(f"{'':<{width + 6}}  hint: {one.hint}")
    return 1 if any(one.level == "fail" for one in found) else 0


def findings(port: int) -> Iterator[Finding]:
    """Everything that is looked at, one after another."""
    is_running, controller = _controller()
    checks: list[Callable[[], Finding]] = [
        _python, _envoy, _aiohttp, _extras, _home, _disk, lambda: controller, lambda: _port(port, is_running),
        _memory, _cgroup, _engine,
    ]  # fmt: skip
    for check in checks:
        try:
            yield check()
        except Exception as error:
            name = getattr(check, "__name__", "check").strip("_")
            yield Finding(name, "warn", f"could not be looked at: {error}")


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding("python", "ok", f"{version} at {sys.executable}")


def _envoy() -> Finding:
    from tiffin.gateway.binary import find_binary

    try:
        return Finding("envoy", "ok", str(find_binary()))
    except TiffinError as error:
        return Finding("envoy", "fail", str(error), error.hint or "")


def _aiohttp() -> Finding:
    if importlib.util.find_spec("aiohttp") is None:
        return Finding("aiohttp", "fail", "not installed", "pip install 'tiffin[gateway]'")
    from importlib.metadata import version

    return Finding("aiohttp", "ok", version("aiohttp"))


def _extras() -> Finding:
    there = [extra for extra, module in _EXTRAS.items() if importlib.util.find_spec(module) is not None]
    missing = [extra for extra in _EXTRAS if extra not in there]
    if not there:
        hint = "pip install 'tiffin[sklearn]', or what your models need"
        return Finding("formats", "warn", "no library for saved models is installed", hint)
    found = f"{', '.join(there)} installed" + (f"; without {', '.join(missing)}" if missing else "")
    return Finding("formats", "ok", found)


def _home() -> Finding:
    home = paths.data_directory()
    try:
        home.make()
    except TiffinError as error:
        return Finding("home", "fail", str(error), error.hint or "")
    mode = home.root.stat().st_mode & 0o777
    if mode & 0o077:
        hint = f"chmod 700 {home.root}"
        return Finding("home", "warn", f"{home.root} can be entered by others (mode {mode:o})", hint)
    return Finding("home", "ok", str(home.root))


def _disk() -> Finding:
    root = paths.data_directory().root
    there = next(path for path in (root, *root.parents) if path.exists())
    free = shutil.disk_usage(there).free
    text = f"{free / GIB:.1f} GiB free at {there}"
    if free < ROOM_BYTES // 20:
        return Finding("disk", "fail", text, "make room, or set TIFFIN_HOME to a directory on another disk")
    if free < ROOM_BYTES:
        return Finding("disk", "warn", text, "downloads of models need room; TIFFIN_HOME moves them elsewhere")
    return Finding("disk", "ok", text)


def _controller() -> tuple[bool, Finding]:
    client = connect()
    try:
        items = client.list().items
    except NoController as error:
        place = client.place
        if _left_behind(place):
            return False, Finding("controller", "warn", str(error), error.hint or "")
        return False, Finding("controller", "ok", "none runs here", "start one: tiffin up -d")
    except TiffinError as error:
        return True, Finding("controller", "fail", str(error), error.hint or "")
    ready = sum(item.status.is_ready for item in items)
    text = f"runs at {client.place}, {ready} of {len(items)} deployments ready"
    if ready < len(items):
        names = [item.spec.key for item in items if not item.status.is_ready]
        return True, Finding("controller", "warn", text, f"`tiffin describe {names[0]}` says why")
    return True, Finding("controller", "ok", text)


def _left_behind(place: Place) -> bool:
    return place.unix is not None and place.unix.exists()


def _port(port: int, is_running: bool) -> Finding:
    from tiffin.kits import ports

    try:
        ports.check_free("127.0.0.1", port)
    except TiffinError as error:
        if is_running:
            return Finding("port", "ok", f"{port} is taken, by the gateway that runs or another program")
        return Finding("port", "warn", str(error), error.hint or "")
    return Finding("port", "ok", f"{port} is free")


def _memory() -> Finding:
    import psutil

    memory = psutil.virtual_memory()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    text = f"{memory.available / GIB:.1f} of {memory.total / GIB:.1f} GiB available, {cores} cores"
    if memory.available < MEMORY_BYTES:
        return Finding("memory", "warn", text, "replicas may be ended by the system; stop something else first")
    return Finding("memory", "ok", text)


def _cgroup() -> Finding:
    from tiffin.local.limits import Group

    group = Group.make(f"doctor-{os.getpid()}", GIB)
    if group is not None:
        group.remove()
        return Finding("cgroup", "ok", f"memory limits are kept by the kernel, in {group.path.parent}")
    found = "no group can be made here: memory limits are kept by looking five times a second"
    return Finding("cgroup", "warn", found, "run the controller by systemd with Delegate=yes")


def _engine() -> Finding:
    from tiffin.local import engine

    try:
        found = engine.find()
    except TiffinError as error:
        return Finding(
            "containers", "warn", f"{error}; needed for images that are no local bundle", error.hint or ""
        )
    return Finding("containers", "ok", f"an engine answers at {found.path}")
