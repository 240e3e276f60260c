"""Downloads of many files at once, that go on where they were cut off.

    ARRIVALS/<sha256 of address>/<sha256 of listing>/
    ├── <number>         a whole file, as it stands in the listing
    └── <number>.part    its first pieces

Four files or pieces are on their way at a time, of at most 8 MiB each, so that memory stays small however large
the model is. A listing that changed begins anew, and what was kept of the one before is removed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tiffin.errors import StorageError
from tiffin.models.remotes import Entry, scheme_of, shown

PIECE_BYTES = 8 * 2**20
AT_ONCE = 4
_SIZED = frozenset(("s3", "s3a", "gs", "gcs", "abfs", "az", "hf"))
"""Schemes whose servers answer a range with that range, and never say another size than that of the bytes.

A web server may send the whole file for a range, which would then be in memory, or a compressed body.
"""


def download(
    filesystem: Any,
    uri: str,
    listed: Sequence[Entry],
    into: Path,
    *,
    arrivals: Path,
    key: str,
    report: Callable[[int], None],
) -> None:
    """Fetch the files of a listing.

    Args:
        filesystem: fsspec's, which reads ``Entry.address``.
        uri: the address they were listed at.
        listed: which files.
        into: an existing directory on the file system of ``arrivals``; gets the files at ``Entry.path``.
        arrivals: where they are kept on their way.
        key: changes when any of the files does; empty: nothing tells, so nothing is kept of what was cut off.
        report: called from several threads with bytes that arrived; also those that had arrived before.

    Raises:
        StorageError: a file has another size than the listing says.
        Exception: whatever the file system raises; the first one, when the others have stopped.
    """
    own, home = _places(uri, arrivals, key)
    if own.is_dir():
        for left in own.iterdir():
            if left != home or not key:
                shutil.rmtree(left, ignore_errors=True)
    home.mkdir(parents=True, exist_ok=True)
    stopped = threading.Event()

    def fetch(number: int) -> None:
        try:
            _File(filesystem, uri, listed[number], home / str(number), report, stopped).fetch()
        except BaseException:
            stopped.set()
            raise

    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="fetch") as pool:
        running = [pool.submit(fetch, number) for number in range(len(listed))]
        # In the order of the listing; those that stopped because another one failed raise nothing.
        for one in running:
            one.result()
    for number, entry in enumerate(listed):
        target = into / entry.path
        target.parent.mkdir(parents=True, exist_ok=True)
        os.rename(home / str(number), target)
    shutil.rmtree(own, ignore_errors=True)


def arrived(uri: str, arrivals: Path, key: str) -> int:
    """The bytes of a download that are kept from before it was cut off."""
    home = _places(uri, arrivals, key)[1]
    return sum(file.stat().st_size for file in home.iterdir()) if key and home.is_dir() else 0


def _places(uri: str, arrivals: Path, key: str) -> tuple[Path, Path]:
    """Where everything of an address is, and of one listing of it."""
    own = arrivals / hashlib.sha256(uri.encode()).hexdigest()
    return own, own / hashlib.sha256(key.encode()).hexdigest()


class _File:
    """One file on its way."""

    def __init__(
        self,
        filesystem: Any,
        uri: str,
        entry: Entry,
        path: Path,
        report: Callable[[int], None],
        stopped: threading.Event,
    ) -> None:
        self._filesystem = filesystem
        self._uri = uri
        self._entry = entry
        self._path = path
        self._report = report
        self._stopped = stopped

    def fetch(self) -> None:
        if self._stopped.is_set():
            return
        size = self._entry.size
        if self._path.exists():
            self._report(self._path.stat().st_size)
            return
        part = self._path.with_name(f"{self._path.name}.part")
        if size is not None and size > PIECE_BYTES and scheme_of(self._uri) in _SIZED:
            if not self._pieces(part, size):
                return
        else:
            part.unlink(missing_ok=True)
            self._filesystem.get_file(self._entry.address, str(part), callback=_callback(self._report))
        # What came whole is kept although another file failed meanwhile: it is not asked for again.
        if size is not None and scheme_of(self._uri) not in ("http", "https"):
            self._expect(size, part.stat().st_size)
        os.rename(part, self._path)

    def _pieces(self, part: Path, size: int) -> bool:
        """Whether all of them are there."""
        with part.open("ab") as stream:
            at = stream.tell()
            self._report(at)
            while at < size and not self._stopped.is_set():
                end = min(at + PIECE_BYTES, size)
                data = self._filesystem.cat_file(self._entry.address, start=at, end=end)
                self._expect(end - at, len(data))
                stream.write(data)
                stream.flush()  # What is killed now goes on from here.
                at = end
                self._report(len(data))
        return at >= size

    def _expect(self, wanted: int, found: int) -> None:
        if found != wanted:
            raise StorageError(
                f"expected {wanted:,} bytes of {self._entry.path} from {shown(self._uri)}, found {found:,}",
                hint="it may have been replaced meanwhile: try again",
            )


def _callback(report: Callable[[int], None]) -> Any:
    """A callback in fsspec's manner, which tells how many bytes came."""
    from fsspec.callbacks import Callback

    class Told(Callback):  # type: ignore[misc]
        def set_size(self, size: int | None) -> None:
            pass  # of one file; the listing gave the sum

        def relative_update(self, inc: int = 1) -> None:
            if inc:
                report(inc)

        def absolute_update(self, value: int) -> None:
            pass

        def branched(self, *args: Any, **kwargs: Any) -> Any:
            return self

    return Told()
