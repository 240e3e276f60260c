"""How long a caller says that it waits: one of three headers, the first that is there.

``x-request-timeout`` and ``request-timeout`` are seconds (``2.5``), or have a unit (``500ms``, ``2s``);
``grpc-timeout`` is as gRPC has it: up to eight digits and one of H M S m u n.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from tiffin.errors import DecodeError

_PLAIN = re.compile(rb"^(\d{1,9}(?:\.\d{1,9})?)\s*(ms|s|)$")
_GRPC = re.compile(rb"^(\d{1,8})([HMSmun])$")
_UNITS = {b"": 1.0, b"s": 1.0, b"ms": 1e-3}
_GRPC_UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}


def seconds_waited(headers: Mapping[bytes, bytes]) -> float | None:
    """The seconds; ``None`` when the caller says nothing.

    Raises:
        DecodeError: it says something that is no time.
    """
    if (value := headers.get(b"x-request-timeout")) is not None:
        return _read("x-request-timeout", value, _PLAIN, _UNITS, "2.5 or 500ms")
    if (value := headers.get(b"request-timeout")) is not None:
        return _read("request-timeout", value, _PLAIN, _UNITS, "2.5 or 500ms")
    if (value := headers.get(b"grpc-timeout")) is not None:
        return _read("grpc-timeout", value, _GRPC, _GRPC_UNITS, "2S or 500m")
    return None


def _read(name: str, value: bytes, form: re.Pattern[bytes], units: Mapping[bytes, float], such_as: str) -> float:
    matched = form.match(value.strip())
    if matched is None or not (seconds := float(matched[1]) * units[matched[2]]):
        found = value[:40].decode("latin-1")
        raise DecodeError(f"expected a time above 0 such as {such_as}, found {found!r}", at=name)
    return seconds
