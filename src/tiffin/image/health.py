"""Whether the server of this container is ready: exit status 0 or 1.

Run by path; imports the standard library only. ``--connect`` asks no more than that the port takes a connection:
nothing is known of a program's paths.
"""

from __future__ import annotations

import os
import socket
import sys

_SECONDS = 4.0
_PORTS = ("PORT", "BENTOML_PORT", "TIFFIN_PORT")


def is_ready(port: int, *, path: str | None = "/readyz", seconds: float = _SECONDS) -> bool:
    """Ask on the loopback; ``path`` None is content with a connection."""
    try:
        with socket.create_connection(("127.0.0.1", port), seconds) as connection:
            if path is None:
                return True
            connection.settimeout(seconds)
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            return connection.recv(64).split(b" ", 2)[1:2] == [b"200"]
    except OSError:
        return False


def main() -> None:
    """Exit with the verdict."""
    port = next((value for name in _PORTS if (value := os.environ.get(name, "").strip())), "3000")
    path = None if "--connect" in sys.argv[1:] else "/readyz"
    sys.exit(0 if port.isdigit() and is_ready(int(port), path=path) else 1)


if __name__ == "__main__":
    main()
