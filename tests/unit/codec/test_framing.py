import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.codec import framing
from tiffin.errors import DecodeError

buffers = st.lists(st.binary(max_size=200), max_size=5)


def whole(parts) -> bytes:
    return b"".join(parts)


@given(st.binary(max_size=300), buffers)
def test_what_is_packed_is_unpacked(tree: bytes, given_buffers: list[bytes]):
    parts = framing.pack(tree, [memoryview(buffer) for buffer in given_buffers])
    assert framing.size_of(parts) == len(whole(parts))
    found, views = framing.unpack(memoryview(whole(parts)))
    assert bytes(found) == tree
    assert [bytes(view) for view in views] == given_buffers


def test_buffers_are_not_copied_and_lie_aligned():
    data = memoryview(bytearray(range(100)))
    parts = framing.pack(b"tree", [data, data])
    assert [part for part in parts if part is data] == [data, data]
    frame = bytearray(whole(parts))
    _, views = framing.unpack(memoryview(frame))
    at = frame.find(bytes(data))
    assert at % framing.ALIGNMENT == 0
    frame[at] = 77
    assert views[0][0] == 77


@given(st.binary(max_size=200))
def test_bytes_that_are_no_frame_are_refused(data: bytes):
    try:
        tree, views = framing.unpack(memoryview(data))
    except DecodeError:
        return
    assert len(tree) + sum(map(len, views)) <= len(data)


@given(buffers, st.data())
def test_a_frame_that_is_cut_or_lengthened_is_refused(given_buffers: list[bytes], data: st.DataObject):
    frame = whole(framing.pack(b"tree", [memoryview(buffer) for buffer in given_buffers]))
    cut = data.draw(st.integers(0, len(frame) - 1))
    for wrong in (frame[:cut], frame + b"x"):
        with pytest.raises(DecodeError):
            framing.unpack(memoryview(wrong))


def test_a_count_of_buffers_beyond_the_bound_is_refused_before_they_are_read():
    head = framing.MAGIC + (0).to_bytes(4, "little") + (framing.MOST_BUFFERS + 1).to_bytes(4, "little")
    with pytest.raises(DecodeError, match="cut off"):
        framing.unpack(memoryview(head + bytes(8 * (framing.MOST_BUFFERS + 1))))
    with pytest.raises(ValueError, match="too large"):
        framing.pack(b"", [memoryview(b"")] * (framing.MOST_BUFFERS + 1))


def test_records_say_what_follows():
    record = whole(framing.record(framing.ITEM, [b"ab", memoryview(b"c")]))
    assert framing.read_record(record[: framing.RECORD_BYTES]) == (framing.ITEM, 3)
    assert record[framing.RECORD_BYTES :] == b"abc"
    with pytest.raises(DecodeError, match="kind 9"):
        framing.read_record(b"\x09" + bytes(8))
