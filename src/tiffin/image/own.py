"""Tiffin's own wheel, made from what is installed: a checkout, a wheel or an archive alike, without a network."""

from __future__ import annotations

import zipfile
from importlib import metadata
from pathlib import Path

import tiffin
from tiffin.errors import ImageError

NAME = "tiffin"
_WHEEL = "Wheel-Version: 1.0\nGenerator: tiffin\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_EARLIEST = (1980, 1, 1, 0, 0, 0)
_ALSO = ("METADATA", "entry_points.txt")


def write(directory: Path) -> Path:
    """Write the wheel; its bytes depend on Tiffin's own files only.

    Raises:
        ImageError: Tiffin is not installed as a distribution, or has parts for this machine alone.
    """
    try:
        own = metadata.distribution(NAME)
    except metadata.PackageNotFoundError as error:
        raise ImageError("Tiffin is not installed as a package here", hint="pip install tiffin") from error
    package = Path(tiffin.__file__).parent
    files = sorted(
        path
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"
    )
    if native := next((path for path in files if path.suffix in (".so", ".pyd", ".dylib")), None):
        raise ImageError(f"expected Tiffin to be Python alone, found {native.name}")
    information = f"{NAME}-{own.version}.dist-info"
    target = directory / f"{NAME}-{own.version}-py3-none-any.whl"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for path in files:
            _add(archive, f"{NAME}/{path.relative_to(package).as_posix()}", path.read_bytes())
        for name in _ALSO:
            if content := own.read_text(name):
                _add(archive, f"{information}/{name}", content.encode())
        _add(archive, f"{information}/WHEEL", _WHEEL.encode())
        # pip wants one, and does not look whether it is complete.
        _add(archive, f"{information}/RECORD", b"")
    return target


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    info = zipfile.ZipInfo(name, _EARLIEST)
    info.external_attr = 0o100644 << 16
    archive.writestr(info, content)


def installed() -> dict[str, str]:
    """Every distribution of this environment and its version: what this Tiffin is known to run with."""
    found: dict[str, str] = {}
    for one in metadata.distributions():
        name = one.metadata["Name"]
        if name:
            found.setdefault(name, one.version)
    return found
