"""The requests that both servers get, as data: ``ASKED[service]`` is a list of ``Ask``."""

from __future__ import annotations

import gzip
import io
import json
import struct
import zlib
from typing import Any, NamedTuple


class Ask(NamedTuple):
    """One request; ``chunks`` sends the body in chunks."""

    label: str
    method: str
    path: str
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    chunks: bool = False


JSON = ("content-type", "application/json")


def post(path: str, value: Any, label: str = "") -> Ask:
    """POST of JSON; of bytes or text as they are, called JSON."""
    body = (
        value
        if isinstance(value, bytes)
        else value.encode()
        if isinstance(value, str)
        else json.dumps(value).encode()
    )
    return Ask(label or f"{path} {body[:40]!r}", "POST", path, body, (JSON,))


def typed(path: str, content_type: str, body: bytes, label: str = "") -> Ask:
    """POST of bytes with a content type; an empty one sends none."""
    headers = (("content-type", content_type),) if content_type else ()
    return Ask(label or f"{path} {content_type or 'untyped'} {body[:40]!r}", "POST", path, body, headers)


def form(path: str, *parts: tuple[str, str | None, str | None, bytes], label: str = "") -> Ask:
    """POST of a multipart form; a part is (name, file name, content type, content)."""
    lines = []
    for name, file, kind, content in parts:
        named = f'; filename="{file}"' if file is not None else ""
        of_type = f"content-type: {kind}\r\n" if kind else ""
        lines.append(
            f'--b\r\ncontent-disposition: form-data; name="{name}"{named}\r\n{of_type}\r\n'.encode()
            + content
            + b"\r\n"
        )
    body = b"".join(lines) + b"--b--\r\n"
    return typed(path, "multipart/form-data; boundary=b", body, label or f"{path} form {parts}")


