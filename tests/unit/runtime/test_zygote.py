import json
import socket

import pytest

from tiffin.local import zygotes
from tiffin.runtime import zygote
from tiffin.runtime.zygote import Order, is_own


def test_an_order_is_read_as_it_was_sent() -> None:
    said = {"file": "/o/r1.json", "log": "/l", "directory": "", "environment": {"A": "1"}, "threads": 2}
    assert Order.read(json.dumps(said).encode()) == Order("/o/r1.json", "/l", "", {"A": "1"}, 2)
    assert Order.read(b'{"file": "/a", "log": "/b"}') == Order("/a", "/b")


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"nonsense",
        b"[]",
        b"{}",
        b"7",
        b"null",
        b'{"file": "/a"}',
        b'{"file": 1, "log": "/b"}',
        b'{"file": "/a", "log": "/b", "environment": []}',
        b'{"file": "/a", "log": "/b", "threads": "many"}',
        b'{"file": "/a", "log": "/b", "threads": []}',
        b"\xff\xfe",
    ],
)
def test_what_is_no_order_is_refused(line: bytes) -> None:
    with pytest.raises((ValueError, TypeError)):
        Order.read(line)


def test_a_process_of_this_user_is_ones_own() -> None:
    here, there = socket.socketpair()
    with here, there:
        assert is_own(here)


def test_both_sides_name_the_same_variables() -> None:
    assert zygotes.QUIET == zygote.QUIET
