"""Where a controller's API is: a Unix socket, or TCP with a token."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from tiffin.errors import PlatformError
from tiffin.kits import paths


@dataclass(frozen=True)
class Place:
    """``unix`` is a socket's path; otherwise ``host`` and ``port``, with a ``token``."""

    unix: Path | None = None
    host: str = ""
    port: int = 0
    token: str = field(default="", repr=False)

    def __str__(self) -> str:
        """``unix:PATH`` or ``http://host:port``."""
        if self.unix is not None:
            return f"unix:{self.unix}"
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"


def place(environment: Mapping[str, str] | None = None) -> Place:
    """What ``TIFFIN_API`` and ``TIFFIN_TOKEN`` say; else the socket in the data directory.

    Raises:
        PlatformError: ``TIFFIN_API`` is neither ``unix:PATH`` nor ``http://host:port``.
    """
    environment = os.environ if environment is None else environment
    text = environment.get("TIFFIN_API", "").strip()
    if not text:
        return Place(unix=paths.data_directory(environment).api_socket)
    if text.startswith("unix:"):
        path = text.removeprefix("unix:").removeprefix("//")
        if not path:
            raise _wrong(text)
        return Place(unix=Path(os.path.abspath(os.path.expanduser(path))))
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise _wrong(text) from None
    if parts.scheme != "http" or not host or parts.path.strip("/") or parts.query or parts.username:
        raise _wrong(text)
    return Place(host=host, port=port or 80, token=environment.get("TIFFIN_TOKEN", "").strip())


def _wrong(text: str) -> PlatformError:
    return PlatformError(
        f"expected TIFFIN_API to be unix:PATH or http://host:port, found {text!r}",
        hint="unset it to ask the controller of this machine",
    )
