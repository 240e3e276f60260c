import pytest

from tiffin.codec.ranges import portion, still_valid


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (b"bytes=0-3", (0, 4)),
        (b"bytes=2-", (2, 10)),
        (b"bytes=-3", (7, 10)),
        (b"bytes=-99", (0, 10)),
        (b"bytes=5-99", (5, 10)),
        (b"Bytes = 0-0", (0, 1)),
        (b"bytes=10-", (0, 0)),
        (b"bytes=-0", (10, 10)),
        (b"bytes=3-2", None),
        (b"bytes=-", None),
        (b"bytes=0-1,3-4", None),
        (b"lines=0-1", None),
        (b"bytes=" + b"9" * 5000 + b"-", None),
    ],
)
def test_a_range_is_a_part_or_the_whole(asked, expected):
    assert portion(asked, 10) == expected


def test_a_part_of_an_older_file_is_not_continued():
    assert still_valid({}, b'"a"', b"then")
    assert still_valid({b"if-range": b'"a"'}, b'"a"', b"then")
    assert not still_valid({b"if-range": b'"b"'}, b'"a"', b"then")
