"""Lines of growing log files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

from tiffin.kits import files

EVERY_SECONDS = 0.2
LONGEST_LINE = 65_536


class _Tail:
    """Where reading of one file has come to."""

    def __init__(self, path: Path, position: int) -> None:
        self.path = path
        self.position = position
        self._rest = b""

    def lines(self) -> list[str]:
        """Whole lines that came since; a file that was cut is read from its beginning."""
        try:
            with self.path.open("rb") as file:
                size = file.seek(0, 2)
                if size < self.position:
                    self.position, self._rest = 0, b""
                file.seek(self.position)
                found = file.read(1 << 20)
        except OSError:
            return []
        self.position += len(found)
        *whole, self._rest = (self._rest + found).split(b"\n")
        if len(self._rest) > LONGEST_LINE:
            whole.append(self._rest)
            self._rest = b""
        return [line.decode("utf-8", "replace") for line in whole]


async def follow(
    paths: Callable[[], Mapping[str, Path]], *, lines: int, is_endless: bool, stopping: asyncio.Event
) -> AsyncIterator[tuple[str, str]]:
    """The last ``lines`` of each file, with its name; then what is appended, also to files that come later."""
    tails: dict[str, _Tail] = {}
    for name, path in paths().items():
        size = path.stat().st_size if path.exists() else 0
        tails[name] = _Tail(path, size)
        for line in files.last_lines(path, lines, most_bytes=1 << 22) if lines else ():
            yield name, line
    while is_endless and not stopping.is_set():
        for name, path in paths().items():
            if name not in tails:
                tails[name] = _Tail(path, 0)
        for name, tail in tails.items():
            for line in tail.lines():
                yield name, line
        try:
            async with asyncio.timeout(EVERY_SECONDS):
                await stopping.wait()
        except TimeoutError:
            continue
