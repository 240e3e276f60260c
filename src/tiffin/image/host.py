"""``--base scratch-from-host``: this machine's own Python and what it needs, for work without a network.

The interpreter, its standard library, the shared libraries both are linked with, the C++ runtime that wheels count
on, certificates and time zones. No shell, no package manager.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

from tiffin.errors import ImageError
from tiffin.image import members
from tiffin.image.members import Member

_LINE = re.compile(r"^\s*(?:(\S+) => )?(/\S+) \(0x[0-9a-f]+\)", re.MULTILINE)
_MISSING = re.compile(r"^\s*(\S+) => not found", re.MULTILINE)
# Libraries that the interpreter is not linked with: what wheels may count on (PEP 600), and what looks up names.
_RUNTIME = (
    *("libstdc++.so.6", "libgcc_s.so.1", "libm.so.6", "libdl.so.2", "librt.so.1", "libpthread.so.0"),
    *("libutil.so.1", "libresolv.so.2", "libnss_dns.so.2", "libnss_files.so.2", "libanl.so.1"),
)
_WITHOUT = {
    *("test", "tests", "idlelib", "turtledemo", "tkinter", "lib2to3", "ensurepip", "site-packages"),
    *("dist-packages", "__pycache__", "pydoc_data"),
}
# Extensions of tkinter, which would bring all of X, and of the interpreter's own tests.
_UNWANTED = re.compile(r"(_tkinter|_test\w*|_ctypes_test|_xxtestfuzz|xxlimited\w*|xxsubtype)\..*")
_CERTIFICATES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"
_ZONES = Path("/usr/share/zoneinfo")
_LEGACY_ZONES = {"posix", "right", "posixrules", "leap-seconds.list", "leapseconds", "tzdata.zi", "localtime"}
_LIBC = ("libc.so", "libc.musl", "ld-musl")
_USUAL = ("/lib", "/usr/lib")
_DIRECTORIES = (
    "etc",
    "home",
    "opt",
    "proc",
    "root",
    "run",
    "srv",
    "sys",
    "dev",
    "usr",
    "var",
    "var/lib",
    "var/log",
)


def python() -> str:
    """The version of Python this base has: that Tiffin runs with."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def inputs() -> dict[str, object]:
    """What decides the base's content, cheap enough to ask at every build."""
    files = [*_interpreter_files(), *_libraries()]
    seen = {str(path): [path.stat().st_size, path.stat().st_mtime_ns] for path in files}
    certificates = _certificates()
    if certificates is not None:
        seen[str(certificates)] = [certificates.stat().st_size, certificates.stat().st_mtime_ns]
    return {"files": seen, "version": sys.version, "format": 1}


def gather() -> list[Member]:
    """The members of the base.

    Raises:
        ImageError: this machine is no Linux with glibc or musl, or a library is missing.
    """
    found: dict[str, Member] = {}
    for one in _all():
        found.setdefault(one.path, one)
    return members.tree("", found.values())


def environment() -> dict[str, str]:
    """Variables the base needs."""
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "SSL_CERT_FILE": f"/{CERTIFICATES}"}


def _all() -> Iterator[Member]:
    for name in _DIRECTORIES:
        yield members.directory(name, 0o700 if name == "root" else 0o755)
    for name in ("tmp", "var/tmp"):
        yield members.directory(name, 0o1777)
    yield from _accounts()
    prefix = "usr/local"
    version = python()
    executable = Path(os.path.realpath(sys._base_executable))  # type: ignore[attr-defined]
    yield members.file(f"{prefix}/bin/python{version}", executable, mode=0o755)
    for name in ("python3", "python"):
        yield members.symlink(f"{prefix}/bin/{name}", f"python{version}")
    for path, inside in _standard_library():
        yield members.file(f"{prefix}/lib/python{version}/{inside}", path)
    # Links of the root first: what follows may lie behind one.
    yield from _merged()
    for path in _libraries():
        yield from _as_found(path) if str(path).startswith(_USUAL) else _stray(path)
    certificates = _certificates()
    if certificates is not None:
        yield members.text(CERTIFICATES, certificates.read_bytes())
    if _ZONES.is_dir():
        yield from _zones()


def _accounts() -> Iterator[Member]:
    nologin = "/sbin/nologin"
    yield members.text(
        "etc/passwd",
        f"root:x:0:0:root:/root:{nologin}\nnobody:x:65534:65534:nobody:/nonexistent:{nologin}\n",
    )
    yield members.text("etc/group", "root:x:0:\nnogroup:x:65534:\n")
    yield members.text("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n")
    for path in (Path("/etc/os-release"), Path("/usr/lib/os-release")):
        if path.is_file():
            yield members.text("etc/os-release", path.read_bytes())
            break


