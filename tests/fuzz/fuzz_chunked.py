"""Chunked bodies, in pieces: what is accepted, h11 accepts too, with the same body and the same rest."""

from __future__ import annotations

import h11
from judge import REFUSED, judged

from tiffin.protocol import http1

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def run(data: bytes) -> None:
    size, data = (data[0] % 16 + 1 if data else 1), data[1:]
    whole = judged(lambda: fed(data, len(data) or 1))
    assert judged(lambda: fed(data, size)) == whole, "pieces make a difference"
    if whole is REFUSED or whole[0] is None:
        return
    assert theirs(data) == whole


def fed(data: bytes, size: int) -> tuple[bytes | None, bytes]:
    """As a connection does it: what is left over goes in front of the next piece."""
    decoder = http1.ChunkedBody(1 << 16)
    waiting = b""
    for start in range(0, len(data), size):
        body, waiting = decoder.feed(waiting + data[start : start + size])
        if body is not None:
            return body, waiting + data[start + size :]
    return None, b""


def theirs(data: bytes) -> tuple[bytes, bytes] | None:
    peer = h11.Connection(h11.SERVER)
    peer.receive_data(HEAD + data)
    body = b""
    while True:
        try:
            event = peer.next_event()
        except h11.RemoteProtocolError:
            return None
        if isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            return body, bytes(peer.trailing_data[0])
        elif event in (h11.NEED_DATA, h11.PAUSED):
            return None
