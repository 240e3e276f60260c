"""System packages without a container: Debian packages that apt chooses and fetches, unpacked into a layer.

apt of this machine decides against the package list of the base, so what the base has is not fetched again. No
script of a package is run; where one has any it is named.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

from tiffin.errors import ImageError, StorageError
from tiffin.image import looking, members, platforms
from tiffin.image.base import SCRATCH, Base
from tiffin.image.layers import Layer, Workshop
from tiffin.image.members import Member
from tiffin.oci.records import Platform

_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+(?:=[A-Za-z0-9.+:~-]+)?")
_STATUS = "var/lib/dpkg/status"
_UNKNOWN = re.compile(r"Unable to locate package (\S+)|Package '?(\S+?)'? has no installation candidate")
_HINT = "`tiffin image --builder docker` installs them in a container"
# Left to what dpkg does at the end of every installation: nothing here depends on it.
_HARMLESS = re.compile(r"ldconfig|py3compile|py3clean|update-mime|set -e|dh_|^\s*(#.*|if .*|fi|exit 0|esac|;;)?$")


def layer(
    names: Sequence[str], base: Base, platform: Platform, workshop: Workshop, place: Path
) -> tuple[Layer, list[str]]:
    """The layer of Debian packages and what they need beyond the base; and warnings.

    Raises:
        ImageError: the base is no Debian of this machine's release, or there is no such package.
        StorageError: apt cannot fetch.
    """
    check(names, base, platform)
    title = f"system packages {' '.join(sorted(names))}"
    archives = place / "archives"
    status = place / "status"
    place.mkdir(parents=True, exist_ok=True)
    status.write_text(_status(base))
    key = workshop.key("system", [sorted(names), base.digest or base.diff_ids])
    held = workshop.recall(key, dict[str, list[str]])
    inputs = ["system", held["files"]] if held else None
    if held is None or not workshop.has(inputs):
        workshop.say(f"fetching {title}")
        _download(names, status, archives, place)
        found = sorted(archives.glob("*.deb"))
        held = {"files": [path.name for path in found], "warnings": _scripts(found)}
        workshop.remember(key, held)
        inputs = ["system", held["files"]]
    made = workshop.layer(title, inputs, lambda: _members(sorted(archives.glob("*.deb")), base, status))
    return made, held["warnings"]


def check(names: Sequence[str], base: Base, platform: Platform) -> None:
    """Refuse what cannot be done here, before anything is fetched; raises ImageError."""
    for name in names:
        if not _NAME.fullmatch(name):
            raise ImageError(f"expected the name of a Debian package, found {name!r}", at="system_packages")
    said = f"the bundle needs the system packages {', '.join(names)}"
    missing = [tool for tool in ("apt-get", "dpkg-deb") if shutil.which(tool) is None]
    if missing:
        raise ImageError(f"{said}, and {missing[0]} is not here to fetch them", hint=_HINT)
    if platform != platforms.here():
        raise ImageError(f"{said}, which can be fetched for {platforms.here()} alone here", hint=_HINT)
    ours, theirs = _release(Path("/etc/os-release")), base.look.release
    if (theirs.get("ID"), theirs.get("VERSION_ID")) != (ours.get("ID"), ours.get("VERSION_ID")):
        raise ImageError(
            f"{said}; expected a base of this machine's release ({ours.get('PRETTY_NAME', 'unknown')}), found"
            f" {theirs.get('PRETTY_NAME', 'one that does not say')}",
            hint=_HINT,
        )
    if not base.look.texts.get(_STATUS) and base.name != SCRATCH:
        raise ImageError(f"{said}, and the base {base.name} has no list of what it has", hint=_HINT)


def _status(base: Base) -> str:
    """The base's packages; a base made of this machine counts as having what its C and C++ libraries are of."""
    if base.name != SCRATCH:
        return base.look.texts[_STATUS]
    found = []
    for block in Path("/", _STATUS).read_text(encoding="utf-8", errors="replace").split("\n\n"):
        name = block.partition("\n")[0].removeprefix("Package: ")
        if name in ("libc6", "libgcc-s1", "libstdc++6", "gcc-12-base", "libcrypt1", "zlib1g", "ca-certificates"):
            found.append("\n".join(line for line in block.splitlines() if not line.startswith("Depends:")))
    return "\n\n".join(found) + "\n"


