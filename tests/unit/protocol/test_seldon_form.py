"""Where a message may be in a request."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.errors import CallError, DecodeError, UnsupportedMedia
from tiffin.protocol.head import Head
from tiffin.protocol.seldon_form import document_of

MESSAGE = {"data": {"ndarray": [[1]]}}
TEXT = b'{"data":{"ndarray":[[1]]}}'
QUOTED = b"%7B%22data%22%3A%7B%22ndarray%22%3A%5B%5B1%5D%5D%7D%7D"
PARTS = b"multipart/form-data; boundary=B"


def head(content_type=b"", query=b"", method="POST"):
    headers = {b"content-type": content_type} if content_type else {}
    return Head(method, "/predict", query, headers, 0, True, False)


def parts(*fields):
    lines = []
    for disposition, content in fields:
        lines += [b"--B", b"Content-Disposition: form-data; " + disposition, b"", content]
    return b"\r\n".join([*lines, b"--B--", b""])


@pytest.mark.parametrize(
    ("content_type", "query", "body", "expected"),
    [
        (b"application/json", b"", TEXT, MESSAGE),
        (b"Application/JSON; charset=utf-8", b"", TEXT, MESSAGE),
        (b"application/vnd.seldon+json", b"", TEXT, MESSAGE),
        (b"", b"", TEXT, MESSAGE),
        (b"", b"json=" + QUOTED, b"", MESSAGE),
        (b"application/x-www-form-urlencoded", b"", b"json=" + QUOTED, MESSAGE),
        (b"application/x-www-form-urlencoded", b"", TEXT, MESSAGE),
        (PARTS, b"", parts((b'name="json"', TEXT)), MESSAGE),
        (PARTS, b"", parts((b'name="data"', b'{"ndarray":[[1]]}')), MESSAGE),
        (
            PARTS,
            b"",
            parts((b'name="strData"', b"hello"), (b'name="meta"', b"{}")),
            {"strData": "hello", "meta": {}},
        ),
        (PARTS, b"", parts((b'name="strData"; filename="a.txt"', b"hello")), {"strData": "hello"}),
        (PARTS, b"", parts((b'name="binData"; filename="a.bin"', b"xy")), {"binData": "eHk="}),
        (PARTS, b"", parts((b'name="binData"', b"eHk=")), {"binData": "eHk="}),
    ],
)
def test_a_message_is_found(content_type, query, body, expected):
    assert document_of(head(content_type, query), body) == expected


@pytest.mark.parametrize(
    ("content_type", "query", "body", "error"),
    [
        (b"", b"", b"", DecodeError),
        (b"application/json", b"", b"{", DecodeError),
        (b"", b"other=1", b"", DecodeError),
        (b"application/x-www-form-urlencoded", b"", b"a=b", DecodeError),
        (b"application/x-www-form-urlencoded", b"", b"json=%7B", DecodeError),
        (b"multipart/form-data", b"", b"x", DecodeError),
        (PARTS, b"", b"x", DecodeError),
        (PARTS, b"", parts((b'name="strData"; filename="a"', b"\xff")), DecodeError),
        (PARTS, b"", parts((b'name="data"', b"{")), DecodeError),
        (b"text/csv", b"", b"1,2", UnsupportedMedia),
    ],
)
def test_what_is_no_message_is_refused(content_type, query, body, error):
    with pytest.raises(error):
        document_of(head(content_type, query), body)


@given(
    st.sampled_from([b"", b"application/json", b"application/x-www-form-urlencoded", PARTS, b"x"]),
    st.binary(max_size=40),
    st.binary(max_size=80) | st.binary(max_size=20).map(lambda inner: parts((b'name="json"', inner))),
)
def test_any_bytes_are_a_document_or_a_callers_error(content_type, query, body):
    try:
        document_of(head(content_type, query), body)
    except CallError as error:
        refused = error.status
    else:
        refused = 400
    assert 400 <= refused < 500
