"""A container engine of this machine over its own HTTP API: Docker, or Podman, which speaks the same.

Blocking, one connection a request, by the standard library: an engine is asked seldom. ``containers`` has the
replicas made with it.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tiffin.errors import PlatformError, ProcessError

_VERSION = "/v1.40"
_FRAME = 8


class EngineAbsent(PlatformError):
    """No container engine answers on this machine."""

    code = "no-engine"


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float | None) -> None:
        super().__init__("engine", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Engine:
    """One engine by its socket."""

    def __init__(self, path: str) -> None:
        self.path = path

    def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        seconds: float | None = 60.0,
        missing: bool = False,
    ) -> Any:
        """The JSON of an answer; None for an empty one, or with ``missing`` for 404.

        Raises:
            ProcessError: the engine refused, with its own words.
            EngineAbsent: it does not answer.
        """
        connection = _Connection(self.path, seconds)
        try:
            response = self._send(connection, method, path, query, body)
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise EngineAbsent(f"the container engine at {self.path} does not answer: {error}") from error
        finally:
            connection.close()
        if response.status == 404 and missing:
            return None
        if response.status >= 400:
            raise ProcessError(f"the container engine refused {method} {path}: {_said(content)}")
        return json.loads(content) if content else None

    def stream(self, path: str, query: Mapping[str, str]) -> Iterator[bytes]:
        """What a container prints, as it comes, both streams as one; ends with the container."""
        connection = _Connection(self.path, None)
        try:
            response = self._send(connection, "GET", path, query, None)
            if response.status >= 400:
                return
            multiplexed = response.getheader("Content-Type", "") != "application/vnd.docker.raw-stream"
            while True:
                if not multiplexed:
                    chunk = response.read1(65_536)
                else:
                    frame = response.read(_FRAME)
                    if len(frame) < _FRAME:
                        return
                    chunk = response.read(int.from_bytes(frame[4:], "big"))
                if not chunk:
                    return
                yield chunk
        except (OSError, http.client.HTTPException, ValueError):
            return
        finally:
            connection.close()

    def _send(
        self, connection: _Connection, method: str, path: str, query: Mapping[str, str] | None, body: Any
    ) -> http.client.HTTPResponse:
        whole = _VERSION + path + (f"?{urllib.parse.urlencode(query)}" if query else "")
        data = None if body is None else json.dumps(body).encode()
        connection.request(method, whole, data, {"content-type": "application/json"})
        return connection.getresponse()

    def has_image(self, tag: str) -> bool:
        """Whether the image is on this machine."""
        return self.ask("GET", f"/images/{urllib.parse.quote(tag, safe='/:@')}/json", missing=True) is not None

    def labelled(self, label: str) -> list[dict[str, Any]]:
        """The containers with a label (``name`` or ``name=value``), running or not."""
        filters = json.dumps({"label": [label]})
        found = self.ask("GET", "/containers/json", query={"all": "true", "filters": filters})
        return list(found or ())

    def inspect(self, container: str) -> dict[str, Any] | None:
        """What the engine knows of a container; None when it has gone."""
        found: dict[str, Any] | None = self.ask("GET", f"/containers/{container}/json", missing=True)
        return found

    def remove(self, container: str) -> None:
        """End and remove a container; nothing happens when it has gone."""
        self.ask("DELETE", f"/containers/{container}", query={"force": "true", "v": "true"}, missing=True)


def find(environment: Mapping[str, str] | None = None) -> Engine:
    """The engine that answers: that of ``DOCKER_HOST``, else Docker's, else Podman's.

    Raises:
        EngineAbsent: none does; the text says where was looked.
    """
    paths = sockets(os.environ if environment is None else environment)
    for path in paths:
        if Path(path).exists():
            engine = Engine(path)
            try:
                engine.ask("GET", "/version", seconds=5.0)
            except PlatformError:
                continue
            return engine
    raise EngineAbsent(
        f"no container engine answers here (looked at {', '.join(paths)})",
        hint="start Docker (`systemctl start docker`) or Podman (`systemctl --user start podman.socket`), or set"
        " DOCKER_HOST=unix:///path/to/its.sock",
    )


def sockets(environment: Mapping[str, str]) -> list[str]:
    """Where engines listen, the likeliest first."""
    chosen = environment.get("DOCKER_HOST", "")
    if chosen.startswith("unix://"):
        return [chosen.removeprefix("unix://")]
    found = ["/var/run/docker.sock"]
    if runtime := environment.get("XDG_RUNTIME_DIR"):
        found += [f"{runtime}/docker.sock", f"{runtime}/podman/podman.sock"]
    return [*found, "/run/podman/podman.sock"]


def _said(content: bytes) -> str:
    try:
        return str(json.loads(content)["message"])
    except (ValueError, KeyError, TypeError):
        return content.decode("utf-8", "replace")[:500]
