"""What names something in a registry: ``host[:port]/repository[:tag][@sha256:...]``, as Docker reads it. Pure."""

from __future__ import annotations

import ipaddress
import re

import msgspec

from tiffin.errors import AuthorError

HUB = "docker.io"
HUB_HOST = f"registry-1.{HUB}"
HUB_NAMES = (f"index.{HUB}", HUB, HUB_HOST)
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_HOST = re.compile(r"(?:\[[0-9a-fA-F:]+\]|[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)(?::[0-9]{1,5})?")


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """A place in a registry. ``tag`` and ``digest`` may be empty; where both are set the digest decides."""

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.registry}/{self.repository}{tag}" + (f"@{self.digest}" if self.digest else "")

    @property
    def wanted(self) -> str:
        """What the registry is asked for: the digest, else the tag, else ``latest``."""
        return self.digest or self.tag or "latest"

    @property
    def host(self) -> str:
        """Where it is reached: as ``registry``, but for Docker Hub, which answers elsewhere."""
        return HUB_HOST if self.registry == HUB else self.registry

    @property
    def is_loopback(self) -> bool:
        """Whether the registry is on this machine."""
        return is_loopback(self.registry)

    def at(self, wanted: str) -> Reference:
        """The same repository, at a tag or a digest."""
        is_digest = wanted.startswith("sha256:")
        return Reference(
            registry=self.registry,
            repository=self.repository,
            tag="" if is_digest else wanted,
            digest=wanted if is_digest else "",
        )


def parse(text: str) -> Reference:
    """Read a reference; a name without a host is Docker Hub's, where ``name`` alone is ``library/name``.

    Raises:
        AuthorError: it is none, with the part that is wrong.
    """
    rest, _, digest = text.partition("@")
    if "@" in text and not _DIGEST.fullmatch(digest):
        raise _wrong(text, f"expected sha256: and 64 hexadecimal digits after @, found {digest!r}")
    host, separator, path = rest.partition("/")
    if not separator or not is_host(host):
        host, path = HUB, rest
    elif not _HOST.fullmatch(host):
        raise _wrong(text, f"{host!r} is no host")
    path, _, tag = path.partition(":")
    if ":" in rest[rest.rfind("/") + 1 :] and not _TAG.fullmatch(tag):
        raise _wrong(text, f"a tag is up to 128 letters, digits, dots, dashes and underscores, found {tag!r}")
    if host in HUB_NAMES:
        host, path = HUB, path if "/" in path else f"library/{path}"
    if not _REPOSITORY.fullmatch(path):
        why = "a repository is in lower case" if path != path.lower() else f"{path!r} is no repository"
        raise _wrong(text, why)
    return Reference(registry=host, repository=path, tag=tag, digest=digest)


def is_host(first: str) -> bool:
    """Whether the first part of a name is a host: it has a dot or a port, or is ``localhost``."""
    return "." in first or ":" in first or first == "localhost"


def has_host(text: str) -> bool:
    """Whether a reference names its registry itself; otherwise it may be a local name."""
    first, separator, _ = text.partition("/")
    return bool(separator) and is_host(first)


def is_loopback(registry: str) -> bool:
    """Whether a registry is on this machine; only such ones are asked in plain HTTP without being told to."""
    host = registry.rpartition(":")[0] if re.search(r":[0-9]+$", registry) else registry
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _wrong(text: str, why: str) -> AuthorError:
    return AuthorError(
        f"expected host/repository:tag, found {text!r}: {why}",
        hint="for example registry.example.com/models/iris:v1",
    )
