"""The locked Python environment: requirements resolved once to versions with hashes.

Resolved by ``uv`` where there is one, else by pip. What was resolved is kept by what went in, so that the same
inputs give the same lock ever after, also without a network. An author's own lock is taken as it is.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from tiffin.bundle import own_requirement, requirements
from tiffin.errors import BundleError
from tiffin.kits.files import write_atomic
from tiffin.kits.paths import make_directory

SECONDS = 1800.0
_SHOWN = re.compile(r"(?i)error:\s*(.+)")
_PLATFORM = re.compile(r"([a-z0-9_]+?)-(?:manylinux_2_(\d+)|manylinux2014|unknown-linux-gnu)")
_OLDEST_GLIBC = 17


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be resolved: texts as pip reads them, for a Python (``3.11``) and a platform.

    ``platform`` is as uv spells it, ``x86_64-manylinux_2_36``; ``arguments`` are further options for pip and uv.
    """

    requirements: str
    constraints: str = ""
    python: str
    platform: str
    arguments: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """What changes whenever any of it does."""
        return hashlib.sha256(msgspec.json.encode(("lock", 1, self))).hexdigest()


def host_platform() -> str:
    """The platform of this machine as uv spells it: ``x86_64-manylinux_2_36``, ``aarch64-apple-darwin``."""
    machine = platform.machine().lower() or "unknown"
    system = platform.system().lower()
    if system == "darwin":
        return f"{'aarch64' if machine == 'arm64' else machine}-apple-darwin"
    kind, version = platform.libc_ver()
    if kind == "glibc" and version.startswith("2."):
        return f"{machine}-manylinux_2_{version.split('.')[1]}"
    return f"{machine}-unknown-linux-{'musl' if system == 'linux' else system}"


def lock(wanted: Wanted, cache: Path, *, root: Path, say: Callable[[str], None] | None = None) -> str:
    """The locked requirements: every package at one version with hashes, sorted; empty for no requirement.

    Args:
        wanted: what is to be resolved.
        cache: where locks are kept; made when needed.
        root: the directory relative paths in the requirements start from.
        say: told when resolving begins, which can take minutes.

    Raises:
        BundleError: it cannot be resolved; the text is the resolver's own.
    """
    wanted = msgspec.structs.replace(wanted, requirements=own_requirement.expanded(wanted.requirements))
    if requirements.is_empty(wanted.requirements):
        return ""
    if requirements.is_lock(wanted.requirements):
        return canonical(wanted.requirements)
    kept = cache / wanted.key
    if kept.is_file():
        return kept.read_text(encoding="utf-8")
    found = _resolve(wanted, root, say)
    make_directory(cache)
    write_atomic(kept, found)
    return found


def canonical(text: str) -> str:
    """A lock in one form: comments left out, one line a hash, sorted by name; options come first."""
    options, packages = [], []
    for line in requirements.lines(text):
        head, *hashes = re.split(r"\s+--hash[= ]", line)
        if line.startswith("-"):
            options.append(line)
        else:
            packages.append("".join((head, *(f" \\\n    --hash={hash.strip()}" for hash in sorted(hashes)))))
    packages.sort(key=lambda text: re.sub(r"[-_.]+", "-", text).lower())
    return "".join(f"{line}\n" for line in (*options, *packages))


def _resolve(wanted: Wanted, root: Path, say: Callable[[str], None] | None) -> str:
    uv = shutil.which("uv")
    with tempfile.TemporaryDirectory(prefix="tiffin-lock-") as directory:
        place = Path(directory)
        (place / "requirements.in").write_text(wanted.requirements, encoding="utf-8")
        (place / "constraints.txt").write_text(wanted.constraints, encoding="utf-8")
        if say is not None:
            say(f"resolving requirements with {'uv' if uv else 'pip'}")
        return _by_uv(uv, wanted, place, root) if uv else _by_pip(wanted, place, root)


def _by_uv(uv: str, wanted: Wanted, place: Path, root: Path) -> str:
    command = [
        *(uv, "pip", "compile", "--quiet", "--generate-hashes", "--no-header", "--no-annotate"),
        *("--no-emit-index-url", "--no-emit-find-links", "--no-config"),
        *("--python-version", wanted.python, "--python-platform", wanted.platform),
        *("--constraint", str(place / "constraints.txt"), *wanted.arguments),
        *("--output-file", str(place / "lock.txt"), str(place / "requirements.in")),
    ]
    done = _run(command, root)
    if done.returncode != 0:
        raise _failure(done, wanted)
    return _with_options(wanted, canonical((place / "lock.txt").read_text(encoding="utf-8")))


