"""A blob to a registry, going on where an earlier try was interrupted.

What an upload has reached is asked from the registry; where its session is noted, another process goes on with it.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import threading
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Literal

import requests

from tiffin.errors import RegistryError
from tiffin.kits.files import write_atomic
from tiffin.oci.connection import BROKEN, TRIES, Connection
from tiffin.oci.downloads import READ, Report
from tiffin.oci.moving import Stopped
from tiffin.oci.records import Descriptor

PIECE = 32 << 20
"""Bytes of one request of an upload: what is sent again at most when the connection breaks."""
_RANGE = re.compile(r"(?:bytes=)?0-([0-9]+)")

Done = Literal["exists", "mounted", "uploaded"]


def upload(
    connection: Connection,
    blob: Descriptor,
    path: Path,
    *,
    report: Report,
    stop: threading.Event,
    sources: tuple[str, ...] = (),
    notes: Path | None = None,
) -> Done:
    """Bring a file to the registry, unless it is there.

    Args:
        connection: to the registry; its reference says which repository.
        blob: its digest and size.
        path: the file.
        report: how far it is.
        stop: set when it is to be given up.
        sources: other repositories of the registry that may have it: it is taken from there.
        notes: a directory where sessions of uploads are kept, so that another process can go on with them.

    Returns:
        ``exists``, ``mounted`` or ``uploaded``.

    Raises:
        RegistryError: the registry refuses, or the file is not what ``blob`` says.
    """
    repository = connection.reference.repository
    what = f"the blob {blob.digest} of {connection.reference}"
    answer = connection.ask("HEAD", f"{repository}/blobs/{blob.digest}", expect=(200, 404, 405), what=what)
    if answer.status_code == 200:
        report(blob.size)
        return "exists"
    note = _Note(notes, f"{connection.reference.registry}/{repository}@{blob.digest}")
    session = _Session(*_earlier(connection, note.read()))
    for source in sources if not session.location else ():
        query = urllib.parse.urlencode({"mount": blob.digest, "from": source})
        url = f"{repository}/blobs/uploads/?{query}"
        # A repository nobody may read is no error: then it is uploaded.
        answer = connection.ask("POST", url, expect=(201, 202, 401, 403, 404, 405), what=what)
        if answer.status_code in (201, 202) and session.location:
            connection.ask("DELETE", session.location, expect=(200, 202, 204, 400, 404, 405), what=what)
        if answer.status_code == 201:
            report(blob.size)
            return "mounted"
        if answer.status_code == 202:
            session.location = _location(connection, answer)
    session.location = session.location or _begin(connection, what)
    note.write(session.location)
    failures = 0
    with path.open("rb") as file:
        while True:
            reached = session.done
            try:
                _send(connection, blob, file, session, report, stop, note, what)
                break
            except BROKEN as error:
                failures = 1 if session.done > reached else failures + 1
                if failures >= TRIES:
                    raise connection.unreachable(error) from error
                connection.wait(failures)
                session.location, session.done = _earlier(connection, session.location)
                if not session.location or failures > 2:
                    session.location, session.done = _begin(connection, what), 0
                note.write(session.location)
    note.remove()
    report(blob.size)
    return "uploaded"


class _Session:
    """An upload: where its next piece goes, and the bytes that are there."""

    def __init__(self, location: str, done: int) -> None:
        self.location = location
        self.done = done


def _begin(connection: Connection, what: str) -> str:
    answer = connection.ask("POST", f"{connection.reference.repository}/blobs/uploads/", expect=(202,), what=what)
    return _location(connection, answer)


def _send(
    connection: Connection,
    blob: Descriptor,
    file: IO[bytes],
    session: _Session,
    report: Report,
    stop: threading.Event,
    note: _Note,
    what: str,
) -> None:
    """All pieces that are left, and the end; raises what a broken connection raises."""
    while session.done < blob.size:
        done, size = session.done, min(PIECE, blob.size - session.done)
        piece = _Piece(file, done, size, report, stop)
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(size),
            "Content-Range": f"{done}-{done + size - 1}",
        }
        answer = _one(connection, "PATCH", session.location, headers, piece)
        if answer.status_code == 416 or answer.status_code >= 500:
            raise requests.ConnectionError(f"the registry answered {answer.status_code}")  # ask how far it is
        if answer.status_code not in (202, 204):
            note.remove()
            raise connection.refused(answer, what)
        session.location, session.done = _location(connection, answer), done + size
        note.write(session.location)
    url = _with(session.location, digest=blob.digest)
    answer = _one(connection, "PUT", url, {"Content-Length": "0"}, None)
    if answer.status_code >= 500:
        raise requests.ConnectionError(f"the registry answered {answer.status_code}")
    if answer.status_code not in (201, 204):
        note.remove()
        raise connection.refused(answer, what)


def _one(connection: Connection, method: str, url: str, headers: dict[str, str], data: Any) -> requests.Response:
    """One request that is not simply sent again when it breaks."""
    answer: requests.Response = connection.do_request(url, method, data=data, headers=headers)
    return answer


def _earlier(connection: Connection, location: str) -> tuple[str, int]:
    """Where an upload goes on: its address and the bytes that are there; an empty address when it is gone."""
    if not location:
        return "", 0
    try:
        answer = connection.ask("GET", location, expect=(200, 202, 204, 400, 404, 405), tries=2)
    except RegistryError:
        return "", 0
    if answer.status_code not in (200, 202, 204):
        return "", 0
    found = _RANGE.fullmatch(answer.headers.get("Range", ""))
    # A registry says 0-0 for nothing, and for one byte: a byte too many is noticed, a byte too few is not.
    reached = int(found[1]) + 1 if found and int(found[1]) > 0 else 0
    return _location(connection, answer) or location, reached


def _location(connection: Connection, answer: requests.Response) -> str:
    found = answer.headers.get("Location", "")
    return urllib.parse.urljoin(f"{connection.root}/", found) if found else ""


def _with(url: str, **more: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}{urllib.parse.urlencode(more)}"


class _Piece:
    """A part of a file as a body, read as it is sent."""

    def __init__(self, file: IO[bytes], start: int, size: int, report: Report, stop: threading.Event) -> None:
        self._file, self._start, self._size = file, start, size
        self._report, self._stop = report, stop
        self._read = 0
        file.seek(start)

    def __len__(self) -> int:
        return self._size

    def seek(self, place: int) -> None:
        """Back to the start, to be sent once more."""
        self._read = place
        self._file.seek(self._start + place)

    def __iter__(self) -> Iterator[bytes]:
        while chunk := self.read(READ):
            yield chunk

    def read(self, size: int = -1) -> bytes:
        if self._stop.is_set():
            raise Stopped
        left = self._size - self._read
        chunk = self._file.read(min(size, left, READ) if size >= 0 else left)
        self._read += len(chunk)
        self._report(self._start + self._read)
        return chunk


class _Note:
    """Where the session of an upload is kept: its address holds a state, so only the owner may read it."""

    def __init__(self, directory: Path | None, what: str) -> None:
        name = hashlib.sha256(what.encode()).hexdigest()[:32]
        self._path = directory / name if directory is not None else None

    def read(self) -> str:
        try:
            return self._path.read_text() if self._path is not None else ""
        except OSError:
            return ""

    def write(self, location: str) -> None:
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(self._path, location)

    def remove(self) -> None:
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()
