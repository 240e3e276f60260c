"""Where the client looks for a controller, and how it reads a stream."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.client import sse
from tiffin.client.places import Place, place
from tiffin.errors import PlatformError


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({"TIFFIN_HOME": "/h"}, Place(unix=Path("/h/api.sock"))),
        ({"TIFFIN_API": "unix:/a/b.sock"}, Place(unix=Path("/a/b.sock"))),
        (
            {"TIFFIN_API": "http://127.0.0.1:8090", "TIFFIN_TOKEN": "t"},
            Place(host="127.0.0.1", port=8090, token="t"),
        ),
        ({"TIFFIN_API": "http://[::1]:81/"}, Place(host="::1", port=81)),
    ],
)
def test_the_environment_says_where_the_controller_is(environment: dict[str, str], found: Place) -> None:
    assert place(environment) == found


@pytest.mark.parametrize(
    "text", ["8090", "https://x:1", "http://", "http://a:b", "unix:", "ftp://x", "http://x/y", "http://u@x"]
)
def test_another_address_is_an_error_that_shows_it(text: str) -> None:
    with pytest.raises(PlatformError, match="expected TIFFIN_API to be"):
        place({"TIFFIN_API": text})


def test_a_place_is_shown_without_its_token() -> None:
    shown = Place(host="::1", port=1, token="secret")
    assert str(shown) == "http://[::1]:1"
    assert "secret" not in repr(shown)


def test_events_are_read_from_lines_and_comments_are_not() -> None:
    lines = b": hello\n\nevent: ADDED\nid: 7\ndata: {\ndata: }\n\ndata:x\n\nevent: cut off\ndata: y\n"
    assert list(sse.messages(lines.splitlines(keepends=True))) == [
        sse.Message("ADDED", "{\n}", "7"),
        sse.Message("message", "x", ""),
    ]


@given(st.lists(st.binary(max_size=20)))
def test_no_line_at_all_breaks_the_reader(lines: list[bytes]) -> None:
    for message in sse.messages(lines):
        assert message.data is not None
