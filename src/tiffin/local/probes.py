"""Whether a program of others' can be called: what its port says, and which ports it has."""

from __future__ import annotations

import contextlib
import http.client
import socket
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from tiffin.errors import ProcessError
from tiffin.kits import threads
from tiffin.spec import ContainerSource

_LISTEN = "0A"
_QUIET_SECONDS = 0.1
PATIENCE_SECONDS = 10.0
"""Before a program that does not answer is asked where else it listens."""


def answers(host: str, port: int, path: str = "", *, seconds: float = 2.0) -> bool:
    """Whether somebody serves there: ``GET path`` gives 2xx or 3xx; without a path, a connection stays open.

    A connection alone says nothing: an engine's proxy takes it before the program in the container listens.
    """
    try:
        if path:
            connection = http.client.HTTPConnection(host, port, timeout=seconds)
            with contextlib.closing(connection):
                connection.request("GET", path)
                return 200 <= connection.getresponse().status < 400
        with socket.create_connection((host, port), timeout=seconds) as sock:
            sock.settimeout(_QUIET_SECONDS)
            try:
                return bool(sock.recv(1))
            except TimeoutError:
                return True
    except (OSError, http.client.HTTPException):
        return False


def ports_listened_on(pid: int) -> set[int]:
    """The TCP ports on which a process or what it started listens; of a container, all in its network.

    Empty when there are none, or when we may not know.
    """
    import psutil

    try:
        process = psutil.Process(pid)
        tree = [process, *process.children(recursive=True)]
        found: set[int] = set()
        for one in tree:
            # Named net_connections since psutil 6.
            found |= {c.laddr.port for c in one.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
        return found or _in_namespace(pid)
    except (psutil.Error, OSError):
        return _in_namespace(pid)


def _in_namespace(pid: int) -> set[int]:
    """From /proc, for a process in a network of its own."""
    found: set[int] = set()
    with contextlib.suppress(OSError):
        if Path(f"/proc/{pid}/ns/net").readlink() == Path("/proc/self/ns/net").readlink():
            return found
        for name in ("tcp", "tcp6"):
            for line in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTEN:
                    found.add(int(fields[1].rpartition(":")[2], 16))
    return found


class Readiness:
    """Asks whether a program can be called, and notices that it listens somewhere else."""

    def __init__(self, source: ContainerSource, name: str) -> None:
        self._source = source
        self._name = name
        self._began = time.monotonic()

    async def ask(self, addresses: Sequence[tuple[str, int]], pid: int) -> tuple[str, int] | None:
        """The first address that answers; raises ProcessError when the program has chosen another port."""
        for host, port in addresses:
            if await threads.in_daemon(partial(answers, host, port, self._source.ready_path)):
                return host, port
        if time.monotonic() - self._began > PATIENCE_SECONDS:
            expected = {self._source.port, *(port for _, port in addresses)}
            found = await threads.in_daemon(partial(ports_listened_on, pid))
            if found and not found & expected:
                wanted = " or ".join(map(str, sorted(expected)))
                raise ProcessError(
                    f"{self._name} listens on port {', '.join(map(str, sorted(found)))}, expected {wanted}",
                    hint="set the container's ports[].containerPort to the port it has, or let it listen on $PORT",
                )
        return None
