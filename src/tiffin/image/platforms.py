"""What runs where: OCI platforms, and the tags of the wheels that run on them. Pure."""

from __future__ import annotations

import platform as machine
import re
from typing import Literal, NamedTuple

from tiffin.errors import ImageError
from tiffin.oci.records import Platform

MACHINES = {
    "amd64": "x86_64",
    "arm64": "aarch64",
    "ppc64le": "ppc64le",
    "s390x": "s390x",
    "riscv64": "riscv64",
    "386": "i686",
}
"""Architectures of OCI, and what wheels call them."""

_OLDEST = 5
_NAMED = {5: "manylinux1", 12: "manylinux2010", 17: "manylinux2014"}
_PYTHON = re.compile(r"3\.(\d{1,2})(?:\.\d+)?")


class Libc(NamedTuple):
    """The C library of an image and its version: ``glibc`` 2.36, ``musl`` 1.2."""

    family: Literal["glibc", "musl"]
    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.family} {self.major}.{self.minor}"


def parse(text: str) -> Platform:
    """``linux/amd64``, ``linux/arm64/v8`` or ``arm64``.

    Raises:
        ImageError: Tiffin makes no images for it; the text lists what it does.
    """
    parts = text.strip().lower().split("/")
    system, architecture = ("linux", parts[0]) if len(parts) == 1 else (parts[0], parts[1])
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(architecture, architecture)
    if system != "linux" or architecture not in MACHINES or len(parts) > 3:
        known = ", ".join(f"linux/{name}" for name in MACHINES)
        raise ImageError(f"expected a platform, found {text!r}", hint=f"one of {known}")
    # v8 is what arm64 is; left out, as most indexes do.
    return Platform(os=system, architecture=architecture)


def here() -> Platform:
    """The platform of this machine; Linux in any case, for that is what images are of."""
    return parse(f"linux/{machine.machine().lower()}")


def python(text: str) -> str:
    """``3.11`` of ``3.11`` or ``3.11.7``; raises ImageError."""
    matched = _PYTHON.fullmatch(text.strip())
    if matched is None:
        raise ImageError(f"expected a version of Python such as 3.11, found {text!r}")
    return f"3.{matched[1]}"


def tags(platform: Platform, libc: Libc) -> list[str]:
    """The platform tags of wheels that run there, the best first (PEP 600, 656)."""
    name = MACHINES[platform.architecture]
    if libc.family == "musl":
        return [f"musllinux_{libc.major}_{minor}_{name}" for minor in range(libc.minor, -1, -1)]
    found = []
    for minor in range(libc.minor, _OLDEST - 1, -1):
        found.append(f"manylinux_2_{minor}_{name}")
        if minor in _NAMED and (minor == 17 or name in ("x86_64", "i686")):
            found.append(f"{_NAMED[minor]}_{name}")
    return [*found, f"linux_{name}"]
