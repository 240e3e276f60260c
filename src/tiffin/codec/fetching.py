"""Files that callers name by an ``http(s)`` address, fetched without letting them see into our network.

Only public addresses are asked: the name is resolved once, every address it has must be public, and the connection
goes to the very address that was checked, so that a name cannot turn into another between the check and the call.
Each redirect is checked again. Proxies of the environment are not used.

====================  =======================================================  ==========
variable              meaning                                                  default
====================  =======================================================  ==========
TIFFIN_FETCH          ``public``; ``any``: private addresses too; ``off``      public
TIFFIN_FETCH_BYTES    the largest file                                         104857600
TIFFIN_FETCH_SECONDS  the longest time for one file, redirects included        30
====================  =======================================================  ==========
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import os
import posixpath
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

Reach = Literal["public", "any", "off"]
MAX_REDIRECTS = 5
_CHUNK = 65_536
# Tunnels into IPv4: what they lead to cannot be seen in the address.
_TUNNELS = tuple(map(ipaddress.ip_network, ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")))


@dataclass(frozen=True)
class Rules:
    """What may be fetched."""

    reach: Reach = "public"
    max_bytes: int = 100 * 1024 * 1024
    seconds: float = 30.0

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Rules:
        """From the environment; raises ValueError for what is not understood, which fetches nothing."""
        reach = environment.get("TIFFIN_FETCH", "public")
        if reach not in ("public", "any", "off"):
            raise ValueError("this service's TIFFIN_FETCH is not public, any or off: nothing is fetched")
        return cls(
            reach,  # type: ignore[arg-type]
            int(environment.get("TIFFIN_FETCH_BYTES", cls.max_bytes)),
            float(environment.get("TIFFIN_FETCH_SECONDS", cls.seconds)),
        )


@dataclass(frozen=True)
class Fetched:
    """A file's bytes, the last part of its address's path, and its media type."""

    data: bytes
    filename: str
    content_type: str


def is_address(value: object) -> bool:
    """Whether a text is an address to fetch from."""
    return isinstance(value, str) and value[:8].lower().startswith(("http://", "https://"))


def fetch(url: str, rules: Rules | None = None) -> Fetched:
    """What is at an address; blocks.

    Raises:
        ValueError: it may not be fetched, is too large, takes too long, or its server answers something else.
    """
    rules = Rules.read(os.environ) if rules is None else rules
    if rules.reach == "off":
        raise ValueError("expected a file, found an address: this service fetches none")
    deadline = time.monotonic() + rules.seconds
    for _ in range(MAX_REDIRECTS + 1):
        found = _ask(url, rules, deadline)
        if isinstance(found, Fetched):
            return found
        url = urljoin(url, found)
    raise ValueError(f"the address redirects more than {MAX_REDIRECTS} times")


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return is_public(str(ip.ipv4_mapped))
        if any(ip in network for network in _TUNNELS):
            return False
    return ip.is_global and not ip.is_multicast


def _checked(url: str, rules: Rules) -> tuple[SplitResult, str, int, str]:
    """Parts, host, port and the one address to connect to."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("the address cannot be read") from None
    if parts.scheme not in ("http", "https") or not host or parts.username is not None or not url.isprintable():
        raise ValueError("expected an address such as https://host/file")
    port = port or (443 if parts.scheme == "https" else 80)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise ValueError(f"no host {host!r} is known") from None
    addresses = [str(entry[4][0]) for entry in found]
    if rules.reach != "any" and not all(map(is_public, addresses)):
        raise ValueError(f"the host {host!r} is not on the public internet")
    return parts, host, port, addresses[0]


class _Pinned(http.client.HTTPConnection):
    """A connection to an address that was checked, whatever the name resolves to by now."""

    def __init__(self, host: str, port: int, address: str, seconds: float, *, secure: bool) -> None:
        super().__init__(host, port, timeout=seconds)
        self._address = address
        self._secure = secure

    def connect(self) -> None:
        connected = socket.create_connection((self._address, self.port), self.timeout)
        self.sock: socket.socket = connected
        if self._secure:
            self.sock = ssl.create_default_context().wrap_socket(connected, server_hostname=self.host)


def _ask(url: str, rules: Rules, deadline: float) -> Fetched | str:
    """The file, or where it is instead."""
    parts, host, port, address = _checked(url, rules)
    left = deadline - time.monotonic()
    late = f"the address did not answer within {rules.seconds:g} seconds"
    if left <= 0:
        raise ValueError(late)
    connection = _Pinned(host, port, address, left, secure=parts.scheme == "https")
    # A server that sends one byte a second keeps every single read in time.
    watch = threading.Timer(left, _cut, (connection,))
    watch.daemon = True
    watch.start()
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = {
            "host": parts.netloc,
            "user-agent": "tiffin",
            "accept-encoding": "identity",
            "connection": "close",
        }
        connection.request("GET", target, headers=headers)
        answer = connection.getresponse()
        if answer.status in (301, 302, 303, 307, 308) and (place := answer.headers.get("location")):
            return place
        if answer.status != 200:
            raise ValueError(f"the address answered {answer.status}")
        data = _read(answer, rules.max_bytes)
        if time.monotonic() > deadline:
            raise ValueError(late)
    except (OSError, http.client.HTTPException) as error:
        is_late = isinstance(error, TimeoutError) or time.monotonic() > deadline
        raise ValueError(late if is_late else "the address cannot be fetched from") from error
    finally:
        watch.cancel()
        connection.close()
    name = posixpath.basename(unquote(parts.path))
    return Fetched(data, name, answer.headers.get_content_type() if "content-type" in answer.headers else "")


def _cut(connection: http.client.HTTPConnection) -> None:
    held = connection.sock
    if held is not None:
        with contextlib.suppress(OSError):
            held.shutdown(socket.SHUT_RDWR)


def _read(answer: http.client.HTTPResponse, limit: int) -> bytes:
    too_large = f"the file at the address has more than {limit} bytes"
    if (answer.length or 0) > limit:
        raise ValueError(too_large)
    chunks, size = [], 0
    while chunk := answer.read(_CHUNK):
        size += len(chunk)
        if size > limit:
            raise ValueError(too_large)
        chunks.append(chunk)
    if answer.length:
        raise ValueError("the address broke off before its end")
    return b"".join(chunks)
