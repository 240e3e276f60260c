"""Cross-origin requests (the Fetch standard, 3.2): what a browser is told of who may ask. Pure.

Answers to the same options are those of Starlette's CORS middleware, which is what BentoML puts in front.
"""

from __future__ import annotations

import re

from tiffin.protocol.head import Head
from tiffin.protocol.reply import TEXT, Reply
from tiffin.service.settings import CorsSettings

ALL_METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
_ALWAYS_ALLOWED = frozenset(("accept", "accept-language", "content-language", "content-type"))
_NAMES = {name: "-".join(part.capitalize() for part in name.split("-")) for name in _ALWAYS_ALLOWED}

Lines = tuple[tuple[bytes, bytes], ...]


class Cors:
    """What a service's settings come to, call by call."""

    def __init__(self, settings: CorsSettings) -> None:
        self._settings = settings

    @property
    def is_for_all(self) -> bool:
        """Whether every origin may ask."""
        return "*" in self._settings.origins

    def allows(self, origin: str) -> bool:
        """Whether this origin may ask."""
        if self.is_for_all or origin in self._settings.origins:
            return True
        return (
            bool(self._settings.origin_pattern) and re.fullmatch(self._settings.origin_pattern, origin) is not None
        )

    def lines(self, head: Head) -> Lines:
        """What an answer says beside its own header lines."""
        origin = head.headers.get(b"origin")
        if origin is None:
            return ((b"vary", b"Origin"),)
        found = []
        is_named = not self.is_for_all or self._settings.credentials
        if not is_named:
            found.append((b"access-control-allow-origin", b"*"))
        elif self.allows(origin.decode("latin-1")):
            found.append((b"access-control-allow-origin", origin))
        if self._settings.credentials:
            found.append((b"access-control-allow-credentials", b"true"))
        if self._settings.exposed:
            found.append((b"access-control-expose-headers", ", ".join(self._settings.exposed).encode("latin-1")))
        return (*found, (b"vary", b"Origin"))

    def preflight(self, head: Head) -> Reply:
        """The answer to a browser that asks first."""
        origin = head.header(b"origin")
        method = head.header(b"access-control-request-method").decode("latin-1")
        asked = head.headers.get(b"access-control-request-headers")
        methods = ALL_METHODS if "*" in self._settings.methods else self._settings.methods
        is_any_header = "*" in self._settings.headers
        allowed = {name.lower() for name in self._settings.headers} | _ALWAYS_ALLOWED
        failures = [] if self.allows(origin.decode("latin-1")) else ["origin"]
        if method not in methods:
            failures.append("method")
        if asked is not None and not is_any_header:
            wanted = {name.strip().lower() for name in asked.decode("latin-1").split(",")}
            failures += ["headers"] * bool(wanted - allowed)
        is_named = not self.is_for_all or self._settings.credentials
        found = [(b"vary", b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers")]
        if not is_named:
            found.append((b"access-control-allow-origin", b"*"))
        elif "origin" not in failures:
            found.append((b"access-control-allow-origin", origin))
        found.append((b"access-control-allow-methods", ", ".join(methods).encode("latin-1")))
        found.append((b"access-control-max-age", b"%d" % self._settings.max_age))
        if is_any_header:
            found += [(b"access-control-allow-headers", asked)] if asked is not None else []
        else:
            names = sorted({*_NAMES.values(), *self._settings.headers})
            found.append((b"access-control-allow-headers", ", ".join(names).encode("latin-1")))
        if self._settings.credentials:
            found.append((b"access-control-allow-credentials", b"true"))
        text = b"Disallowed CORS " + ", ".join(failures).encode("ascii") if failures else b"OK"
        return Reply(400 if failures else 200, text, TEXT, tuple(found))


def is_preflight(head: Head) -> bool:
    """Whether a browser asks what it may ask."""
    return (
        head.method == "OPTIONS" and b"origin" in head.headers and b"access-control-request-method" in head.headers
    )