def _by_pip(wanted: Wanted, place: Path, root: Path) -> str:
    command = [
        *(sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--no-input"),
        *("--disable-pip-version-check", "--report", str(place / "report.json")),
        *("--constraint", str(place / "constraints.txt"), *wanted.arguments),
        *_elsewhere(wanted, place),
        *("--requirement", str(place / "requirements.in")),
    ]
    done = _run(command, root)
    if done.returncode != 0:
        raise _failure(done, wanted)
    report = msgspec.json.decode((place / "report.json").read_bytes())
    return _with_options(wanted, canonical("".join(f"{_line(item, root)}\n" for item in report["install"])))


def _elsewhere(wanted: Wanted, place: Path) -> list[str]:
    """What pip has to be told to resolve for another platform or Python than it runs on."""
    here = (f"{sys.version_info.major}.{sys.version_info.minor}", host_platform())
    if (wanted.python, wanted.platform) == here:
        return []
    found = ["--target", str(place / "target"), "--only-binary=:all:", "--python-version", wanted.python]
    if wanted.platform != here[1]:
        match = _PLATFORM.fullmatch(wanted.platform)
        if match is None:
            raise BundleError(
                f"expected a platform such as x86_64-manylinux_2_36, found {wanted.platform!r}",
                hint="other platforms are resolved when uv is installed",
            )
        newest = int(match[2] or _OLDEST_GLIBC)
        for minor in range(newest, _OLDEST_GLIBC - 1, -1):
            found += ["--platform", f"manylinux_2_{minor}_{match[1]}"]
        found += ["--platform", f"manylinux2014_{match[1]}"]
    return found


def _line(item: dict[str, Any], root: Path) -> str:
    """A line of the lock for one package of pip's report."""
    name, version = item["metadata"]["name"], item["metadata"]["version"]
    about = item.get("download_info", {})
    url = str(about.get("url", ""))
    if "vcs_info" in about:
        vcs = about["vcs_info"]
        return f"{name} @ {vcs['vcs']}+{url}@{vcs['commit_id']}"
    hashes = dict(about.get("archive_info", {}).get("hashes", {}))
    ends = "".join(f" --hash={kind}:{value}" for kind, value in sorted(hashes.items()) if kind == "sha256")
    if item.get("is_direct"):
        local = Path(url.removeprefix("file://"))
        if url.startswith("file://") and local.is_relative_to(root):
            if not hashes:
                raise BundleError(
                    f"expected a wheel or an archive, found the directory {local.relative_to(root)}",
                    hint="its files are in the bundle already: leave it out of the requirements, or build a wheel",
                )
            return f"./{local.relative_to(root).as_posix()}{ends}"
        if url.startswith("file://"):
            raise BundleError(
                f"expected requirements that can be installed elsewhere too, found {name} at {url}",
                hint="put the wheel into the directory that is built",
            )
        return f"{name} @ {url}{ends}"
    if not ends:
        raise BundleError(f"the index gives no sha256 for {name} {version}", hint="build with --no-lock")
    return f"{name}=={version}{ends}"


def _with_options(wanted: Wanted, lock: str) -> str:
    """The lock behind the options its author wrote: where an index is said, it is said in the result too.

    pip takes no hash for a repository of git, and no line without one beside those that have it.
    """
    if re.search(r"(?m)^\S+ @ \w+\+", lock):
        lock = canonical(re.sub(r" \\\n\s+--hash=\S+", "", lock))
    written = [line for line in requirements.lines(wanted.requirements) if line.startswith("--")]
    return "".join(f"{line}\n" for line in written) + lock


def _run(command: list[str], root: Path) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            cwd=root,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS,
            check=False,
            env={**os.environ, "PIP_REQUIRE_VIRTUALENV": "0", "NO_COLOR": "1", "LC_ALL": "C.UTF-8"},
        )
    except subprocess.TimeoutExpired as error:
        raise BundleError(f"resolving the requirements took longer than {SECONDS:.0f} s") from error


def _failure(done: subprocess.CompletedProcess[str], wanted: Wanted) -> BundleError:
    """The resolver's own words: the last error is the one that counts."""
    said = done.stderr.strip() or done.stdout.strip()
    errors = _SHOWN.findall(said)
    # Newer versions of uv say why behind "cause:"; older ones draw it as a tree.
    why = [*errors[-1:], *re.findall(r"(?m)^\s*cause:\s*(.+)", said)[-1:]]
    drawn = " ".join(re.sub(r"^\W+", "", line) for line in said.splitlines() if line.strip())
    return BundleError(
        f"the requirements cannot be resolved for Python {wanted.python} on {wanted.platform}: "
        f"{': '.join(why) or drawn or 'no reason was given'}",
        hint="correct the requirement, check the network, or build with --no-lock",
    )
