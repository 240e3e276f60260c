"""A shelf: trees of files by the digest of their manifest, and tags that lead to them.

    <root>/content/<sha256>/         one tree; it is whole from the moment it has this name
    <root>/tags/<name>/<version>     one line, the sha256; its time is when the tag was set
    <root>/.work-.../                what is being written; its writer holds a lock on it
    <root>/.lock                     held for the moment in which content or tags change

Bundles and models are both kept this way. A tree is made in a workshop beside its place and renamed into it, and
never changes afterwards: a writer that is killed leaves a workshop behind, which the next one clears away.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import fcntl
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from tiffin.errors import AuthorError, DiskFull, StorageError
from tiffin.kits.files import write_atomic
from tiffin.kits.locks import is_held
from tiffin.kits.paths import make_directory
from tiffin.store import reference
from tiffin.store.reference import LATEST, Reference

_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{12,64})")
_WORKSHOP = ".work-"
_GRACE_SECONDS = 60.0
"""A workshop that is this young may not be locked yet."""


class Tag(NamedTuple):
    """A tag and the digest it leads to."""

    reference: Reference
    digest: str


class Shelf:
    """Trees below ``root``, which is created when something is first written.

    ``word`` is what one tree is called in messages, ``error`` the class of those an author can act on, ``make`` a
    hint at how one comes to be (``{}`` is its tag), ``lists`` the command that shows all.
    """

    def __init__(self, root: Path, *, word: str, error: type[AuthorError], make: str, lists: str) -> None:
        self.root = root
        self.word = word
        self.error = error
        self.make = make
        self.lists = lists

    # ---- content

    def place(self, digest: str) -> Path:
        """Where a tree is kept, or would be."""
        return self.root / "content" / digest

    def digests(self) -> list[str]:
        """Every tree, tagged or not."""
        return sorted(path.name for path in (self.root / "content").glob("*"))

    def put(
        self,
        staged: Path,
        digest: str,
        tags: tuple[Reference, ...],
        is_whole: Callable[[str], bool],
        *,
        taken: Callable[[Reference], AuthorError] | None = None,
    ) -> None:
        """Give a staged tree its place, and tags that lead to it, as one step for everybody else.

        When somebody was faster, ``is_whole`` is asked whether what is there is as it should be, and then kept.
        ``taken`` makes the error for a tag that leads to another tree already; without it such a tag is moved.
        """
        with self.writing(), self._locked():
            for tag in tags:
                if taken is not None and self.has(tag) and self._read_tag(self._tag_file(tag)) != digest:
                    raise taken(tag)
            place = self.place(digest)
            if not (place.is_dir() and is_whole(digest)):
                make_directory(place.parent)
                with self.workshop() as aside:
                    with contextlib.suppress(FileNotFoundError):
                        os.rename(place, aside / "replaced")
                    os.rename(staged, place)
            for tag in tags:
                self._write_tag(tag, digest)

    def set_tag(self, tag: Reference, digest: str) -> bool:
        """Let a tag lead to a tree; False when somebody has just deleted that tree."""
        with self.writing(), self._locked():
            if not self.place(digest).is_dir():
                return False
            self._write_tag(tag, digest)
            return True

    @contextlib.contextmanager
    def workshop(self) -> Iterator[Path]:
        """A directory on the file system of the shelf, gone afterwards; what the dead left is cleared away."""
        make_directory(self.root)
        for left in self.leftovers():
            shutil.rmtree(left, ignore_errors=True)
        with self.writing():
            path = Path(tempfile.mkdtemp(prefix=_WORKSHOP, dir=self.root))
        lock = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)
            os.close(lock)

    def leftovers(self) -> list[Path]:
        """Workshops whose makers are gone."""
        return [path for path in self.root.glob(f"{_WORKSHOP}*") if _is_left(path)]

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Turn what the file system refuses into DiskFull or StorageError."""
        try:
            yield
        except OSError as error:
            why = error.strerror or str(error)
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DiskFull(
                    f"there is no room for the {self.word} in {self.root}: {why}",
                    hint="make room, or set TIFFIN_HOME to a directory on another disk; nothing was changed",
                ) from error
            raise StorageError(f"cannot write the {self.word} to {self.root}: {why}") from error

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        make_directory(self.root)
        with (self.root / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    # ---- tags

    def tags(self) -> list[Tag]:
        """Every tag, sorted; one whose file is damaged is left out."""
        found = []
        for file in (self.root / "tags").glob("*/*"):
            if not file.name.startswith("."):
                with contextlib.suppress(OSError, AuthorError):
                    found.append(Tag(Reference.of_file(file.parent.name, file.name), self._read_tag(file)))
        return sorted(found)

    def tags_of(self, digest: str) -> tuple[str, ...]:
        """The tags that lead to a tree."""
        return tuple(str(tag.reference) for tag in self.tags() if tag.digest == digest)

    def has(self, name: Reference) -> bool:
        """Whether there is exactly this tag."""
        return bool(name.version) and self._tag_file(name).is_file()

    def created(self, name: Reference) -> str:
        """When a tag was last set, ISO 8601 in UTC; empty when it is gone."""
        try:
            return datetime.fromtimestamp(self._tag_file(name).stat().st_mtime, UTC).isoformat(timespec="seconds")
        except OSError:
            return ""

    def find(self, text: str) -> tuple[str, Reference | None]:
        """The digest of a tag, of a name, of a digest or of the beginning of either; and the tag it was found by.

        A name alone is its tag ``latest``, else the tag that was set last.

        Raises:
            AuthorError: there is none, or several could be meant; of the shelf's class.
        """
        if match := _DIGEST.fullmatch(text):
            held = [digest for digest in self.digests() if digest.startswith(match[1])]
            if len(held) == 1:
                return held[0], None
            if text.startswith("sha256:"):
                raise self.missing(text)
        name = reference.parse(text, self.error)
        found = name if self.has(name) else self._begins_with(name) if name.version else self._newest(name)
        if found is None and name.version == LATEST:
            found = self._newest(name)
        if found is None:
            raise self.missing(text)
        return self._read_tag(self._tag_file(found)), found

    def delete(self, name: Reference, *, may_go: Callable[[str], None] | None = None) -> bool:
        """Delete a tag, and the tree when no other tag leads to it, which the result tells.

        ``may_go`` is asked with the digest while nobody else can change anything, and raises when it may not.

        Raises:
            AuthorError: there is no such tag. A version has to be written.
        """
        if not name.version:
            raise self.error(f"expected name:version, found {str(name)!r}", hint=self._which(name))
        if not self.has(name):
            raise self.missing(str(name))
        with self._locked(), self.workshop() as aside:
            file = self._tag_file(name)
            if not file.is_file():
                raise self.missing(str(name))
            digest = self._read_tag(file)
            is_last = not any(tag.digest == digest and tag.reference != name for tag in self.tags())
            if is_last and may_go is not None:
                may_go(digest)
            file.unlink()
            with contextlib.suppress(OSError):
                file.parent.rmdir()
            if is_last:
                # Renamed first: what is found under content is always whole.
                with contextlib.suppress(OSError):
                    os.rename(self.place(digest), aside / "deleted")
            return is_last

    def drop(self, digest: str) -> bool:
        """Delete a tree that no tag leads to; False when one does, or it is gone."""
        with self._locked(), self.workshop() as aside:
            if self.tags_of(digest) or not self.place(digest).is_dir():
                return False
            os.rename(self.place(digest), aside / "deleted")
            return True

    def missing(self, text: str) -> AuthorError:
        """The error for what is not there, with what is."""
        name = reference.parse(text, self.error)
        return self.error(f"there is no {self.word} {text} in {self.root}", hint=self._which(name))

    def _write_tag(self, tag: Reference, digest: str) -> None:
        file = self._tag_file(tag)
        make_directory(file.parent)
        write_atomic(file, digest + "\n", mode=0o644)

    def _tag_file(self, name: Reference) -> Path:
        return self.root / "tags" / name.file / name.version

    def _read_tag(self, file: Path) -> str:
        digest = file.read_text(encoding="ascii", errors="replace").strip()
        if not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise self.error("expected a sha256, found something else", at=str(file))
        return digest

    def _versions(self, name: Reference) -> list[Path]:
        files = (self.root / "tags" / name.file).glob("*")
        return [file for file in files if not file.name.startswith(".")]

    def _newest(self, name: Reference) -> Reference | None:
        latest = Reference(name.name, LATEST)
        if self.has(latest):
            return latest
        newest = max(self._versions(name), key=lambda file: file.stat().st_mtime_ns, default=None)
        return Reference(name.name, newest.name) if newest is not None else None

    def _begins_with(self, name: Reference) -> Reference | None:
        """The one version that begins as written; BentoML's commands take such beginnings."""
        found = sorted(file.name for file in self._versions(name) if file.name.startswith(name.version))
        if len(found) > 1:
            raise self.error(
                f"expected the beginning of one version, found {len(found)} for {name}: {', '.join(found)}"
            )
        return Reference(name.name, found[0]) if found else None

    def _which(self, name: Reference) -> str:
        tags = [str(tag.reference) for tag in self.tags()]
        close = [t for t in tags if t.startswith(f"{name.name}:")] or difflib.get_close_matches(
            name.name, tags, n=3
        )
        if close:
            return f"there is {', '.join(close)}; `{self.lists}` shows all"
        return self.make.format(name)


def _is_left(path: Path) -> bool:
    try:
        if time.time() - path.stat().st_mtime < _GRACE_SECONDS and not any(path.iterdir()):
            return False
        return not is_held(path)
    except OSError:
        return False
