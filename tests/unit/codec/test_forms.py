import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.codec.files import Upload
from tiffin.codec.forms import MAX_PARTS, parse_multipart, parse_urlencoded
from tiffin.errors import DecodeError

TYPE = b"multipart/form-data; boundary=XX"


def multipart(*parts: bytes) -> bytes:
    return b"".join(b"--XX\r\n" + part + b"\r\n" for part in parts) + b"--XX--\r\n"


def test_a_text_part_is_text():
    body = multipart(b'Content-Disposition: form-data; name="a"\r\n\r\n1')
    assert parse_multipart(TYPE, body) == {"a": ["1"]}


def test_a_part_with_a_file_name_is_an_upload():
    body = multipart(
        b'Content-Disposition: form-data; name="f"; filename="x.txt"\r\n'
        b"Content-Type: Text/Plain; charset=x\r\n\r\ndata"
    )
    assert parse_multipart(TYPE, body) == {"f": [Upload(b"data", "x.txt", "text/plain")]}


def test_repeated_parts_are_kept_in_order():
    body = multipart(*(b'Content-Disposition: form-data; name="a"\r\n\r\n%d' % i for i in range(3)))
    assert parse_multipart(TYPE, body) == {"a": ["0", "1", "2"]}


def test_text_is_read_in_its_charset():
    body = multipart(
        b'Content-Disposition: form-data; name="a"\r\nContent-Type: text/plain; charset=latin-1\r\n\r\n\xe9'
    )
    assert parse_multipart(TYPE, body) == {"a": ["é"]}


@pytest.mark.parametrize(
    ("content_type", "body", "says"),
    [
        (b"multipart/form-data", multipart(), "boundary"),
        (TYPE, b"garbage", "framed"),
        (TYPE, b'--XX\r\nContent-Disposition: form-data; name="a"\r\n\r\n1', "ends with its boundary"),
        (TYPE, multipart(b"Content-Disposition: form-data\r\n\r\n1"), "name"),
        (TYPE, multipart(b'Content-Disposition: form-data; name="a"\r\n\r\n\xff'), "text"),
        (TYPE, b"", "ends with its boundary"),
    ],
    ids=["no boundary", "no framing", "broken off", "nameless part", "not text", "empty"],
)
def test_broken_multipart_is_the_callers_mistake(content_type, body, says):
    with pytest.raises(DecodeError, match=says):
        parse_multipart(content_type, body)


def test_too_many_parts_are_refused():
    part = b'Content-Disposition: form-data; name="a"\r\n\r\n1'
    with pytest.raises(DecodeError, match="at most"):
        parse_multipart(TYPE, multipart(*[part] * (MAX_PARTS + 1)))


@given(st.binary(max_size=200))
def test_any_bytes_are_parsed_or_refused(body):
    with contextlib.suppress(DecodeError):
        assert isinstance(parse_multipart(TYPE, b"--XX\r\n" + body), dict)


def test_urlencoded_fields_keep_blanks_and_repeats():
    assert parse_urlencoded(b"a=1&b=&a=%C3%A9+x") == {"a": ["1", "é x"], "b": [""]}


@pytest.mark.parametrize("body", [b"\xff=1", b"a=%ff", b"&".join([b"a=1"] * (MAX_PARTS + 1))])
def test_urlencoded_that_is_no_text_or_too_long_is_refused(body):
    with pytest.raises(DecodeError):
        parse_urlencoded(body)


def test_a_urlencoded_form_of_other_bytes_is_refused_in_words_for_callers():
    with pytest.raises(DecodeError, match=r"^expected a URL-encoded form in UTF-8, found other bytes$"):
        parse_urlencoded(b"x=%ff%fe")
    with pytest.raises(DecodeError, match="at most 1000 fields, found more"):
        parse_urlencoded(b"x=1&" * (MAX_PARTS + 1))
