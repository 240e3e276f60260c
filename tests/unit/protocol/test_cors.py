import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.protocol.cors import Cors, is_preflight
from tiffin.protocol.head import Head
from tiffin.service.settings import CorsSettings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from starlette.applications import Starlette
    from starlette.middleware.cors import CORSMiddleware


def head(method="POST", **headers):
    lines = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return Head(method, "/add", b"", lines, 0, True)


ASKED = {"origin": "http://a", "access_control_request_method": "POST"}


def test_an_allowed_origin_is_named():
    cors = Cors(CorsSettings(origins=("http://a", "http://b")))
    assert dict(cors.lines(head(origin="http://a")))[b"access-control-allow-origin"] == b"http://a"
    assert b"access-control-allow-origin" not in dict(cors.lines(head(origin="http://c")))


def test_everybody_is_a_star_unless_credentials_are_allowed():
    assert dict(Cors(CorsSettings(origins=("*",))).lines(head(origin="http://a"))) == {
        b"access-control-allow-origin": b"*",
        b"vary": b"Origin",
    }
    named = dict(Cors(CorsSettings(origins=("*",), credentials=True)).lines(head(origin="http://a")))
    assert named[b"access-control-allow-origin"] == b"http://a"
    assert named[b"access-control-allow-credentials"] == b"true"


def test_a_pattern_allows_whole_origins_only():
    cors = Cors(CorsSettings(origin_pattern=r"https://.*\.example"))
    assert cors.allows("https://a.example")
    assert not cors.allows("https://a.example.evil")


@pytest.mark.parametrize(
    ("settings", "asked", "status", "text"),
    [
        (CorsSettings(origins=("*",), methods=("*",)), ASKED, 200, b"OK"),
        (CorsSettings(origins=("*",)), ASKED, 400, b"Disallowed CORS method"),
        (CorsSettings(origins=("http://b",), methods=("POST",)), ASKED, 400, b"Disallowed CORS origin"),
        (
            CorsSettings(origins=("*",), methods=("POST",), headers=("X-A",)),
            {**ASKED, "access_control_request_headers": "x-a, x-b"},
            400,
            b"Disallowed CORS headers",
        ),
    ],
)
def test_a_browser_that_asks_first_is_told(settings, asked, status, text):
    asked_head = head("OPTIONS", **asked)
    assert is_preflight(asked_head)
    reply = Cors(settings).preflight(asked_head)
    assert (reply.status, reply.body) == (status, text)


ORIGINS = st.sampled_from(["http://a", "http://b", "https://x.example", "null"])


@given(
    origins=st.lists(st.sampled_from(["*", "http://a", "http://b"]), max_size=2),
    pattern=st.sampled_from(["", r"https://.*\.example"]),
    methods=st.sampled_from([("GET",), ("POST", "GET"), ("*",)]),
    headers=st.sampled_from([(), ("X-One",), ("*",)]),
    credentials=st.booleans(),
    origin=ORIGINS,
    asked=st.sampled_from([None, "x-one", "X-Two, content-type"]),
)
def test_answers_are_those_of_starlette(origins, pattern, methods, headers, credentials, origin, asked):
    """The status, and who and what is allowed, for the same options."""
    theirs = CORSMiddleware(
        Starlette(),
        allow_origins=origins,
        allow_origin_regex=pattern or None,
        allow_methods=methods,
        allow_headers=headers,
        allow_credentials=credentials,
    )
    lines = {"origin": origin, "access-control-request-method": "POST"}
    if asked is not None:
        lines["access-control-request-headers"] = asked
    expected = theirs.preflight_response(request_headers=lines)
    settings = CorsSettings(
        origins=tuple(origins), origin_pattern=pattern, methods=methods, headers=headers, credentials=credentials
    )
    found = Cors(settings).preflight(head("OPTIONS", **{k.replace("-", "_"): v for k, v in lines.items()}))
    assert found.status == expected.status_code
    ours = {name.decode(): value.decode() for name, value in found.headers}
    for name in ("origin", "methods", "credentials"):
        key = f"access-control-allow-{name}"
        theirs_words = {w.strip() for w in expected.headers.get(key, "").split(",")} - {"QUERY"}  # newer than ours
        assert {w.strip() for w in ours.get(key, "").split(",")} == theirs_words
