"""What a bundle or model is called: ``name:version``, with or without a registry in front, as images are."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import quote, unquote

from tiffin.errors import AuthorError, BundleError

LATEST = "latest"
# One path component of an image reference; a plain name is one component.
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*"
_REGISTRY = r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::[0-9]{1,5})?"
_NAME = re.compile(rf"(?:{_REGISTRY}/)?{_COMPONENT}(?:/{_COMPONENT})*")
_VERSION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_LONGEST_NAME = 200


class Reference(NamedTuple):
    """A name and a version; the version is empty when none was written."""

    name: str
    version: str = ""

    def __str__(self) -> str:
        return f"{self.name}:{self.version}" if self.version else self.name

    @property
    def file(self) -> str:
        """The name as one path segment."""
        return quote(self.name, safe="")

    @classmethod
    def of_file(cls, file: str, version: str) -> Reference:
        """Undo ``file``."""
        return cls(unquote(file), version)


def parse(text: str, error: type[AuthorError] = BundleError) -> Reference:
    """Read ``name``, ``name:version`` or ``registry.host:5000/path/name:version``; names become lower case.

    Raises:
        AuthorError: it is no such reference; of the class ``error``.
    """
    # An image's own digest says nothing about a bundle; the tag in front of it does.
    written = text.strip().partition("@")[0]
    head, colon, last = written.rpartition(":")
    # The colon of host:5000/name belongs to the port.
    name, version = (head, last) if colon and "/" not in last else (written, "")
    name = name.lower()
    if colon and not version and "/" not in last:
        raise _refusal(error, text, "nothing after the colon")
    if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
        raise _refusal(error, text, f"the name {name!r}")
    if version and not _VERSION.fullmatch(version):
        raise _refusal(error, text, f"the version {version!r}")
    return Reference(name, version)


def _refusal(error: type[AuthorError], text: str, found: str) -> AuthorError:
    return error(
        f"expected name:version of letters, digits, '.', '_' and '-', found {found} in {text!r}",
        hint="for example iris:1.0 or registry.example.com/team/iris-image:v0.1",
    )
