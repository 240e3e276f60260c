"""HTTP/1.1 requests, pure: the bytes of a head to a ``Head``, a chunked body to bytes, a reply to bytes.

Parsing is llhttp's (``httptools``), in its strict mode. On top of it, whatever two HTTP implementations could
read differently is refused, so that nothing can be smuggled past a proxy in front (RFC 9112, sections 6.1
and 11.2): length and chunking at once, an unknown transfer coding, chunking in HTTP/1.0, bare line feeds,
a missing or repeated Host.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from urllib.parse import unquote_to_bytes

import httptools

from tiffin.errors import CallError, DecodeError, HeadTooLarge, NotImplementedHere, TooLarge
from tiffin.protocol.head import Head
from tiffin.protocol.reply import Reply

END_OF_HEAD = b"\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
CRLF = b"\r\n"
CHUNKED = -1
UNTIL_CLOSE = -1

_REASONS = {status.value: status.phrase.encode("ascii") for status in HTTPStatus}
_SINGLE = frozenset((b"content-length", b"host", b"transfer-encoding", b"content-type"))
_TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*")
_HEX = frozenset(b"0123456789abcdefABCDEF")


class _Collector:
    """Receives llhttp's callbacks for one head."""

    __slots__ = ("begun", "completed", "has_body", "headers", "repeated", "url")

    def __init__(self) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.begun = 0
        self.completed = 0
        self.has_body = False

    def on_message_begin(self) -> None:
        self.begun += 1

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        self.completed += 1

    def on_body(self, body: bytes) -> None:
        self.has_body = True


def parse_head(block: bytes, *, max_headers: int) -> Head:
    """Decode a head; ``block`` runs up to and including the empty line.

    Raises:
        DecodeError: the bytes are not one well-formed request head.
        HeadTooLarge: more than ``max_headers`` header lines.
        NotImplementedHere: a transfer coding other than ``chunked``.
    """
    if block.find(END_OF_HEAD) != len(block) - len(END_OF_HEAD):
        raise DecodeError("expected one request head, with its empty line at the end")
    lines = block.count(CRLF) - 2
    if block.count(b"\n") - 2 != lines or block.count(b"\r") - 2 != lines:
        raise DecodeError("expected lines that end with CR LF, found a bare CR or LF")
    if lines > max_headers:
        raise HeadTooLarge(f"expected at most {max_headers} header lines, found {lines}")
    seen = _Collector()
    parser = httptools.HttpRequestParser(seen)
    try:
        parser.feed_data(block)
    except httptools.HttpParserUpgrade:
        pass  # An Upgrade may be ignored (RFC 9110, 7.8): the request is answered as plain HTTP/1.1.
    except httptools.HttpParserError as error:
        raise DecodeError(f"expected an HTTP/1.1 request head, found something else: {error}") from None
    # llhttp and the search for the empty line must agree on where the head ends, or bytes could hide between.
    if seen.completed != 1 or seen.begun != 1 or seen.has_body:
        raise DecodeError("expected one HTTP/1.1 request head that ends with an empty line (CR LF CR LF)")
    version = parser.get_http_version()
    # llhttp also knows RTSP/1.0 and ICE/1.0, which must not pass for HTTP, and forgives further spaces.
    line = block.partition(CRLF)[0].split(b" ")
    if len(line) != 3 or line[2] not in (b"HTTP/1.1", b"HTTP/1.0"):
        raise DecodeError(f"expected a request line that ends in HTTP/1.0 or HTTP/1.1, found {_shown(line[-1])}")
    headers = _merge(seen.headers)
    if version == "1.1" and b"host" not in headers:
        raise DecodeError("expected a Host header (RFC 9112, 3.2), found none")
    path, query = _target(seen.url)
    return Head(
        parser.get_method().decode("ascii"),
        path,
        query,
        headers,
        _framing(headers, version),
        version == "1.1" and not _closes(headers.get(b"connection", b"")),
        headers.get(b"expect", b"").lower() == b"100-continue" and version == "1.1",
        1 if version == "1.1" else 0,
    )


