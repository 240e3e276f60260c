"""Several blobs at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import Literal

import msgspec

from tiffin.oci.manifests import name_of
from tiffin.oci.records import Descriptor

AT_ONCE = 4
"""Blobs on their way at the same time."""

State = Literal["waiting", "running", "exists", "mounted", "uploaded", "downloaded"]


class Transfer(msgspec.Struct, frozen=True, kw_only=True):
    """How far a blob is, in bytes. ``exists``: it was there before."""

    digest: str
    name: str
    done: int
    total: int
    state: State


Progress = Callable[[Transfer], None]
"""Called from several threads."""


class Stopped(Exception):
    """Another blob failed; there is no use in this one."""


class Count:
    """Bytes, from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.moved = self.kept = 0

    def add(self, size: int, state: State) -> None:
        with self._lock:
            if state in ("exists", "mounted"):
                self.kept += size
            else:
                self.moved += size


_One = Callable[[Descriptor, Callable[[int], None], threading.Event], State]


def each(blobs: Iterable[Descriptor], one: _One, progress: Progress, count: Count) -> None:
    """Move all blobs, several at a time; when one fails the others are given up, and its error is raised."""
    stop = threading.Event()

    def run(blob: Descriptor) -> None:
        def report(done: int, state: State = "running") -> None:
            progress(Transfer(digest=blob.digest, name=name_of(blob), done=done, total=blob.size, state=state))

        if stop.is_set():
            return
        try:
            state = one(blob, report, stop)
        except Stopped:
            return
        except BaseException:
            stop.set()
            raise
        count.add(blob.size, state)
        report(blob.size, state)

    # The largest first: the small ones fill the gaps.
    ordered = sorted(blobs, key=lambda blob: -blob.size)
    for blob in ordered:
        progress(Transfer(digest=blob.digest, name=name_of(blob), done=0, total=blob.size, state="waiting"))
    futures: list[Future[None]] = []
    with ThreadPoolExecutor(max_workers=AT_ONCE, thread_name_prefix="tiffin-blob") as pool:
        try:
            futures = [pool.submit(run, blob) for blob in ordered]
            wait(futures, return_when=FIRST_EXCEPTION)
        except BaseException:
            stop.set()  # Ctrl-C: what is under way ends at its next bytes
            raise
    for future in futures:
        future.result()


def quiet(transfer: Transfer) -> None:
    """Nobody looks."""
