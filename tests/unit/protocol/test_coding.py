import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.errors import DecodeError, TooLarge, UnsupportedMedia
from tiffin.protocol.coding import decoded


@given(st.binary(max_size=2000))
def test_what_was_compressed_comes_back(body):
    assert decoded(gzip.compress(body), b"gzip", 2000) == body
    assert decoded(zlib.compress(body), b"Deflate ", 2000) == body
    assert decoded(body, b"identity", 2000) == body


def test_a_bomb_is_refused_after_the_limit():
    with pytest.raises(TooLarge, match="at most 1000 bytes"):
        decoded(gzip.compress(bytes(10_000_000)), b"gzip", 1000)


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", gzip.compress(b"x" * 100)[:-9], gzip.compress(b"x") + b"more", gzip.compress(b"x") * 2],
    ids=["nothing", "no gzip", "cut off", "something behind", "two streams"],
)
def test_what_is_not_one_whole_stream_is_refused(body):
    with pytest.raises(DecodeError, match="gzip"):
        decoded(body, b"gzip", 1000)


def test_other_codings_are_named():
    with pytest.raises(UnsupportedMedia, match="found 'br'"):
        decoded(b"x", b"br", 10)
