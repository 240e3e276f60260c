"""BentoML's tags: ``name:version``, both in lower case, with versions of 16 characters for what has none."""

from __future__ import annotations

import base64
import re
import uuid
from typing import Any

from tiffin.errors import ModelError

_PART = re.compile(r"[a-z0-9](?:[-._a-z0-9]*[a-z0-9])?")
_LONGEST = 63


class Tag:
    """A name and a version; the version is ``None`` when it is not said.

    Raises:
        ModelError: letters, digits and ``-._`` between them were expected, at most 63.
    """

    __slots__ = ("name", "version")

    def __init__(self, name: str, version: str | None = None) -> None:
        self.name = _checked(name, "name")
        self.version = _checked(version, "version") if version else None

    @classmethod
    def from_str(cls, text: str) -> Tag:
        """Read ``name`` or ``name:version``."""
        name, colon, version = text.partition(":")
        if colon and not version:
            raise ModelError(f"expected name:version, found nothing after the colon in {text!r}")
        return cls(name, version or None)

    @classmethod
    def from_taglike(cls, taglike: Any) -> Tag:
        """A tag as it is, or read from text."""
        return taglike if isinstance(taglike, Tag) else cls.from_str(str(taglike))

    def make_new_version(self) -> Tag:
        """The same name with a new version."""
        return Tag(self.name, new_version())

    def path(self) -> str:
        """``name/version``."""
        return f"{self.name}/{self.version}" if self.version else self.name

    def latest_path(self) -> str:
        """``name/latest``."""
        return f"{self.name}/latest"

    def __str__(self) -> str:
        return f"{self.name}:{self.version}" if self.version else self.name

    def __repr__(self) -> str:
        return f'Tag(name="{self.name}", version="{self.version}")'

    def __eq__(self, other: object) -> bool:
        # Text counts too: what Tiffin calls a tag elsewhere is a string.
        return str(self) == str(other) if isinstance(other, (Tag, str)) else NotImplemented

    def __hash__(self) -> int:
        return hash(str(self))


def new_version() -> str:
    """Sixteen characters that grow with time on one machine and differ between machines."""
    now = uuid.uuid1().bytes
    return base64.b32encode(now[:6] + now[8:12]).decode("ascii").lower()


def _checked(text: str, what: str) -> str:
    found = str(text).lower()
    if not _PART.fullmatch(found) or len(found) > _LONGEST:
        raise ModelError(
            f"expected a {what} of letters, digits, and -._ between them, at most {_LONGEST}, found {text!r}"
        )
    return found