def _standard_library() -> Iterator[tuple[Path, str]]:
    """Files of the standard library, and where they belong below ``lib/python3.N``."""
    roots = [Path(sysconfig.get_path(name, vars=_base())) for name in ("stdlib", "platstdlib")]
    for root in dict.fromkeys(roots):
        for directory, directories, files in os.walk(root):
            directories[:] = sorted(
                name for name in directories if name not in _WITHOUT and not name.startswith("config-")
            )
            for name in sorted(files):
                path = Path(directory, name)
                if not name.endswith((".pyc", ".a")) and not _UNWANTED.match(name) and path.is_file():
                    yield path, path.relative_to(root).as_posix()


def _base() -> dict[str, str]:
    return {
        "base": sys.base_prefix,
        "platbase": sys.base_exec_prefix,
        "installed_base": sys.base_prefix,
        "installed_platbase": sys.base_exec_prefix,
    }


def _interpreter_files() -> list[Path]:
    executable = Path(os.path.realpath(sys._base_executable))  # type: ignore[attr-defined]
    extensions = [path for path, _ in _standard_library() if path.suffix == ".so"]
    return [executable, *extensions]


@functools.cache
def _libraries() -> tuple[Path, ...]:
    """Every shared library by the path it is looked for at, the dynamic loader included."""
    if sys.platform != "linux":
        raise ImageError("scratch-from-host needs Linux", hint="name a base: --base python:3.11-slim")
    ldd = shutil.which("ldd")
    if ldd is None:
        raise ImageError("expected ldd, which comes with the C library, found none", hint="name a base: --base")
    found: dict[Path, None] = {}
    _linked(ldd, _interpreter_files(), found)
    home = next((path.parent for path in found if path.name.startswith(_LIBC)), None)
    if home is not None:
        extra = [path for name in _RUNTIME if (path := _find(name, home)) is not None]
        found.update(dict.fromkeys(extra))
        _linked(ldd, extra, found)
    return tuple(sorted(found))


def _linked(ldd: str, files: Iterable[Path], found: dict[Path, None]) -> None:
    done = subprocess.run([ldd, *map(str, files)], capture_output=True, text=True, errors="replace", check=False)
    if missing := sorted(set(_MISSING.findall(done.stdout))):
        raise ImageError(f"this machine's Python is linked with {', '.join(missing)}, which is not here")
    for matched in _LINE.finditer(done.stdout):
        found[Path(matched[2])] = None


def _find(name: str, home: Path) -> Path | None:
    places = (home, Path("/usr") / str(home).lstrip("/"), Path("/usr/lib64"), Path("/usr/lib"), Path("/lib64"))
    return next((place / name for place in places if (place / name).exists()), None)


def _merged() -> Iterator[Member]:
    """``/lib -> usr/lib`` and its like, where this machine has them."""
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        path = Path("/", name)
        if path.is_symlink():
            target = os.readlink(path)
            yield members.symlink(name, target)
            yield members.directory(target.strip("/"))


def _as_found(path: Path) -> Iterator[Member]:
    """A library and each link on the way to it, at their places behind ``_merged``."""
    seen: set[Path] = set()
    while path not in seen:
        seen.add(path)
        place = Path(os.path.realpath(path.parent), path.name)
        inside = str(place).lstrip("/")
        if not place.is_symlink():
            yield members.file(inside, place, mode=0o755)
            return
        yield members.symlink(inside, os.readlink(place))
        path = place.parent / os.readlink(place)


def _stray(path: Path) -> Iterator[Member]:
    """A library the interpreter finds by a path of its own (pyenv, conda), where the loader always looks."""
    home = next(one.parent for one in _libraries() if one.name.startswith(_LIBC))
    place = os.path.realpath(home).lstrip("/")
    yield members.file(f"{place}/{path.name}", Path(os.path.realpath(path)), mode=0o755)


def _certificates() -> Path | None:
    return next((Path(os.path.realpath(path)) for path in _CERTIFICATES if os.path.isfile(path)), None)


def _zones() -> Iterator[Member]:
    for directory, directories, files in os.walk(_ZONES):
        directories[:] = sorted(name for name in directories if name not in _LEGACY_ZONES)
        for name in sorted(files):
            path = Path(directory, name)
            if name not in _LEGACY_ZONES and path.is_file():
                yield members.text(f"usr/share/zoneinfo/{path.relative_to(_ZONES).as_posix()}", path.read_bytes())
