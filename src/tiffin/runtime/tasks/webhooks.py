"""Tells an address that a task has ended, in the form of Standard Webhooks.

Whoever may submit a task may name an address, so this process must not become their way into a private network:
without a list of hosts only public addresses are asked, and the address that was checked is the one that is asked.
Redirects are not followed.

TIFFIN_WEBHOOK_HOSTS   hosts that may be told, with ``*``: ``hooks.example.com, *.internal, 127.0.0.1:9000``;
                       these may be private, and no others are told
TIFFIN_WEBHOOK_SECRET  signs; ``whsec_`` and base64, or any text
"""

from __future__ import annotations

import base64
import contextlib
import fnmatch
import hashlib
import hmac
import http.client
import ipaddress
import json
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import SplitResult, urlsplit

from tiffin.errors import CallError, SpecError
from tiffin.runtime.tasks.record import Task, describe
from tiffin.runtime.threads import Threads

log = logging.getLogger(__name__)

SECONDS = 10.0
THREADS = 2
_MAX_URL = 2048
# Networks whose addresses stand for others, which may be private.
_EMBEDDING = tuple(map(ipaddress.ip_network, ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")))

Done = Callable[[str, bool], None]


class Rules:
    """Who may be told, and how it is signed."""

    def __init__(self, hosts: Sequence[str] = (), secret: str = "") -> None:
        self.hosts = tuple(host.lower() for host in hosts)
        self.secret = secret

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Rules:
        """Read the two variables; raises SpecError for a secret that cannot be one."""
        secret = environment.get("TIFFIN_WEBHOOK_SECRET", "")
        if secret.startswith("whsec_"):
            try:
                base64.b64decode(secret.removeprefix("whsec_"), validate=True)
            except ValueError as error:
                raise SpecError("expected base64 after whsec_", at="TIFFIN_WEBHOOK_SECRET") from error
        hosts = [host.strip() for host in environment.get("TIFFIN_WEBHOOK_HOSTS", "").split(",") if host.strip()]
        return cls(hosts, secret)

    def check(self, url: str) -> SplitResult:
        """An address taken apart.

        Raises:
            CallError: it is none, or one that may not be told.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        if parts.scheme not in ("http", "https") or not parts.hostname or len(url) > _MAX_URL or not url.isascii():
            raise CallError(f"expected a webhook such as https://host/path, found {url[:80]!r}")
        if parts.username is not None or any(letter <= " " or letter == "\x7f" for letter in url):
            raise CallError("expected a webhook without a user name, blanks or line breaks")
        if self.hosts:
            names = (parts.hostname, f"{parts.hostname}:{port}")
            if not any(fnmatch.fnmatchcase(name, host) for name in names for host in self.hosts):
                raise CallError(f"expected a webhook on a host of the list, found {parts.hostname}")
        else:
            with contextlib.suppress(ValueError):
                if not is_public(ipaddress.ip_address(parts.hostname)):
                    raise CallError(f"expected a webhook at a public address, found {parts.hostname}")
        return parts

    def address(self, parts: SplitResult) -> tuple[str, int]:
        """IP and port to ask; looks names up.

        Raises:
            OSError: there is no such host.
            CallError: all its addresses are private.
        """
        port = parts.port or (443 if parts.scheme == "https" else 80)
        found = [entry[4][0] for entry in socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)]
        for address in found:
            if self.hosts or is_public(ipaddress.ip_address(str(address).partition("%")[0])):
                return str(address), port
        raise CallError(f"expected a webhook at a public address, found {parts.hostname} at {found[0]}")

    def sign(self, identifier: str, timestamp: int, body: bytes) -> str:
        """The value of ``webhook-signature``."""
        key = self.secret.encode()
        if self.secret.startswith("whsec_"):
            key = base64.b64decode(self.secret.removeprefix("whsec_"))
        signed = f"{identifier}.{timestamp}.".encode() + body
        return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether an address is of the public internet, also when it stands for another one."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if any(address in network for network in _EMBEDDING):
            return False
    return address.is_global and not address.is_multicast


def message(task: Task, now: float, rules: Rules) -> tuple[dict[str, str], bytes]:
    """Headers and body."""
    said = describe(task)
    del said["webhook"]
    body = json.dumps({"type": f"task.{task.state}", "timestamp": said["completed_at"], "data": said}).encode()
    stamp = int(now)
    headers = {"content-type": "application/json", "user-agent": "tiffin", "webhook-id": task.id}
    headers["webhook-timestamp"] = str(stamp)
    if rules.secret:
        headers["webhook-signature"] = rules.sign(task.id, stamp, body)
    return headers, body


class _To(http.client.HTTPConnection):
    """A connection to an address that was looked up before, under the host's name."""

    def __init__(self, parts: SplitResult, address: tuple[str, int]) -> None:
        super().__init__(parts.hostname or "", address[1], timeout=SECONDS)
        self._to = address
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None

    def connect(self) -> None:
        self.sock = socket.create_connection(self._to, SECONDS)
        if self._tls is not None:
            self.sock = self._tls.wrap_socket(self.sock, server_hostname=self.host)


def tell(task: Task, rules: Rules) -> tuple[str, bool]:
    """Send it once: what went wrong, or nothing; and whether there is no use in trying again."""
    assert task.webhook is not None
    try:
        parts = rules.check(task.webhook.url)
        headers, body = message(task, time.time(), rules)
        connection = _To(parts, rules.address(parts))
        with contextlib.closing(connection):
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request("POST", target, body, headers | {"host": parts.netloc})
            status = connection.getresponse().status
    except CallError as error:
        return str(error), True
    except (OSError, http.client.HTTPException, ValueError) as error:
        return str(error) or type(error).__name__, False
    # 410 is how a receiver says that it wants no more.
    return ("" if 200 <= status < 300 else f"it answered {status}"), status == 410


class Webhooks:
    """Threads that tell; a slow receiver holds up nobody but other webhooks."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self._threads: Threads | None = None
        self._lock = threading.Lock()
        self._busy = 0

    @property
    def room(self) -> int:
        """How many can be sent at once now."""
        return THREADS - self._busy

    def send(self, task: Task, done: Done) -> None:
        """Tell about a task; ``done`` is called in another thread."""
        if self._threads is None:
            self._threads = Threads(THREADS, "webhooks")
            self._threads.start()
        with self._lock:
            self._busy += 1

        def work() -> None:
            error, is_final = tell(task, self.rules)
            with self._lock:
                self._busy -= 1
            if error:
                log.warning("the webhook of task %s was not told: %s", task.id, error)
            done(error, is_final)

        self._threads.submit(work)

    def close(self) -> None:
        if self._threads is not None:
            self._threads.stop()