def _merge(lines: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    headers: dict[bytes, bytes] = {}
    for name, value in lines:
        if name not in headers:
            headers[name] = value
        elif name in _SINGLE:
            raise DecodeError(f"expected one {name.decode('ascii')} header, found several")
        else:
            separator = b"; " if name == b"cookie" else b", "
            headers[name] = headers[name] + separator + value
    return headers


def _framing(headers: dict[bytes, bytes], version: str) -> int:
    coding = headers.get(b"transfer-encoding")
    length = headers.get(b"content-length")
    if coding is not None:
        if length is not None:
            raise DecodeError("expected either Content-Length or Transfer-Encoding, found both")
        if version != "1.1":
            raise DecodeError("expected no Transfer-Encoding in HTTP/1.0")
        if coding.strip(b" \t").lower() != b"chunked":
            raise NotImplementedHere(f"expected Transfer-Encoding: chunked, found {_shown(coding)}")
        return CHUNKED
    if length is None:
        return 0
    if not length.isdigit() or len(length) > 15:
        raise DecodeError(f"expected a number of bytes as Content-Length, found {_shown(length)}")
    return int(length)


def _closes(connection: bytes) -> bool:
    # Not llhttp's should_keep_alive: once a request without a body is complete, it has forgotten.
    return b"close" in [option.strip(b" \t") for option in connection.lower().split(b",")]


def _target(url: bytes) -> tuple[str, bytes]:
    if not url.startswith(b"/"):
        if url == b"*":
            return "*", b""
        scheme, separator, rest = url.partition(b"://")
        if not separator or scheme.lower() not in (b"http", b"https"):
            raise DecodeError(f"expected a path that begins with /, found {_shown(url)}")
        _, slash, rest = rest.partition(b"/")
        url = slash + rest or b"/"
    path, _, query = url.partition(b"?")
    path = path.partition(b"#")[0]
    if b"%" in path:
        path = unquote_to_bytes(path)
    try:
        return path.decode("utf-8"), query
    except UnicodeDecodeError:
        raise DecodeError("expected a path in UTF-8 after percent-decoding") from None


def _shown(value: bytes) -> str:
    return repr(value[:64].decode("latin-1"))


class ChunkedBody:
    """The decoder of a chunked body (RFC 9112, 7.1), fed as bytes arrive.

    ``max_bytes`` bounds the decoded body; chunk extensions and trailers are bounded and dropped.
    """

    __slots__ = ("_body", "_expected", "_line_bytes", "_overhead", "_size", "_state", "max_bytes")

    _MAX_LINE = 256
    _MAX_TRAILER = 8192

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._body = bytearray()  # Not a list of parts: a caller may send each byte as a chunk of its own.
        self._size = 0
        self._expected = 0
        self._overhead = 0
        self._state = "size"

    def feed(self, data: bytes) -> tuple[bytes | None, bytes]:
        """Take more bytes; returns (body, rest) — body is ``None`` until the last chunk has arrived.

        ``rest`` has to be put in front of the next data.

        Raises:
            DecodeError: the chunking is malformed.
            TooLarge: the body grows over ``max_bytes``.
        """
        position = 0
        while True:
            if self._state == "data":
                taken = data[position : position + self._expected]
                self._body += taken
                self._expected -= len(taken)
                position += len(taken)
                if self._expected:
                    return None, b""
                self._state = "data-end"
            if self._state == "data-end":
                if len(data) - position < 2:
                    return None, data[position:]
                if data[position : position + 2] != b"\r\n":
                    raise DecodeError("expected CR LF after a chunk of the body")
                position += 2
                self._state = "size"
            end = data.find(b"\r\n", position, position + self._MAX_LINE)
            if end < 0:
                if len(data) - position >= self._MAX_LINE or b"\n" in data[position:]:
                    raise DecodeError("expected a chunk size line that ends with CR LF")
                return None, data[position:]
            line = data[position:end]
            position = end + 2
            if self._state == "size":
                self._begin_chunk(line)
            elif not line:
                return bytes(self._body), data[position:]
            else:
                self._overhead += len(line)
                # A bare line feed could be the end of a line to a parser in front, and hide the next request.
                if self._overhead > self._MAX_TRAILER or not _TRAILER.fullmatch(line):
                    raise DecodeError("expected at most a few well-formed trailer lines after the last chunk")

    def _begin_chunk(self, line: bytes) -> None:
        digits, _, extension = line.partition(b";")
        # A line feed or carriage return inside an extension is where parsers have disagreed before.
        if (
            not digits
            or len(digits) > 12
            or not _HEX.issuperset(digits)
            or b"\n" in extension
            or b"\r" in extension
        ):
            raise DecodeError(f"expected a chunk size in hexadecimal, found {_shown(line)}")
        size = int(digits, 16)
        self._overhead += len(extension)
        if self._overhead > self._MAX_TRAILER:
            raise DecodeError("expected chunk extensions of a few bytes at most")
        if size == 0:
            self._state = "trailer"
            return
        self._size += size
        if self._size > self.max_bytes:
            raise body_too_large(self.max_bytes)
        self._expected = size
        self._state = "data"


def body_too_large(limit: int, found: int | None = None) -> CallError:
    """The error for a body over its limit, in bytes."""
    size = f", found {found}" if found is not None else ""
    return TooLarge(f"expected a body of at most {limit} bytes{size}")


def status_line(status: int) -> bytes:
    """``HTTP/1.1 200 OK`` and its line end."""
    return b"HTTP/1.1 %d %b\r\n" % (status, _REASONS.get(status, b""))


def encode_head(reply: Reply, *, common: bytes, length: int | None, close: bool) -> bytes:
    """The head of an answer; ``common`` are the server's own lines.

    ``length=None`` announces a chunked body, ``UNTIL_CLOSE`` one that ends with the connection (HTTP/1.0).
    """
    lines = [status_line(reply.status), common]
    if reply.content_type:
        lines.append(b"content-type: %b\r\n" % reply.content_type)
    for name, value in reply.headers:
        lines.append(b"%b: %b\r\n" % (name, clean(value)))
    if length is None:
        lines.append(b"transfer-encoding: chunked\r\n")
    elif length != UNTIL_CLOSE and reply.status >= 200 and reply.status != 204:
        lines.append(b"content-length: %d\r\n" % length)
    if close:
        lines.append(b"connection: close\r\n")
    lines.append(b"\r\n")
    return b"".join(lines)


def clean(value: bytes) -> bytes:
    """A header value without line ends: what a service sets can't add headers of its own."""
    if b"\r" in value or b"\n" in value or b"\0" in value:
        return value.replace(b"\r", b" ").replace(b"\n", b" ").replace(b"\0", b" ")
    return value
