"""The sockets a replica listens on."""

from __future__ import annotations

import errno
import os
import socket
import stat
from typing import TYPE_CHECKING

import msgspec

from tiffin.errors import PlatformError, PortInUse
from tiffin.spec import Listen
from tiffin.spec.replica import Tls

if TYPE_CHECKING:
    import ssl

BACKLOG = 2048


def bind(listen: Listen, count: int = 1) -> list[socket.socket]:
    """Listening sockets for ``count`` workers.

    TCP: one socket a worker with SO_REUSEPORT, so that the kernel spreads connections; a lone worker gets a
    plain one. A Unix socket is shared by all.

    Raises:
        PortInUse: somebody listens there.
        PlatformError: the address cannot be bound.
    """
    if listen.unix:
        return [_unix(listen.unix)] * count
    # The first one is bound without SO_REUSEPORT: with it, a stranger's port would be shared silently.
    first = _tcp(listen.host, listen.port, reuse_port=False)
    if count == 1:
        first.listen(listen.backlog)
        return [first]
    port = first.getsockname()[1]
    first.close()
    sockets = [_tcp(listen.host, port, reuse_port=True) for _ in range(count)]
    for sock in sockets:
        sock.listen(listen.backlog)
    return sockets


def reserve(listen: Listen) -> tuple[Listen, socket.socket | None]:
    """The address with its real port, for libraries that listen themselves, and what keeps others from the port.

    Raises:
        PortInUse: somebody listens there.
        PlatformError: the address cannot be bound.
    """
    if listen.unix:
        _unix(listen.unix).close()
        os.unlink(listen.unix)
        return listen, None
    first = _tcp(listen.host, listen.port, reuse_port=False, option="--grpc-port")
    port = first.getsockname()[1]
    first.close()
    held = _tcp(listen.host, port, reuse_port=True, option="--grpc-port")
    return msgspec.structs.replace(listen, port=port), held


def worker_address(listen: Listen, index: int) -> Listen:
    """Where one of several workers listens by itself: the same port, or a Unix socket of its own."""
    if not listen.unix or not index:
        return listen
    return msgspec.structs.replace(listen, unix=f"{listen.unix}.{index}")


def tls_context(tls: Tls) -> ssl.SSLContext:
    """What a socket that speaks TLS needs; 1.2 and 1.3 are spoken.

    Raises:
        PlatformError: a file is not there, or is not what it should be.
    """
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(tls.certfile, tls.keyfile or None, tls.keyfile_password or None)
        if tls.ca_certs:
            context.load_verify_locations(tls.ca_certs)
        context.verify_mode = ssl.VerifyMode(tls.cert_reqs)
        if tls.ciphers:
            context.set_ciphers(tls.ciphers)
    except OSError as error:  # ssl.SSLError is one
        files = ", ".join(filter(None, (tls.certfile, tls.keyfile, tls.ca_certs)))
        raise PlatformError(f"cannot serve TLS with {files}: {error.strerror or error}") from None
    return context


def address_of(sock: socket.socket, *, is_tls: bool = False) -> str:
    """``http://127.0.0.1:3000`` or ``unix:/path`` of a bound socket."""
    if sock.family == socket.AF_UNIX:
        return f"unix:{sock.getsockname()}"
    host, port = sock.getsockname()[:2]
    scheme = "https" if is_tls else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _tcp(host: str, port: int, *, reuse_port: bool, option: str = "--port") -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise PlatformError(f"expected an address to listen on, found {host!r}: {error.strerror}") from None
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(address)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(
                f"port {port} on {host} is in use",
                hint=f"choose another with {option}, or stop what listens there",
            ) from None
        raise PlatformError(f"cannot listen on {host}:{port}: {error.strerror}") from None
    except OverflowError:
        sock.close()
        raise PlatformError(f"expected a port from 0 to 65535, found {port}") from None
    sock.setblocking(False)
    return sock


def _unix(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # What a killed replica left; a socket that answers belongs to somebody.
        if os.path.exists(path) and stat.S_ISSOCK(os.stat(path).st_mode):
            if _answers(path):
                raise PortInUse(f"another process listens on {path}")
            os.unlink(path)
        sock.bind(path)
        os.chmod(path, 0o600)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise PlatformError(f"cannot listen on {path}: {error.strerror or error}") from None
    except PortInUse:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except OSError:
            return False
        return True
