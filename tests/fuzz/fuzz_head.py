"""Request heads: one head or a refusal, never two readings; framing as h11 reads it, when h11 takes it."""

from __future__ import annotations

import h11
from judge import REFUSED, judged

from tiffin.protocol import http1


def run(data: bytes) -> None:
    found = judged(lambda: http1.parse_head(data, max_headers=32))
    if found is REFUSED:
        return
    assert data.endswith(b"\r\n\r\n")
    assert data.count(b"\r\n\r\n") == 1
    assert b"\n" not in data.replace(b"\r\n", b"")
    assert b"\0" not in data
    assert found.content_length >= -1
    assert len(found.headers) <= 32
    peer = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    try:
        peer.receive_data(data)
        request = peer.next_event()
    except h11.RemoteProtocolError:
        return
    assert isinstance(request, h11.Request)
    theirs = dict(request.headers)
    if b"transfer-encoding" in theirs:
        assert found.content_length == http1.CHUNKED
    else:
        assert found.content_length == int(theirs.get(b"content-length", b"0"))
    assert found.method.encode() == request.method
