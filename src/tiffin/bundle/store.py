"""The local bundle store: bundles by content, and tags that lead to them.

    <root>/content/<sha256>/bundle.json     the manifest; its sha256 is the directory's name
    <root>/content/<sha256>/src/            the author's files
    <root>/tags/<name>/<version>            one line, the sha256

A bundle is written beside its place and renamed into it; it never changes afterwards.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from tiffin.bundle import reference
from tiffin.bundle.manifest import MANIFEST, SOURCE, Bundle, Kind, read_bundle, verify
from tiffin.bundle.plan import Plan, plan
from tiffin.bundle.reference import LATEST, Reference
from tiffin.errors import BundleError, StorageError
from tiffin.kits.files import write_atomic
from tiffin.kits.paths import make_directory

_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{12,64})")
_VERSION_LENGTH = 12

# A tag and the digest it leads to. Named here: in the class, ``list`` is a method.
_Tags = list[tuple[str, str]]


class Tagged(msgspec.Struct, frozen=True, kw_only=True):
    """A tag and what it leads to, for lists. ``created`` is when the tag was last set, ISO 8601 in UTC."""

    tag: str
    digest: str
    kind: Kind
    target: str
    size: int
    created: str


class BundleStore:
    """Bundles below ``root``, which is created when something is first written."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def build(
        self,
        directory: Path,
        *,
        tag: str = "",
        target: str = "",
        kind: Kind | None = None,
        bentofile: Path | None = None,
    ) -> Bundle:
        """Make a bundle of a directory and tag it.

        Args:
            directory: holds the sources.
            tag: ``name:version``; the version defaults to the start of the digest, the name to that of
                the bentofile, else of the class.
            target: ``module:Class``, or a class's name; found by looking when empty.
            kind: ``class`` (a plain class) or ``service``; found by looking when None.
            bentofile: a file as BentoML reads it; ``bentofile.yaml`` of the directory when it has one.

        Raises:
            BundleError: it cannot be built, with the reason.
        """
        wanted = reference.parse(tag) if tag else None
        made = plan(directory, target=target, kind=kind, bentofile=bentofile)
        return self.add(made, wanted or Reference(made.name))[1]

    def add(self, made: Plan, name: Reference) -> tuple[str, Bundle]:
        """Write what was planned and tag it; the whole tag, with a version from the digest if ``name`` has none.

        Raises:
            BundleError: a file changed meanwhile.
            StorageError: the store cannot be written.
        """
        name = name if name.version else Reference(name.name, made.manifest.digest[:_VERSION_LENGTH])
        place = self._add(made)
        file = self._tag_file(name)
        make_directory(file.parent)
        write_atomic(file, place.name + "\n", mode=0o644)
        return str(name), self.find(str(name))

    def get(self, name: str) -> Bundle:
        """The bundle of a tag, a digest or the start of one, verified against its manifest.

        A name without a version is ``latest`` when there is such a tag, else the tag that was set last.

        Raises:
            BundleError: there is none, or it has been tampered with.
        """
        bundle = self.find(name)
        verify(bundle)
        return bundle

    def find(self, name: str) -> Bundle:
        """As ``get``, without reading every file again."""
        digest = self._digest_of(name)
        path = self.root / "content" / digest
        bundle = read_bundle(path)
        if bundle is None:
            raise BundleError(f"the bundle {name} has no content in {self.root}", hint="build it again")
        if bundle.digest != digest:
            raise BundleError(
                f"the manifest of the bundle {name} has changed", hint="build it again", at=str(path)
            )
        return msgspec.structs.replace(bundle, tags=tuple(sorted(t for t, d in self._tags() if d == digest)))

    def list(self) -> list[Tagged]:
        """All tags with their bundles, by tag. A broken bundle is left out."""
        found = []
        for tag, digest in self._tags():
            name = reference.parse(tag)
            with contextlib.suppress(BundleError, OSError):
                bundle = read_bundle(self.root / "content" / digest)
                if bundle is not None:
                    set_at = datetime.fromtimestamp(self._tag_file(name).stat().st_mtime, UTC)
                    found.append(
                        Tagged(
                            tag=tag,
                            digest=digest,
                            kind=bundle.kind,
                            target=bundle.target,
                            size=bundle.manifest.size,
                            created=set_at.isoformat(timespec="seconds"),
                        )
                    )
        return sorted(found, key=lambda tagged: tagged.tag)

    def delete(self, tag: str) -> bool:
        """Delete a tag; the content too when no other tag leads to it, which the result tells.

        Raises:
            BundleError: there is no such tag. A version has to be written.
        """
        name = reference.parse(tag)
        if not name.version:
            raise BundleError(f"expected name:version, found {tag!r}", hint=self._which(name))
        file = self._tag_file(name)
        if not file.is_file():
            raise self._missing(tag)
        digest = _read_tag(file)
        file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            file.parent.rmdir()
        if any(other == digest for _, other in self._tags()):
            return False
        # Renamed first: what is found under content is always whole.
        with contextlib.suppress(OSError), self._workshop() as place:
            os.rename(self.root / "content" / digest, place / "deleted")
        return True

    def _add(self, made: Plan) -> Path:
        place = self.root / "content" / made.manifest.digest
        if (bundle := read_bundle(place)) is not None:
            try:
                verify(bundle)
                return place
            except BundleError:
                # The same sources again are the way to mend a bundle that was tampered with.
                with self._workshop() as workshop:
                    os.rename(place, workshop / "broken")
        make_directory(place.parent)
        try:
            with self._workshop() as workshop:
                made.write(workshop / "new" / SOURCE)
                write_atomic(workshop / "new" / MANIFEST, made.manifest.encode(), mode=0o644)
                # Another build of the same content may have been faster; both wrote the same bytes.
                if not place.exists():
                    os.rename(workshop / "new", place)
        except OSError as error:
            raise StorageError(f"cannot write the bundle to {self.root}: {error.strerror or error}") from error
        return place

    @contextlib.contextmanager
    def _workshop(self) -> Iterator[Path]:
        """A directory on the file system of the store, gone afterwards."""
        make_directory(self.root)
        path = Path(tempfile.mkdtemp(prefix=".work-", dir=self.root))
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def _tag_file(self, name: Reference) -> Path:
        return self.root / "tags" / name.file / name.version

    def _tags(self) -> _Tags:
        """Every tag with its digest."""
        found: _Tags = []
        for file in (self.root / "tags").glob("*/*"):
            if not file.name.startswith("."):
                with contextlib.suppress(OSError):
                    found.append((str(Reference.of_file(file.parent.name, file.name)), _read_tag(file)))
        return found

    def _digest_of(self, text: str) -> str:
        if match := _DIGEST.fullmatch(text):
            held = [path.name for path in (self.root / "content").glob(f"{match[1]}*")]
            if len(held) == 1:
                return held[0]
            if text.startswith("sha256:"):
                raise self._missing(text)
        name = reference.parse(text)
        file = self._tag_file(name) if name.version else self._newest(name)
        if file is None or not file.is_file():
            file = self._newest(name) if name.version == LATEST else None
        if file is None:
            raise self._missing(text)
        return _read_tag(file)

    def _newest(self, name: Reference) -> Path | None:
        latest = self._tag_file(Reference(name.name, LATEST))
        if latest.is_file():
            return latest
        files = [file for file in latest.parent.glob("*") if not file.name.startswith(".")]
        return max(files, key=lambda file: file.stat().st_mtime_ns, default=None)

    def _missing(self, text: str) -> BundleError:
        return BundleError(f"there is no bundle {text} in {self.root}", hint=self._which(reference.parse(text)))

    def _which(self, name: Reference) -> str:
        tags = sorted(tag for tag, _ in self._tags())
        close = [t for t in tags if t.startswith(f"{name.name}:")] or difflib.get_close_matches(
            name.name, tags, n=3
        )
        if close:
            return f"there is {', '.join(close)}; `tiffin list` shows all"
        return f"make it: `tiffin build -t {name} DIRECTORY`"


def _read_tag(file: Path) -> str:
    digest = file.read_text(encoding="ascii", errors="replace").strip()
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise BundleError("expected a sha256, found something else", at=str(file))
    return digest
