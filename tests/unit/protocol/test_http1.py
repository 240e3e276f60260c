"""Request heads and chunked bodies, and above all what is refused of them; h11 is the independent peer."""

import gzip
import itertools
import zlib

import h11
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tiffin.errors import CallError, DecodeError, HeadTooLarge, NotImplementedHere, TooLarge, UnsupportedMedia
from tiffin.protocol import http1
from tiffin.protocol.coding import decoded
from tiffin.protocol.head import Head
from tiffin.protocol.reply import Reply

GET = b"GET / HTTP/1.1\r\nHost: a\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"


def head(block: bytes, max_headers: int = 128) -> Head:
    return http1.parse_head(block, max_headers=max_headers)


# -- heads that are well formed ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("block", "method", "path", "query"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "/", b""),
        (b"GET /a/b?x=1&y=%20 HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "/a/b", b"x=1&y=%20"),
        (b"POST /v1/models/m:predict HTTP/1.1\r\nHost: a\r\n\r\n", "POST", "/v1/models/m:predict", b""),
        (b"GET /caf%C3%A9 HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "/café", b""),
        (b"GET /a%2Fb%3Fc HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "/a/b?c", b""),
        (b"GET /100%zz HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "/100%zz", b""),
        (b"GET //a//b HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "//a//b", b""),
        (b"GET /a?b?c HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "/a", b"b?c"),
        (b"GET http://other/x?q HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "/x", b"q"),
        (b"GET HTTPS://other HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "/", b""),
        (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS", "*", b""),
        (b"DELETE /x HTTP/1.1\r\nHost:\r\n\r\n", "DELETE", "/x", b""),
        (b"GET /x HTTP/1.0\r\n\r\n", "GET", "/x", b""),
    ],
)
def test_targets_are_decoded(block: bytes, method: str, path: str, query: bytes) -> None:
    found = head(block)
    assert (found.method, found.path, found.query) == (method, path, query)


@pytest.mark.parametrize(
    ("block", "length", "keep_alive", "expects", "minor"),
    [
        (GET + b"\r\n", 0, True, False, 1),
        (GET + b"Connection: close\r\n\r\n", 0, False, False, 1),
        (GET + b"Connection: keep-alive\r\n\r\n", 0, True, False, 1),
        (GET + b"Connection: Keep-Alive, Close\r\n\r\n", 0, False, False, 1),
        (POST + b"Content-Length: 0\r\n\r\n", 0, True, False, 1),
        (POST + b"Content-Length: 17\r\n\r\n", 17, True, False, 1),
        (POST + b"CONTENT-LENGTH:   017  \r\n\r\n", 17, True, False, 1),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n", http1.CHUNKED, True, False, 1),
        (POST + b"transfer-encoding: CHUNKED\r\n\r\n", http1.CHUNKED, True, False, 1),
        (POST + b"Content-Length: 5\r\nExpect: 100-Continue\r\n\r\n", 5, True, True, 1),
        (POST + b"Content-Length: 5\r\nExpect: something\r\n\r\n", 5, True, False, 1),
        (b"POST / HTTP/1.0\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n", 5, False, False, 0),
        (b"GET / HTTP/1.0\r\n\r\n", 0, False, False, 0),
        # Keep-alive in HTTP/1.0 wants an answer that says so; closing is always right.
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", 0, False, False, 0),
        # An Upgrade is ignored, body and all: nothing after it may be taken for another protocol.
        (POST + b"Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\n", 3, True, False, 1),
        (POST + b"Connection: upgrade\r\nUpgrade: x\r\nTransfer-Encoding: chunked\r\n\r\n", -1, True, False, 1),
    ],
)
def test_framing_is_read(block: bytes, length: int, keep_alive: bool, expects: bool, minor: int) -> None:
    found = head(block)
    assert (found.content_length, found.keep_alive) == (length, keep_alive)
    assert (found.expects_continue, found.minor_version) == (expects, minor)


def test_header_names_are_lower_case_and_repeated_ones_joined() -> None:
    found = head(GET + b"X-A: 1\r\nx-a:2\r\nCookie: a=1\r\ncookie: b=2\r\nX-B: \xff \r\n\r\n")
    assert found.header(b"x-a") == b"1, 2"
    assert found.header(b"cookie") == b"a=1; b=2"
    assert found.header(b"x-b") == b"\xff"
    assert found.header(b"absent") == b""


# -- heads that two parsers could read differently ---------------------------------------------------------


@pytest.mark.parametrize(
    "block",
    [
        POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
        POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n",
        POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
        POST + b"Content-Length: 5, 5\r\n\r\n",
        POST + b"Content-Length:\r\n\r\n",
        POST + b"Content-Length: -1\r\n\r\n",
        POST + b"Content-Length: +5\r\n\r\n",
        POST + b"Content-Length: 0x5\r\n\r\n",
        POST + b"Content-Length: 5 5\r\n\r\n",
        POST + b"Content-Length: 5.0\r\n\r\n",
        POST + b"Content-Length: \xd9\xa5\r\n\r\n",
        POST + b"Content-Length: 9999999999999999\r\n\r\n",
        POST + b"Content-Length: 99999999999999999999999\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
        POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n",
        POST + b"Transfer-Encoding: chunked, identity\r\n\r\n",
        POST + b"Transfer-Encoding: xchunked\r\n\r\n",
        POST + b"Transfer-Encoding:\x0bchunked\r\n\r\n",
        POST + b"Transfer-Encoding: identity\r\n\r\n",
        POST + b"Transfer-Encoding:\r\n\r\n",
        POST + b"Transfer-Encoding : chunked\r\n\r\n",
        POST + b"Transfer-Encoding\r\n: chunked\r\n\r\n",
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nhOsT: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
        GET + b"X: a\r\n b\r\n\r\n",
        GET + b"X: a\r\n\tb\r\n\r\n",
        GET + b"X: a\x00b\r\n\r\n",
        GET + b"X\x00: a\r\n\r\n",
        GET + b": a\r\n\r\n",
        GET + b"no colon\r\n\r\n",
        GET + b"X: a\rY: b\r\n\r\n",
        GET + b"X: a\nY: b\r\n\r\n",
        b"GET / HTTP/1.1\nHost: a\n\n\r\n\r\n",
        b"GET / HTTP/1.1\rHost: a\r\n\r\n",
        b"GET /\nX HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
        b"GET / HTTP/0.9\r\nHost: a\r\n\r\n",
        b"GET / http/1.1\r\nHost: a\r\n\r\n",
        b"GET / RTSP/1.0\r\nHost: a\r\n\r\n",
        b"SOURCE / ICE/1.0\r\nHost: a\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET\r\n\r\n",
        b"get / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"MAKE / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET a HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET ftp://a/b HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /caf\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /%ff%fe HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        GET + b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        POST + b"Content-Length: 3\r\n\r\nabc",
    ],
)
def test_ambiguous_or_malformed_heads_are_refused(block: bytes) -> None:
    with pytest.raises(DecodeError):
        head(block)


@pytest.mark.parametrize("coding", [b"gzip, chunked", b"deflate,chunked", b"gzip;q=1, chunked"])
def test_other_transfer_codings_are_not_implemented(coding: bytes) -> None:
    with pytest.raises(NotImplementedHere, match="chunked"):
        head(POST + b"Transfer-Encoding: " + coding + b"\r\n\r\n")


def test_header_lines_are_counted() -> None:
    lines = b"".join(b"X-%d: 1\r\n" % index for index in range(9))
    assert len(head(GET + lines + b"\r\n", max_headers=10).headers) == 10
    with pytest.raises(HeadTooLarge, match="at most 10 header lines, found 11"):
        head(GET + lines + b"Y: 1\r\n\r\n", max_headers=10)


NAMES = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12).filter(
    lambda name: name not in ("host", "content-length", "transfer-encoding", "connection", "content-type")
)
VALUES = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20)


@given(st.dictionaries(NAMES, VALUES, max_size=8), st.integers(0, 10**12))
def test_any_well_formed_head_reads_as_h11_reads_it(lines: dict[str, str], length: int) -> None:
    block = POST + b"Content-Length: %d\r\n" % length
    block += b"".join(f"{name}: {value}\r\n".encode() for name, value in lines.items()) + b"\r\n"
    found = head(block)
    peer = h11.Connection(h11.SERVER)
    peer.receive_data(block)
    request = peer.next_event()
    assert isinstance(request, h11.Request)
    assert found.content_length == length
    assert found.headers == dict(request.headers)


@given(st.binary(max_size=200).map(lambda noise: GET + noise + b"\r\n\r\n"))
@example(GET + b"A: \x80\r\n\r\n")
def test_any_bytes_are_a_head_or_a_refusal(block: bytes) -> None:
    try:
        found = head(block)
    except CallError:
        return
    assert block.count(b"\r\n\r\n") == 1
    assert b"\n" not in block.replace(b"\r\n", b"")
    assert found.content_length >= -1


# -- chunked bodies ----------------------------------------------------------------------------------------


def feed(pieces: list[bytes], limit: int = 1 << 20) -> tuple[bytes | None, bytes]:
    """What a connection does: what is left over goes in front of the next piece."""
    decoder = http1.ChunkedBody(limit)
    waiting = b""
    for index, piece in enumerate(pieces):
        body, waiting = decoder.feed(waiting + piece)
        if body is not None:
            return body, waiting + b"".join(pieces[index + 1 :])
    return None, waiting


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted({cut % (len(data) + 1) for cut in cuts}), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(places)]


EXTENSIONS = st.sampled_from([b"", b";a", b";a=1", b';a="b c"', b" ;a=b"[1:]])
TRAILERS = st.lists(st.sampled_from([b"X: 1\r\n", b"Checksum: abc\r\n"]), max_size=3)


@given(
    st.lists(st.tuples(st.binary(min_size=1, max_size=300), EXTENSIONS), max_size=8),
    TRAILERS,
    st.binary(max_size=40),
    st.lists(st.integers(0, 5000), max_size=30),
)
def test_any_body_in_any_chunks_and_pieces_comes_back_with_its_rest(
    chunks: list[tuple[bytes, bytes]], trailers: list[bytes], rest: bytes, cuts: list[int]
) -> None:
    data = b"".join(b"%X%b\r\n%b\r\n" % (len(chunk), extension, chunk) for chunk, extension in chunks)
    data += b"0\r\n" + b"".join(trailers) + b"\r\n" + rest
    assert feed(split(data, cuts)) == (b"".join(chunk for chunk, _ in chunks), rest)


def h11_body(data: bytes) -> bytes | None:
    """What h11 makes of a chunked body; None when it refuses or wants more."""
    peer = h11.Connection(h11.SERVER)
    peer.receive_data(POST + b"Transfer-Encoding: chunked\r\n\r\n" + data)
    body = b""
    try:
        while True:
            event = peer.next_event()
            if isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return body
            elif event in (h11.NEED_DATA, h11.PAUSED):
                return None
    except h11.RemoteProtocolError:
        return None


PIECES = st.sampled_from(
    [
        b"5\r\nhello\r\n",
        b"0\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b"5",
        b"a",
        b"A\r\n0123456789\r\n",
        b"X: y\r\n",
        b";",
        b" ",
        b";x\r\n",
        b"hello",
        b"0x5\r\n",
        b"-1\r\n",
        b"+5\r\n",
        b"00\r\n",
        b"05\r\nhello\r\n",
        b"\x00",
        b"g\r\n",
        b"_",
        b"\t",
        b"X: y\n",
        b"ffffffffffffff\r\n",
        b"1_0\r\n",
        b"\xb2\r\n",
    ]
)


@given(st.lists(PIECES, max_size=8).map(b"".join))
@example(b"5\r\nhello\r\n0\r\n\r\n")
@example(b"0\r\nX: y\n\r\n\r\n")
@example(b"5 \r\nhello\r\n0\r\n\r\n")
def test_what_is_accepted_of_malformed_chunking_h11_accepts_with_the_same_body(data: bytes) -> None:
    try:
        body, _ = feed([data])
    except (DecodeError, TooLarge):
        return
    if body is not None:
        assert h11_body(data) == body


@pytest.mark.parametrize(
    "data",
    [
        b"x\r\n",
        b"0x5\r\nhello\r\n",
        b"+5\r\nhello\r\n",
        b" 5\r\nhello\r\n",
        b"5 \r\nhello\r\n",
        b"1_0\r\n",
        b"\r\n",
        b";a\r\n",
        b"5\nhello\n0\n\n",
        b"5\r\nhello0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5;a\nb\r\nhello\r\n",
        b"5;a\rb\r\nhello\r\n",
        b"fffffffffffff\r\n",
        b"0\r\nno colon\r\n\r\n",
        b"0\r\nX: y\n\r\n\r\n",
        b"0\r\nX: y\rZ: a\r\n\r\n",
        b"0" * 300,
        b"5;" + b"a" * 300,
    ],
)
def test_malformed_chunking_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        feed([data])


def test_chunk_extensions_and_trailers_are_bounded_in_sum() -> None:
    with pytest.raises(DecodeError, match="extensions"):
        feed([(b"1;" + b"e" * 200 + b"\r\nx\r\n") * 60])
    with pytest.raises(DecodeError, match="trailer"):
        feed([b"0\r\n" + (b"X: " + b"t" * 200 + b"\r\n") * 60])


def test_a_chunked_body_is_bounded_before_it_is_kept() -> None:
    assert feed([b"a\r\n0123456789\r\n0\r\n\r\n"], limit=10) == (b"0123456789", b"")
    with pytest.raises(TooLarge, match="at most 10 bytes"):
        feed([b"b\r\n"], limit=10)
    with pytest.raises(TooLarge):
        feed([b"9\r\n012345678\r\n", b"2\r\n"], limit=10)


# -- content codings ---------------------------------------------------------------------------------------


@given(st.binary(max_size=2000), st.sampled_from([b"gzip", b" GZIP ", b"x-gzip", b"deflate", b"identity", b""]))
def test_content_codings_are_undone(body: bytes, coding: bytes) -> None:
    name = coding.strip().lower()
    sent = gzip.compress(body) if b"gzip" in name else zlib.compress(body) if name == b"deflate" else body
    assert decoded(sent, coding, 2000) == body


@pytest.mark.parametrize(
    ("body", "coding", "problem"),
    [
        (b"x", b"br", UnsupportedMedia),
        (b"x", b"gzip, gzip", UnsupportedMedia),
        (b"x", b"\xff" * 100, UnsupportedMedia),
        (b"not gzip", b"gzip", DecodeError),
        (b"", b"gzip", DecodeError),
        (gzip.compress(b"abc")[:-1], b"gzip", DecodeError),
        (gzip.compress(b"abc") + b"more", b"gzip", DecodeError),
        (gzip.compress(b"abc") * 2, b"gzip", DecodeError),
        (gzip.compress(bytes(1001)), b"gzip", TooLarge),
        (gzip.compress(bytes(100_000_000)), b"gzip", TooLarge),
        (zlib.compress(bytes(1001)), b"deflate", TooLarge),
    ],
)
def test_bad_content_codings_are_refused(body: bytes, coding: bytes, problem: type[CallError]) -> None:
    with pytest.raises(problem):
        decoded(body, coding, 1000)


# -- replies -----------------------------------------------------------------------------------------------


def test_heads_of_replies_say_how_the_body_ends() -> None:
    def lines(reply: Reply, length: int | None, close: bool = False) -> list[bytes]:
        return http1.encode_head(reply, common=b"server: t\r\n", length=length, close=close).split(b"\r\n")

    assert lines(Reply(), 2) == [
        b"HTTP/1.1 200 OK",
        b"server: t",
        b"content-type: application/json",
        b"content-length: 2",
        b"",
        b"",
    ]
    assert b"transfer-encoding: chunked" in lines(Reply(), None)
    assert not any(b"length" in line or b"chunked" in line for line in lines(Reply(), http1.UNTIL_CLOSE, True))
    assert b"connection: close" in lines(Reply(), 0, True)
    assert not any(line.startswith(b"content-length") for line in lines(Reply(204), 0))
    assert lines(Reply(599), 0)[0] == b"HTTP/1.1 599 "


@given(st.binary(max_size=40))
def test_a_header_a_service_sets_cannot_add_another(value: bytes) -> None:
    text = http1.encode_head(Reply(headers=((b"x", value),)), common=b"", length=0, close=False)
    assert text.count(b"\r\n") == 5
    assert text.count(b"\n") == 5
