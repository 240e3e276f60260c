"""Blobs on their way, on stderr: bars on a terminal, elsewhere a line for each that has arrived."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

from tiffin.cli import output
from tiffin.cli.rendering import size

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from tiffin.oci.moving import Transfer

_ENDED = {"exists": "is there already", "mounted": "is there already, in another repository"}


class Transfers:
    """Shows what it is told, from any thread; use it as a context."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Transfers:
        return self

    def __exit__(self, *what: object) -> None:
        with self._lock:
            if self._bars is not None:
                self._bars.stop()

    def show(self, transfer: Transfer) -> None:
        """One blob's progress."""
        is_ended = transfer.state not in ("waiting", "running")
        with self._lock:
            if output.is_interactive():
                self._draw(transfer, is_ended=is_ended)
            if is_ended:
                how = _ENDED.get(transfer.state, transfer.state)
                output.say(f"{transfer.digest[7:19]} {transfer.name} ({size(transfer.total)}): {how}")

    def _draw(self, transfer: Transfer, *, is_ended: bool) -> None:
        from rich import progress
        from rich.console import Console

        if self._bars is None:
            self._bars = progress.Progress(
                progress.TextColumn("{task.description}"),
                progress.BarColumn(),
                progress.DownloadColumn(),
                progress.TransferSpeedColumn(),
                progress.TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._bars.start()
        if transfer.digest not in self._tasks:
            self._tasks[transfer.digest] = self._bars.add_task(
                f"{transfer.digest[7:19]} {transfer.name}", total=transfer.total
            )
        self._bars.update(self._tasks[transfer.digest], completed=transfer.done)
        if is_ended:
            self._bars.remove_task(self._tasks.pop(transfer.digest))
