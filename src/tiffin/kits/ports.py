"""TCP ports of this machine: is one free, and who holds it?"""

from __future__ import annotations

import errno
import socket

from tiffin.errors import PlatformError, PortInUse


def check_free(host: str, port: int) -> None:
    """Return when ``host:port`` can be listened on now; raises PortInUse, or PlatformError for another reason.

    Another process can take the port between this call and the listening.
    """
    if port == 0:
        return
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # Connections of an earlier listener that linger in TIME_WAIT are no obstacle, and Envoy sets it too.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise in_use(host, port) from error
            raise PlatformError(
                f"cannot listen on {host}:{port}: {error.strerror or error}",
                hint="choose another --host or --port",
            ) from error


def free() -> int:
    """A port of the loopback that nobody has now; another process may be faster."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def in_use(host: str, port: int) -> PortInUse:
    """The error for a taken port, naming its holder when the system tells."""
    holder = holder_of(port)
    who = f"{holder[1]} (pid {holder[0]})" if holder else "another process"
    return PortInUse(
        f"port {port} on {host} is in use by {who}",
        hint=f"stop it, or choose another port, for example --port {port + 1}",
    )


def holder_of(port: int) -> tuple[int, str] | None:
    """``(pid, process name)`` of who listens on a TCP port; ``None`` when nobody does or we may not know."""
    import psutil

    try:
        connections = psutil.net_connections(kind="tcp")
    except (psutil.Error, OSError):
        return None
    for connection in connections:
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
            try:
                return connection.pid, psutil.Process(connection.pid).name()
            except psutil.Error:
                return None
    return None
