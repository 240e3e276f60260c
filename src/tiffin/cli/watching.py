"""Waiting for deployments with a deadline."""

from __future__ import annotations

import queue
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from tiffin.cli import describing, output, progress
from tiffin.client import Client
from tiffin.errors import PlatformError, SpecError
from tiffin.plan.objects import Object, Watched

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "ms": 0.001}


class NotSo(PlatformError):
    """What was waited for did not come; says why."""


def seconds(text: str) -> float:
    """``90``, ``60s``, ``1m30s``, ``2h``; negative waits for a week, 0 looks once, as kubectl has it."""
    given = text.strip()
    if given.startswith("-"):
        return 7 * 86_400.0
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|h|m|s|)", given)
    if not given or "".join(number + unit for number, unit in parts) != given:
        raise SpecError(f"expected a time such as 60s or 2m, found {text!r}", at="--timeout")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def changes(client: Client, deadline: float) -> Iterator[Watched | None]:
    """All objects, then changes; ``None`` when the deadline (of ``time.monotonic``) passes, which ends it.

    After the objects that are there, a ``None`` comes too when a while passes without news.
    """
    found: queue.Queue[Watched | BaseException] = queue.Queue()

    def read() -> None:
        try:
            for change in client.watch():
                found.put(change)
        except BaseException as error:  # it is raised where somebody waits
            found.put(error)

    threading.Thread(target=read, daemon=True).start()
    while True:
        left = deadline - time.monotonic()
        try:
            got = found.get(timeout=max(0.0, min(left, 0.5)))
        except queue.Empty:
            yield None
            if left <= 0:
                return
            continue
        if isinstance(got, BaseException):
            raise got
        yield got


def until(
    client: Client,
    keys: Sequence[str],
    is_so: Callable[[Object | None], bool],
    *,
    timeout: float,
    wish: str,
    tell: bool = False,
    give_up: Callable[[Object], bool] = lambda found: False,
) -> None:
    """Wait until ``is_so`` holds for each of ``keys`` (its object, or ``None`` when it is not there).

    Raises NotSo, saying why, when ``timeout`` seconds pass or ``give_up`` says that it never will.
    """
    said: set[str] = set()

    def inform(before: Object | None, after: Object) -> None:
        # A replica that crashes again and again says the same each time.
        for line in progress.said(before, after) if tell else ():
            if line not in said:
                said.add(line)
                output.say(line)

    listing = client.list()
    objects = {found.spec.key: found for found in listing.items if found.spec.key in keys}
    for found in objects.values():
        inform(None, found)
    if all(is_so(objects.get(key)) for key in keys):
        return
    deadline = time.monotonic() + timeout
    for change in changes(client, deadline):
        if change is not None and change.object.spec.key in keys:
            key = change.object.spec.key
            before = objects.get(key)
            if change.type == "DELETED":
                objects.pop(key, None)
            else:
                objects[key] = change.object
                inform(before, change.object)
        if all(is_so(objects.get(key)) for key in keys):
            return
        for key in keys:
            now = objects.get(key)
            if now is not None and not is_so(now) and give_up(now):
                raise not_so([key], objects, is_so, f"{key} {wish}")
    late = [key for key in keys if not is_so(objects.get(key))]
    raise not_so(late, objects, is_so, f"{', '.join(late)} {wish} within {timeout:g} s")


def not_so(
    keys: Sequence[str], objects: dict[str, Object], is_so: Callable[[Object | None], bool], message: str
) -> NotSo:
    """The error for what did not come, with the reasons of each."""
    lines, hints = [message], []
    for key in keys:
        if key not in objects:
            lines.append(f"{key}: there is no such deployment")
            continue
        text, hint = describing.why_not_ready(objects[key])
        lines += text.splitlines()
        hints += [hint] if hint else []
    name = keys[0].partition("/")
    more = f"`tiffin describe {name[2]}{'' if name[0] == 'default' else f' -n {name[0]}'}` tells all"
    return NotSo("\n  ".join(lines), hint="; ".join([*dict.fromkeys(hints), more]))


def is_ready(found: Object | None) -> bool:
    """Whether callers are answered as the newest version says."""
    if found is None:
        return False
    return found.status.is_ready and found.status.observed_generation >= found.metadata.generation


def has_failed(found: Object) -> bool:
    """Whether the newest revision failed for good, so that waiting longer is no use."""
    if found.status.observed_generation < found.metadata.generation:
        return False
    newest = found.status.latest.get(found.spec.variant, "")
    return any(one.name == newest and one.phase == "Failed" for one in found.status.revisions)
