import asyncio

import pytest

from tiffin.protocol.head import Head
from tiffin.service.context import Context, Cookie, Headers, Request, get_current_service, set_current_service


def head(**headers: bytes) -> Head:
    named = {name.replace("_", "-").encode(): value for name, value in headers.items()}
    return Head("POST", "/p", b"a=1&b=&a=2", named, 2, True, False)


def test_headers_compare_without_case_and_keep_their_order():
    headers = Headers({"X-A": "1"})
    headers.append("x-a", "2")
    headers["X-B"] = 3
    assert headers["x-A"] == "1"
    assert headers.getlist("x-a") == ["1", "2"]
    assert headers.lines() == [("x-a", "1"), ("x-a", "2"), ("x-b", "3")]
    headers["x-a"] = "9"
    assert headers.lines() == [("x-a", "9"), ("x-b", "3")]
    del headers["X-B"]
    assert dict(headers) == {"x-a": "9"}
    assert headers.get("none") is None
    assert len(headers) == 1


def test_a_request_shows_what_came():
    request = Request(head(cookie=b"k=v; l=w", host=b"here:1"), b'{"a": 1}')
    assert request.method == "POST"
    assert request.url.geturl() == "http://here:1/p?a=1&b=&a=2"
    assert request.url.path == "/p"
    assert request.query_params == {"a": "2", "b": ""}
    assert request.cookies == {"k": "v", "l": "w"}
    assert request.metadata is request.headers
    assert asyncio.run(request.json()) == {"a": 1}
    assert asyncio.run(request.body()) == b'{"a": 1}'


@pytest.mark.parametrize(
    ("cookie", "line"),
    [
        (Cookie("k", "v"), "k=v; Path=/; SameSite=lax"),
        (Cookie("k", "v", max_age=5, httponly=True, secure=True, samesite="strict"),
         "k=v; HttpOnly; Max-Age=5; Path=/; SameSite=strict; Secure"),
        (Cookie("k", "v", domain="x.y", samesite=None), "k=v; Domain=x.y; Path=/"),
    ],
)  # fmt: skip
def test_a_cookie_is_one_line(cookie, line):
    assert cookie.line() == line


@pytest.mark.parametrize("name", ["request", "temp_dir"])
def test_outside_of_a_call_there_is_no_request(name):
    with pytest.raises(LookupError):
        getattr(Context({}), name)


def test_the_current_service_is_the_one_that_was_set():
    assert get_current_service() is None
    set_current_service(5)
    try:
        assert get_current_service() == 5
    finally:
        set_current_service(None)