def _release(path: Path) -> dict[str, str]:
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    return looking.Look(texts={"etc/os-release": text}).release


def _download(names: Sequence[str], status: Path, archives: Path, place: Path) -> None:
    (archives / "partial").mkdir(parents=True)
    command = [
        *("apt-get", "install", "--download-only", "--yes", "--quiet", "--no-install-recommends"),
        *("-o", f"Dir::State::status={status}", "-o", f"Dir::Cache::archives={archives}"),
        *("-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User=root", "-o", "Dir::Log=/dev/null"),
        *("-o", f"Dir::Cache::pkgcache={place}/pkgcache.bin", "-o", "Dir::Cache::srcpkgcache="),
        *names,
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env={**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
    )
    if done.returncode == 0:
        return
    said = done.stdout + done.stderr
    if matched := _UNKNOWN.search(said):
        raise ImageError(
            f"there is no Debian package {(matched[1] or matched[2]).rstrip('.')} in this machine's lists",
            hint="check the name, or `apt-get update`",
            at="system_packages",
        )
    errors = [line.removeprefix("E: ") for line in said.splitlines() if line.startswith("E: ")]
    raise StorageError(f"apt cannot fetch the system packages: {' '.join(errors)[:400]}", hint="`apt-get update`")


def _scripts(packages: Sequence[Path]) -> list[str]:
    """A warning for each package whose script after the installation does more than dpkg's usual chores."""
    found = []
    for package in packages:
        done = subprocess.run(["dpkg-deb", "--info", str(package), "postinst"], capture_output=True, check=False)
        lines = done.stdout.decode("utf-8", "replace").splitlines()
        if done.returncode == 0 and any(not _HARMLESS.search(line) for line in lines):
            found.append(
                f"the package {package.name.partition('_')[0]} has a script that is to run when it is installed;"
                " it was not"
            )
    return found


def _members(packages: Sequence[Path], base: Base, status: Path) -> list[Member]:
    found: dict[str, Member] = {}
    notes = [status.read_text(encoding="utf-8", errors="replace").rstrip("\n")] if base.name != SCRATCH else []
    for package in packages:
        data = _run("dpkg-deb", "--fsys-tarfile", str(package))
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for one in archive:
                made = _member(archive, one, base)
                if made is not None:
                    found[made.path] = made
        control = _run("dpkg-deb", "--field", str(package)).decode("utf-8", "replace").rstrip("\n")
        if base.name == SCRATCH:
            # As distroless images have it, where scanners look.
            path = f"var/lib/dpkg/status.d/{package.name.partition('_')[0]}"
            found[path] = members.text(path, f"{control}\n")
        first, _, rest = control.partition("\n")
        notes.append(f"{first}\nStatus: install ok unpacked\n{rest}")
    if base.name != SCRATCH:
        found[_STATUS] = members.text(_STATUS, "\n\n".join(notes) + "\n\n")
    return list(found.values())


def _run(*command: str) -> bytes:
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode != 0:
        raise ImageError(f"{command[0]} cannot read {command[-1]}: {done.stderr.decode('utf-8', 'replace')[:300]}")
    return done.stdout


def _member(archive: tarfile.TarFile, one: tarfile.TarInfo, base: Base) -> Member | None:
    path = one.name.removeprefix("./").strip("/")
    if not path or ".." in path.split("/"):
        return None
    top, _, rest = path.partition("/")
    if top in base.look.paths:
        # /lib is a link to /usr/lib: a directory of that name would take its place.
        if not rest:
            return None
        path = f"{base.look.paths[top].strip('/')}/{rest}"
    if one.isdir():
        return Member(path, "directory", one.mode, uid=one.uid, gid=one.gid)
    if one.issym():
        return members.symlink(path, one.linkname)
    if one.islnk():
        one = archive.getmember(one.linkname)
    if not one.isreg():
        return None
    stream = archive.extractfile(one)
    data = stream.read() if stream is not None else b""
    return Member(path, "file", one.mode, len(data), lambda: io.BytesIO(data), uid=one.uid, gid=one.gid)
