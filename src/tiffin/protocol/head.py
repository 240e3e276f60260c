"""The head of a request, decoded: what the application layer sees of HTTP."""

from __future__ import annotations

import msgspec


class Head(msgspec.Struct, gc=False):
    """Method, path and headers of one request; immutable by convention, and shared between equal requests.

    ``path`` is percent-decoded and without the query; ``query`` is raw. Header names are lower-case; repeated
    headers are joined by ``, ``. ``content_length`` is -1 when the body is chunked, 0 when there is none.
    ``minor_version`` is 1 for HTTP/1.1 and 0 for HTTP/1.0.
    """

    method: str
    path: str
    query: bytes
    headers: dict[bytes, bytes]
    content_length: int
    keep_alive: bool
    expects_continue: bool = False
    minor_version: int = 1

    def header(self, name: bytes) -> bytes:
        """The value of a header by its lower-case name; empty when absent."""
        return self.headers.get(name, b"")
