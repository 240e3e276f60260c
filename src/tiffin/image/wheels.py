"""A wheel as members of a layer: what an installer would write, without running anything.

Sources: the wheel format of PEP 427 and its ``.data`` directories, entry points of packaging.python.org.
"""

from __future__ import annotations

import configparser
import csv
import hashlib
import io
import re
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

from tiffin.errors import ImageError
from tiffin.image import members
from tiffin.image.members import Member

_SHEBANG = re.compile(rb"#!python[w]?[^\n]*")
_SCRIPT = """\
#!{python}
import sys
from {module} import {first}
if __name__ == "__main__":
    sys.exit({attribute}())
"""


class Wheel(NamedTuple):
    """A wheel on disk, by what its file name says."""

    path: Path
    name: str
    version: str
    sha256: str
    size: int

    @property
    def pinned(self) -> str:
        return f"{self.name}=={self.version}"


def read(path: Path) -> Wheel:
    """A wheel by its file; raises ImageError when its name is none."""
    parts = path.name.removesuffix(".whl").split("-")
    if path.suffix != ".whl" or len(parts) not in (5, 6):
        raise ImageError("expected a wheel, found a file of another name", at=str(path))
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Wheel(path, normal(parts[0]), parts[1], digest, path.stat().st_size)


def normal(name: str) -> str:
    """A project's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def unpack(wheel: Wheel, *, prefix: str, python: str) -> list[Member]:
    """Members of an installed wheel below ``prefix`` of a virtual environment.

    Args:
        wheel: what to install.
        prefix: without a leading slash: ``opt/tiffin``.
        python: version, such as ``3.11``.

    Raises:
        ImageError: it is no zip, leads out of its directory, or has parts that no installer knows.
    """
    site = f"{prefix}/lib/python{python}/site-packages"
    found: dict[str, Member] = {}
    shared = _Shared(wheel.path)
    try:
        with zipfile.ZipFile(wheel.path) as archive:
            for info in archive.infolist():
                if not info.is_dir():
                    one = _place(wheel, archive, shared, info, prefix, site, python)
                    if one is not None:
                        found[one.path] = one
            for one in _scripts(wheel, archive, prefix):
                found.setdefault(one.path, one)
    except (zipfile.BadZipFile, OSError, KeyError) as error:
        raise ImageError(f"expected a wheel, found a broken file: {error}", at=str(wheel.path)) from error
    info_directory = next(
        (path.rpartition("/")[0] for path in found if path.endswith(".dist-info/METADATA")), None
    )
    if info_directory is None:
        raise ImageError("expected a wheel, found no METADATA in it", at=str(wheel.path))
    found[f"{info_directory}/INSTALLER"] = members.text(f"{info_directory}/INSTALLER", "tiffin\n")
    found.pop(f"{info_directory}/RECORD", None)
    record = f"{info_directory}/RECORD"
    found[record] = members.text(record, _record(found, site, record))
    return list(found.values())


def _place(
    wheel: Wheel,
    archive: zipfile.ZipFile,
    shared: _Shared,
    info: zipfile.ZipInfo,
    prefix: str,
    site: str,
    python: str,
) -> Member | None:
    path = PurePosixPath(info.filename)
    if path.is_absolute() or ".." in path.parts or "\\" in info.filename:
        raise ImageError(f"the wheel {wheel.path.name} leads out of its directory: {info.filename!r}")
    is_script = False
    target = f"{site}/{path}"
    if path.parts[0].endswith(".data") and len(path.parts) > 2:
        where, rest = path.parts[1], "/".join(path.parts[2:])
        places = {
            "purelib": site,
            "platlib": site,
            "scripts": f"{prefix}/bin",
            "data": prefix,
            "headers": f"{prefix}/include/site/python{python}/{wheel.name}",
        }
        if where not in places:
            raise ImageError(f"the wheel {wheel.path.name} has a part that no installer knows: {where!r}")
        is_script = where == "scripts"
        target = f"{places[where]}/{rest}"
    if target.endswith((".pyc", "/RECORD.jws", "/RECORD.p7s")):
        return None
    mode = 0o755 if is_script or (info.external_attr >> 16) & 0o111 else 0o644
    if is_script:
        content = archive.read(info)
        return members.text(target, _SHEBANG.sub(f"#!/{prefix}/bin/python".encode(), content, count=1), mode)
    return Member(target, "file", mode, info.file_size, partial(shared.open, info.filename))


class _Shared:
    """A wheel that is opened when the first of its files is read, and only once: large ones list thousands."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._archive: zipfile.ZipFile | None = None

    def open(self, name: str) -> BinaryIO:
        if self._archive is None:
            self._archive = zipfile.ZipFile(self._path)
        return self._archive.open(name)  # type: ignore[return-value]


def _scripts(wheel: Wheel, archive: zipfile.ZipFile, prefix: str) -> Iterator[Member]:
    name = next((n for n in archive.namelist() if n.endswith(".dist-info/entry_points.txt")), None)
    if name is None:
        return
    points = configparser.ConfigParser(delimiters=("=",), strict=False)
    points.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        points.read_string(archive.read(name).decode("utf-8"))
    except (configparser.Error, UnicodeDecodeError) as error:
        raise ImageError(f"the wheel {wheel.path.name} has broken entry points: {error}") from error
    if not points.has_section("console_scripts"):
        return
    for script, value in points.items("console_scripts"):
        module, _, attribute = value.partition("[")[0].strip().partition(":")
        attribute = attribute.strip()
        if not attribute or not re.fullmatch(r"[A-Za-z0-9._-]+", script):
            continue
        body = _SCRIPT.format(
            python=f"/{prefix}/bin/python",
            module=module.strip(),
            first=attribute.partition(".")[0],
            attribute=attribute,
        )
        yield members.text(f"{prefix}/bin/{script}", body, 0o755)


def _record(found: dict[str, Member], site: str, record: str) -> str:
    """RECORD as ``importlib.metadata`` reads it; digests are left out, as the layer has its own."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    depth = len(PurePosixPath(site).parts)
    for path in sorted([*found, record]):
        relative = path.removeprefix(f"{site}/")
        if relative == path:
            above = _common(site, path)
            relative = "../" * (depth - above) + "/".join(PurePosixPath(path).parts[above:])
        writer.writerow((relative, "", ""))
    return out.getvalue()


def _common(one: str, other: str) -> int:
    count = 0
    for left, right in zip(PurePosixPath(one).parts, PurePosixPath(other).parts, strict=False):
        if left != right:
            break
        count += 1
    return count
