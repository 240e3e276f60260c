"""One HTTP request after another to a controller, and its errors as exceptions of ours."""

from __future__ import annotations

import contextlib
import http.client
import socket
from collections.abc import Iterator
from typing import Any

import msgspec

from tiffin.client.places import Place
from tiffin.errors import PlatformError, SpecError, TiffinError
from tiffin.kits import sockets
from tiffin.plan.objects import Failure

SECONDS = 30.0
"""Longest silence of a controller that is asked for something quick."""


class NoController(PlatformError):
    """Nobody listens where the API should be."""

    code = "no-controller"


class _Unix(http.client.HTTPConnection):
    def __init__(self, place: Place, seconds: float) -> None:
        super().__init__("localhost", timeout=seconds)
        self._place = place

    def connect(self) -> None:
        assert self._place.unix is not None
        self.sock: socket.socket = sockets.connect(self._place.unix, seconds=float(self.timeout or SECONDS))


def ask(place: Place, method: str, path: str, body: bytes | None = None, *, seconds: float = SECONDS) -> bytes:
    """The body of a success; raises what the controller's failure says, or NoController."""
    with _answer(place, method, path, body, seconds=seconds) as response:
        try:
            return response.read()
        except (OSError, http.client.HTTPException) as error:
            raise _gone(place, error) from error


@contextlib.contextmanager
def stream(place: Place, path: str, *, accept: str, seconds: float) -> Iterator[Iterator[bytes]]:
    """The lines of an answer that goes on; they end when it does.

    ``seconds``: the longest silence. The lines raise NoController when it is cut off.
    """
    with _answer(place, "GET", path, None, seconds=seconds, accept=accept) as response:
        yield _lines(place, response)


def _lines(place: Place, response: http.client.HTTPResponse) -> Iterator[bytes]:
    while True:
        try:
            line = response.readline()
        except (OSError, http.client.HTTPException) as error:
            raise _gone(place, error) from error
        if not line:
            return
        yield line


@contextlib.contextmanager
def _answer(
    place: Place, method: str, path: str, body: bytes | None, *, seconds: float, accept: str = "application/json"
) -> Iterator[http.client.HTTPResponse]:
    connection = (
        _Unix(place, seconds)
        if place.unix is not None
        else http.client.HTTPConnection(place.host, place.port, timeout=seconds)
    )
    headers = {"Accept": accept}
    if place.token:
        headers["Authorization"] = f"Bearer {place.token}"
    if body is not None:
        headers["Content-Type"] = "application/json"
    with contextlib.closing(connection):
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise _gone(place, error) from error
        if response.status >= 400:
            raise failure(response.status, _rest(response))
        with response:
            yield response


def _rest(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read()
    except (OSError, http.client.HTTPException):
        return b""


def _gone(place: Place, error: Exception) -> NoController:
    if isinstance(error, TimeoutError):
        return NoController(
            f"the controller at {place} does not answer",
            hint="it may be busy: ask again; `tiffin doctor` says what is wrong with it",
        )
    if isinstance(error, PermissionError):
        hint = "it is for the user who started the controller"
        return NoController(f"you may not connect to {place}", hint=hint)
    if isinstance(error, ConnectionRefusedError) and place.unix is not None:
        message = f"no controller runs at {place}: one was killed there, and what it started goes on"
        return NoController(message, hint="`tiffin up -d` takes that over, `tiffin down` stops it")
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return NoController(f"no controller runs at {place}", hint="start one: tiffin up -d")
    reason = getattr(error, "strerror", None) or error
    return NoController(f"cannot ask the controller at {place}: {reason}", hint="start one: tiffin up -d")


def failure(status: int, body: bytes) -> TiffinError:
    """An answer's failure as the exception that was raised in the controller, where its class is known."""
    try:
        found = msgspec.json.decode(body, type=Failure)
    except msgspec.DecodeError:
        return PlatformError(f"the controller answered {status}", hint="is something else listening there?")
    kind = _classes(TiffinError).get(found.code, PlatformError)
    details: dict[str, Any] = {"hint": found.hint or None, "at": found.at or None}
    if issubclass(kind, SpecError):
        details["place"] = found.place or None
    try:
        error = kind(found.error, **details)
    except TypeError:
        # A class that is made from something else than a message and a hint.
        error = PlatformError(found.error, **details)
    return error


def _classes(root: type[TiffinError]) -> dict[str, type[TiffinError]]:
    """Every class below ``root`` by its code; of those that share one, the topmost."""
    found = {root.code: root}
    for child in root.__subclasses__():
        for code, kind in _classes(child).items():
            found.setdefault(code, kind)
    return found
