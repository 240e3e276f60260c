"""What connections to other services share: where these are, and what the errors of sockets mean to a call.

A request is sent again only when it cannot have been answered: the connection was refused, or it had been idle and
turned out to be closed before any byte of an answer came. That is once, and on a fresh connection.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from tiffin.errors import DeadlineExceeded, NotReady, ServiceError
from tiffin.service.caller import Caller

IDLE_SECONDS = 30.0
"""A connection that was idle for longer is not used again; replicas close theirs after 75 s, the gateway later."""

MOST_IDLE = 64
REFUSED_SECONDS = 5.0
"""How long a connection that is refused is tried again: a gateway that died is back within a second."""

_PAUSES = (0.01, 0.02, 0.05, 0.1, 0.25)


@dataclass(frozen=True)
class Place:
    """Where a service is called: a Unix socket, or host and port; ``path`` goes before every path."""

    unix: str = ""
    host: str = ""
    port: int = 0
    path: str = ""
    authority: str = "localhost"
    is_tls: bool = False

    @classmethod
    def read(cls, address: str) -> Place:
        """From ``http(s)://host[:port][/path]`` or ``unix:/path/of.sock``; raises ServiceError."""
        if address.startswith("unix:/"):
            return cls(unix=address.removeprefix("unix:"))
        try:
            parts = urlsplit(address)
            port = parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError:
            parts, port = urlsplit(""), 0
        if (
            parts.scheme not in ("http", "https")
            or not parts.hostname
            or parts.query
            or parts.fragment
            or not address.isprintable()
            or " " in address
        ):
            raise ServiceError(
                f"expected http://host:port/path as the address of a service, found {address!r}",
            )
        return cls(
            host=parts.hostname,
            port=port,
            path=parts.path.rstrip("/"),
            authority=parts.netloc,
            is_tls=parts.scheme == "https",
        )


class Stale(Exception):
    """An idle connection was closed by the other side before it answered anything."""


@contextlib.contextmanager
def whose(who: str, caller: Caller | None) -> Iterator[None]:
    """Errors of sockets as errors of calls."""
    try:
        yield
    except TimeoutError as error:
        raise DeadlineExceeded(f"{who} did not answer in time") from error
    except OSError as error:
        if caller is not None and caller.is_gone:
            raise DeadlineExceeded("whoever called waits no more") from error
        raise NotReady(f"{who} cannot be reached: {error}") from error


def left_until(deadline: float) -> float:
    """Seconds until then; raises TimeoutError when there are none."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def pauses() -> Iterator[float]:
    """Seconds between attempts to connect."""
    yield from _PAUSES
    while True:
        yield _PAUSES[-1]