def picture(size: int = 3) -> bytes:
    """A PNG, grey, without needing a library for it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", size, size, 8, 0, 0, 0, 0)
    rows = b"".join(b"\0" + b"\x80" * size for _ in range(size))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def zipped(content: bytes) -> bytes:
    """gzip, always the same bytes."""
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", mtime=0) as file:
        file.write(content)
    return out.getvalue()


URLENCODED = "application/x-www-form-urlencoded"
DEEP = b'{"xs": ' + b"[" * 500 + b"]" * 500 + b"}"

PLAIN = [
    *(
        post("/add", v)
        for v in ({"a": 1}, {"a": 1, "b": 5}, {"a": "7"}, {"a": 1.0}, {"a": 1.5}, {"a": None}, {"a": True})
    ),
    *(post("/add", v) for v in ({}, {"b": 1}, {"a": 1, "zz": 2}, [], [1, 2], "null", "3", '"x"', "true", "")),
    *(
        post("/add", v)
        for v in ('{"a": 1', "{'a': 1}", '{"a": 1} x', '{"a": 1, "a": 2}', '{"a": 1,}', '\ufeff{"a": 1}')
    ),
    *(
        post("/add", v)
        for v in (f'{{"a": {10**30}}}', '{"a": 1e3}', '{"a": 1e400}', '{"a": NaN}', '{"a": -0}', '{"a": 01}')
    ),
    post("/add", b'{"a": 1, "b": "\xff"}', "not UTF-8"),
    post("/add", '{"a": 1}'.encode("utf-16"), "UTF-16"),
    post("/add", b' \r\n\t{"a": 1}\n', "white space around"),
    typed("/add", "", b'{"a": 1}'),
    typed("/add", "text/plain", b'{"a": 1}'),
    typed("/add", "application/json; charset=utf-8", b'{"a": 1}'),
    typed("/add", "APPLICATION/JSON", b'{"a": 1}'),
    typed("/add", "application/msgpack", b"\x81\xa1a\x01"),
    typed("/add", "application/vnd.bentoml+pickle", b"\x80\x05."),
    typed("/add", "nonsense", b'{"a": 1}'),
    typed("/add", "application/octet-stream", b""),
    *(typed("/add", URLENCODED, b) for b in (b"a=1&b=5", b"a=x", b"", b"a=1&a=2", b"b=1", b"a=%31", b"a=1&b=")),
    *(typed("/text", URLENCODED, b) for b in (b"s=a+b%20c", b"s=1", b"s=%22q%22", b"s=null", b"s=", b"s=%C3%A9")),
    form("/add", ("a", None, None, b"1"), ("b", None, None, b"2")),
    form("/add", ("a", None, None, b"1"), ("a", None, None, b"2")),
    form("/add", ("a", "n.txt", "text/plain", b"1")),
    form("/add"),
    typed("/add", "multipart/form-data", b"x", "form without boundary"),
    typed("/add", "multipart/form-data; boundary=b", b"--b\r\nbroken", "form that breaks off"),
    Ask("chunked", "POST", "/add", b'{"a": 1}', (JSON,), chunks=True),
    Ask("expects to be told to go on", "POST", "/add", b'{"a": 1}', (JSON, ("expect", "100-continue"))),
    Ask("gzip", "POST", "/add", zipped(b'{"a": 1}'), (JSON, ("content-encoding", "gzip"))),
    Ask("accepts gzip", "POST", "/words", b'{"n": 300}', (JSON, ("accept-encoding", "gzip"))),
    Ask("accepts XML alone", "POST", "/add", b'{"a": 1}', (JSON, ("accept", "application/xml"))),
    *(Ask(f"{m} /add", m, "/add") for m in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH")),
    *(
        Ask(f"{m} {p}", m, p)
        for m in ("GET", "HEAD", "POST")
        for p in ("/livez", "/readyz", "/healthz", "/nowhere")
    ),
    Ask("no body", "POST", "/nothing"),
    post("/add/", {"a": 1}),
    post("//add", {"a": 1}),
    post("/ADD", {"a": 1}),
    post("/%61dd", {"a": 1}),
    post("/add?a=5&b=7", {"a": 1}),
    post("/add?x=é".encode().decode("latin-1").replace("Ã©", "%C3%A9"), {"a": 1}),
    *(
        post("/floats", v)
        for v in (
            '{"x": NaN}',
            '{"x": Infinity}',
            {"x": 1},
            {"x": "1e3"},
            '{"x": 1e22}',
            {"x": 0.1},
            '{"x": 1e400}',
        )
    ),
    *(post("/truth", {"x": v}) for v in (True, 0, "yes", "off", 2, None)),
    *(
        post("/text", {"s": v})
        for v in (
            "a",
            "é\u2028",
            "",
            3,
            None,
            ["x"],
            "\ud800".encode("utf-16", "surrogatepass").decode("utf-16", "replace"),
        )
    ),
    post("/text", r'{"s": "\ud800"}', "half a surrogate"),
    *(post("/optional", v) for v in ({}, {"s": None}, {"s": "x"}, {"s": 1})),
    *(post("/either", {"x": v}) for v in (1, "1", 1.5, None, "x")),
    *(
        post(p, {})
        for p in (
            "/nothing",
            "/untyped",
            "/unicode",
            "/mapping",
            "/not_a_number",
            "/raw",
            "/typed_raw",
            "/typed_text",
        )
    ),
    *(post("/untyped", {"x": v}) for v in ("s", 1.5, [1, {"a": None}], None)),
    *(post("/listed", {"xs": v}) for v in ([1, 2], [], ["1"], ["x", 1, "y"], 1, None, {"0": 1})),
    post("/listed", DEEP, "deep"),
    post("/untyped", b'{"x": ' + b"[" * 5000 + b"]" * 5000 + b"}", "deeper than any"),
    *(
        post("/row", {"p": v})
        for v in ({"key": "é"}, {"key": "a", "n": -1}, {"n": 1}, {"key": 1}, {"key": "a", "more": 1}, None, [])
    ),
    post("/rows", {"ps": [{"key": "a"}, {"key": "b", "tags": ["x"]}]}),
    post("/rows", {"ps": [{"key": "a"}, {"n": "x"}]}),
    *(post("/root_row", v) for v in ({"key": "a"}, {"n": 1}, {"p": {"key": "a"}}, "", "[]")),
    *(
        typed("/root_text", c, b)
        for c in ("text/plain", "application/json", "")
        for b in (b"hello", b'"quoted"', b"", b"{}")
    ),
    *(post("/root_list", v) for v in (["a", "b"], [], {"xs": ["a"]}, [1], "")),
    *(post("/root_array", v) for v in ([[1, 2], [3, 4]], [1.5], 3, [[1], [2, 3]], ["a"], "", {"x": [1]})),
    *(post("/root_int", v) for v in ("3", '"3"', "x", {}, "")),
    *(post("/take_bytes", {"b": v}) for v in ("abc", "é", 1)),
    *(post("/keywords", v) for v in ({"kwargs": {"a": 1}}, {"a": 1}, {}, {"kwargs": 3})),
    *(post("/colour", {"c": v}) for v in ("red", "green")),
    *(post("/literal", v) for v in ({}, {"c": "b"}, {"c": "c"})),
    *(post("/limited", v) for v in ({}, {"n": 4}, {"n": 0}, {"n": 11})),
    *(post("/annotated", v) for v in ({"n": 2}, {"n": 0, "s": "abcd"}, {"n": 1, "s": "abc"})),
    *(post("/spec", v) for v in ({"key": "a"}, {"n": 1}, {})),
    post("/spec_out", {}),
    post("/some/where/else", {}),
    post("/moved", {}),
    *(
        post("/array", {"x": v})
        for v in ([[1, 2], [3, 4]], [1, 2.5], 5, [], [[1], [2, 3]], ["a", "b"], [True], None, [None, 1])
    ),
    *(post("/array", v) for v in ("{}", '{"x": [NaN, 1]}', '{"x": [1e400]}')),
    *(post("/shaped", {"x": v}) for v in ([1, 2, 3, 4], [[1, 2], [3, 4]], [1, 2, 3], ["a"] * 4, [0.1] * 4)),
    post("/arrays", {"n": 2}),
    post("/array_of", {"n": 3}),
    form("/length", ("f", "a.txt", "text/plain", b"abc")),
    form("/length", ("f", "é b.tar.gz", "application/gzip", b"abc")),
    form("/length", ("f", "../../etc/passwd", None, b"abc")),
    form("/length", ("f", "", None, b"abc")),
    form("/length", ("f", "none", None, b"")),
    form("/length", ("g", "a.txt", None, b"abc")),
    form("/length", ("f", "a.txt", None, b"abc"), ("f", "b.txt", None, b"abcd")),
    form("/lengths", ("fs", "a.txt", None, b"abc"), ("fs", "b.txt", None, b"abcd")),
    form("/lengths", ("fs", "a.txt", None, b"abc")),
    form("/sound", ("f", "a.wav", "audio/wav", b"abc")),
    form("/sound", ("f", "a.txt", "text/plain", b"abc")),
    typed("/root_file", "application/octet-stream", b"12345"),
    typed("/root_file", "image/png", b"12345"),
    form("/root_file", ("f", "a.txt", None, b"abc")),
    form("/both", ("f", "a.txt", None, b"abc"), ("n", None, None, b"4"), ("note", None, None, b"x y")),
    form("/both", ("f", "a.txt", None, b"abc"), ("n", None, None, b"four")),
    form("/both", ("f", "a.txt", None, b"abc"), ("n", None, None, b"4"), ("note", None, None, b"12")),
    *(post("/file", {"name": n}) for n in ("a.txt", "a.png", "a.json", "a", "é b.csv", "a.wav")),
    Ask("a range of a file", "POST", "/file", b'{"name": "a.txt"}', (JSON, ("range", "bytes=2-4"))),
    Ask("a range outside", "POST", "/file", b'{"name": "a.txt"}', (JSON, ("range", "bytes=20-"))),
    *(post(p, {"n": n}) for p in ("/words", "/objects") for n in (0, 2)),
    *(post(p, {}) for p in ("/rows_out", "/lines", "/numbers", "/broken_stream", "/crashed_stream")),
    post("/words", {"n": "x"}),
    *(
        post("/fails", {"kind": k})
        for k in ("invalid", "bad", "missing", "unprocessable", "unavailable", "internal", "teapot")
    ),
    *(post("/fails", {"kind": k}) for k in ("chosen", "denied", "forbidden", "plain", "value", "key")),
    post("/slow", {"seconds": 2.4}),
    post("/slow_async", {"seconds": 2.4}),
    Ask("context", "POST", "/told?q=1", b'{"name": "n"}', (JSON, ("x-asked", "yes"))),
    post("/told_and_failed", {}),
    post("/remembers", {}, "remembers 1"),
    post("/remembers", {}, "remembers 2"),
    post("/where", {}),
    post("/response", {}),
    post("/response_text", {}),
    *(post("/doubled", {"x": v}) for v in ([[1, 2]], [1, 2, 3], [], 1, list(range(20)))),
    *(post("/upper", {"words": v}) for v in (["a", "b"], [], "ab", None)),
    Ask("status without id", "GET", "/crunch/status"),
    Ask("status of nothing", "GET", "/crunch/status?task_id=nobody"),
    Ask("get of nothing", "GET", "/crunch/get?task_id=nobody"),
    Ask("retry of nothing", "POST", "/crunch/retry?task_id=nobody"),
    Ask("submit by GET", "GET", "/crunch/submit"),
    post("/crunch", {"n": 2}),
    post("/bad_work", {"n": 2}),
    post("/crunch/submit", {"n": "x"}),
    post("/crunch/submit", "{", "submit broken JSON"),
    Ask("schema", "GET", "/schema.json"),
    Ask("trace context", "POST", "/add", b'{"a": 1}', (JSON, ("traceparent", f"00-{'a' * 32}-{'b' * 16}-01"))),
    Ask("cross origin, not allowed", "POST", "/add", b'{"a": 1}', (JSON, ("origin", "http://other.example"))),
]

ORIGIN, OTHER = ("origin", "http://allowed.example"), ("origin", "http://other.example")
WANTED = ("access-control-request-method", "POST")

AROUND = [
    *(post(f"/v1/{p}", {}) for p in ("order", "inherited", "inner_error", "given")),
    *(post("/v1/sum", {"x": v}) for v in (1, "x")),
    post("/v1/noted", {"x": 1.5}),
    post("/v1/count", {"kind": "a"}),
    post("/order", {}),
    *(
        Ask(f"GET {p}", "GET", p)
        for p in ("/v1/livez", "/v1/readyz", "/v1/healthz", "/livez", "/readyz", "/healthz")
    ),
    *(
        Ask(f"{m} {p}", m, p)
        for m in ("GET", "POST", "PUT", "HEAD")
        for p in ("/v1/app/hello", "/app/hello", "/v1/app/no")
    ),
    *(
        Ask(f"GET {p}", "GET", p)
        for p in ("/v1/app", "/v1/app/", "/v1", "/v1/", "/v1/schema.json", "/schema.json")
    ),
    Ask("preflight", "OPTIONS", "/v1/order", b"", (ORIGIN, WANTED)),
    Ask(
        "preflight with a header",
        "OPTIONS",
        "/v1/order",
        b"",
        (ORIGIN, WANTED, ("access-control-request-headers", "x-one")),
    ),
    Ask(
        "preflight, wrong header",
        "OPTIONS",
        "/v1/order",
        b"",
        (ORIGIN, WANTED, ("access-control-request-headers", "x-two")),
    ),
    Ask("preflight, other origin", "OPTIONS", "/v1/order", b"", (OTHER, WANTED)),
    Ask("allowed origin", "POST", "/v1/order", b"{}", (JSON, ORIGIN)),
    Ask("other origin", "POST", "/v1/order", b"{}", (JSON, OTHER)),
    Ask("allowed origin, bad input", "POST", "/v1/sum", b"{}", (JSON, ORIGIN)),
    Ask("allowed origin, nowhere", "POST", "/v1/nowhere", b"{}", (JSON, ORIGIN)),
    Ask("allowed origin, mounted", "GET", "/v1/app/hello", b"", (ORIGIN,)),
]

HEAVY = [
    *(
        post("/frame", {"df": v})
        for v in ([{"a": 1, "b": "x"}], [], [{"a": 1}, {"b": 2.5}], {"a": [1, 2]}, 3, None, [1])
    ),
    *(
        post("/columns", {"df": v})
        for v in ({"a": [1], "b": [2]}, {"a": [1]}, [{"a": 1, "b": 2}], {"a": [1], "b": [2, 3]})
    ),
    *(post("/root_frame", v) for v in ([{"a": 1}], [], {"a": [1]}, "")),
    form("/size", ("picture", "a.png", "image/png", picture())),
    form("/size", ("picture", "a.bin", "application/octet-stream", picture())),
    form("/sizes", ("pictures", "a.png", "image/png", picture(2)), ("pictures", "b.png", "image/png", picture(4))),
    typed("/root_size", "image/png", picture(5), "a picture as the whole body"),
    form("/flipped", ("picture", "a.png", "image/png", picture(5))),
    post("/drawn", {"n": 2}),
    post("/size", {}),
    post("/size", {"picture": None}),
    form("/size"),
    *(
        Ask(f"GET {p}", "GET", p)
        for p in ("/api/free", "/api/free?n=3", "/api/free?n=x", "/api/word", "/api/none", "/api", "/word")
    ),
    *(Ask(f"POST {p}", "POST", p) for p in ("/api/word/2", "/api/word/x", "/api/free")),
    Ask("openapi of the mounted", "GET", "/api/openapi.json"),
    Ask("docs of the mounted", "GET", "/api/docs"),
    Ask("schema", "GET", "/schema.json"),
    *(post("/mean", {"x": v}) for v in ([1, 2], [])),
]

LIMITS = [
    *(Ask(f"GET {p}", "GET", p) for p in ("/livez", "/readyz", "/healthz")),
    post("/hold", {"seconds": 0}),
    post("/hold", {"seconds": "x"}),
    post("/hold", {"seconds": 1.3}),
]

ASKED = {"plain": PLAIN, "around": AROUND, "heavy": HEAVY, "limits": LIMITS}
