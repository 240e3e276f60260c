"""A blob from a registry, going on where an earlier try was interrupted.

It is kept beside its place until it is whole, and its digest is compared before it is moved there.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO

from tiffin.errors import DiskFull, RegistryError
from tiffin.oci.connection import BROKEN, TRIES, Connection
from tiffin.oci.moving import Stopped
from tiffin.oci.records import Descriptor

READ = 1 << 16
"""Bytes that are read at once, and lost at most when a connection breaks."""

Report = Callable[[int], None]
"""Called with the bytes of the blob that are there so far."""


def download(
    connection: Connection, blob: Descriptor, target: Path, *, partial: Path, report: Report, stop: threading.Event
) -> None:
    """Fetch ``blob`` to ``target``; what ``partial`` holds from an earlier try is not fetched again.

    Raises:
        RegistryError: the registry refuses, or what it gives has another digest.
        DiskFull: there is no room.
    """
    partial.parent.mkdir(parents=True, exist_ok=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    with partial.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # another process may be at the same blob
        if target.exists():
            partial.unlink(missing_ok=True)
            report(blob.size)
            return
        for is_last in (False, True):
            digest, resumed = _fetch(connection, blob, file, report, stop)
            if digest == blob.digest:
                break
            file.truncate(0)
            # Bytes of an earlier try may have been damaged on this disk: only a whole download can be blamed.
            if is_last or not resumed:
                partial.unlink(missing_ok=True)
                raise RegistryError(
                    f"{connection.reference.registry} gave other bytes for {blob.digest} of"
                    f" {connection.reference}: they have the digest {digest}",
                    hint="nothing was kept of it; ask who runs the registry to check its storage, or push again",
                )
        file.flush()
        os.fsync(file.fileno())
        os.replace(partial, target)


def _fetch(
    connection: Connection, blob: Descriptor, file: IO[bytes], report: Report, stop: threading.Event
) -> tuple[str, bool]:
    """Complete ``file``; the digest of all of it, and whether it began with bytes of an earlier try."""
    digest = hashlib.sha256()
    file.seek(0)
    while chunk := file.read(READ):
        digest.update(chunk)
    done = file.tell()
    if done > blob.size:
        file.truncate(0)
        return _fetch(connection, blob, file, report, stop)
    resumed, failures = done > 0, 0
    report(done)
    while done < blob.size:
        headers = {"Range": f"bytes={done}-"} if done else {}
        answer = connection.ask(
            "GET",
            f"{connection.reference.repository}/blobs/{blob.digest}",
            expect=(200, 206, 416),
            headers=headers,
            stream=True,
            what=f"the blob {blob.digest} of {connection.reference}",
        )
        with answer:
            starts = re.match(r"bytes ([0-9]+)-", answer.headers.get("Content-Range", ""))
            if done and not (answer.status_code == 206 and starts and int(starts[1]) == done):
                # It gives the whole, whatever was asked for; or nothing of what is left.
                digest, done = hashlib.sha256(), 0
                file.truncate(0)
            if answer.status_code == 416:
                failures += 1
                if failures >= TRIES:
                    raise connection.refused(answer)
                continue
            before = done
            try:
                for chunk in answer.iter_content(READ):
                    if stop.is_set():
                        raise Stopped
                    if done + len(chunk) > blob.size:
                        return f"of more than {blob.size:,} bytes", resumed
                    _write(file, chunk)
                    digest.update(chunk)
                    done += len(chunk)
                    report(done)
            except BROKEN as error:
                failures = 0 if done > before else failures + 1
                if failures >= TRIES:
                    raise connection.unreachable(error) from error
                connection.wait(failures)
                continue
        if done < blob.size:
            failures = 0 if done > before else failures + 1
            if failures >= TRIES:
                raise RegistryError(
                    f"{connection.reference.registry} ended {blob.digest} after {done:,} of {blob.size:,} bytes",
                    hint="try again: it goes on from there",
                )
    return f"sha256:{digest.hexdigest()}", resumed


def _write(file: IO[bytes], chunk: bytes) -> None:
    try:
        file.write(chunk)
    except OSError as error:
        raise DiskFull(f"{error.strerror} while a blob is stored", hint="make room, and try again") from error
