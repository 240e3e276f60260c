import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.codec import framing
from tiffin.errors import DecodeError
from tiffin.service.incoming import Incoming


def feed(incoming: Incoming, data: bytes, cuts: list[int]) -> None:
    """The data, in pieces of these lengths, as far as there is room for each."""
    at, turn = 0, 0
    while at < len(data):
        room = incoming.buffer()
        count = min(len(room), cuts[turn % len(cuts)], len(data) - at)
        room[:count] = data[at : at + count]
        del room
        incoming.received(count)
        at, turn = at + count, turn + 1


cuts = st.lists(st.integers(1, 50), min_size=1, max_size=5)


@given(st.binary(max_size=300), cuts)
def test_a_body_of_known_length_is_read_however_it_comes(body: bytes, pieces: list[int]):
    incoming = Incoming()
    feed(incoming, b"HTTP/1.1 201 Created\r\nX-A: b\r\ncontent-length: %d\r\n\r\n" % len(body) + body, pieces)
    assert (incoming.status, bytes(incoming.body), incoming.is_complete) == (201, body, True)
    assert incoming.headers[b"x-a"] == b"b"
    assert incoming.keeps


@given(st.lists(st.binary(min_size=1, max_size=80), max_size=5), cuts)
def test_chunks_are_joined_however_they_come(chunks: list[bytes], pieces: list[int]):
    sent = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    incoming = Incoming()
    feed(incoming, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + sent + b"0\r\n\r\n", pieces)
    assert (bytes(incoming.body), incoming.is_complete, incoming.keeps) == (b"".join(chunks), True, True)


def test_records_are_taken_as_they_become_whole():
    incoming = Incoming()
    record = b"".join(framing.record(framing.ITEM, [b"frame"]))
    feed(incoming, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n" + record[:5], [9])
    assert incoming.take_record() is None
    feed(incoming, b"\r\n%x\r\n" % (len(record) - 5) + record[5:], [3])
    assert incoming.take_record() == (framing.ITEM, bytearray(b"frame"))
    assert incoming.take_record() is None


def test_what_comes_before_the_answer_itself_is_skipped():
    incoming = Incoming()
    feed(incoming, b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", [999])
    assert (incoming.status, incoming.is_complete) == (204, True)


def test_a_connection_that_is_to_be_closed_is_not_kept():
    for head in (b"HTTP/1.1 200 OK\r\nconnection: close\r\n", b"HTTP/1.0 200 OK\r\n"):
        incoming = Incoming()
        feed(incoming, head + b"content-length: 0\r\n\r\n", [999])
        assert incoming.is_complete
        assert not incoming.keeps


def test_an_answer_without_length_ends_with_its_connection():
    incoming = Incoming()
    feed(incoming, b"HTTP/1.1 200 OK\r\n\r\nabc", [2])
    assert not incoming.is_complete
    assert incoming.ended()
    assert (bytes(incoming.body), incoming.keeps) == (b"abc", False)


def test_an_answer_that_breaks_off_is_not_complete():
    incoming = Incoming()
    feed(incoming, b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc", [999])
    assert not incoming.ended()


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"1" * 2000,
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 20_000,
    ],
)
def test_what_is_no_answer_is_refused(data: bytes):
    with pytest.raises(DecodeError):
        feed(Incoming(), data, [4096])


@given(st.binary(max_size=400), cuts)
def test_any_bytes_are_read_or_refused(data: bytes, pieces: list[int]):
    incoming = Incoming()
    try:
        for start in range(0, len(data), 40):
            if incoming.is_complete:
                return
            feed(incoming, data[start : start + 40], pieces)
    except DecodeError:
        pass
