"""Where answers differ on purpose: ``REASONS[service, label of the request]``; the guide of services lists them.

``LINES`` are parts of ``/schema.json`` that differ: a pattern, and what stands for it in both.
"""

from __future__ import annotations

_UNREADABLE = "what cannot be read is a 400, not a 500 and not ignored"
_TEXT = "a part of a form for a text stays the text it is"
_NAN = "JSON has no NaN and no infinity: null"
_DEEP = "JSON deeper than 32 levels is refused, with a text of ours"
_EMPTY = "an empty body for a whole-body text is the empty text"
_NOT_NUMBERS = "arrays and frames are of numbers, texts and booleans: no objects, no null"
_SLASH = "a path with a slash more, or less, at its end is another path"
_RANGE = "a part of a file is given where Range asks for it"
_TASK = "what a task cannot take is refused when it is submitted"
_HEALTH = "health is at the root, too, where every replica has it"
_MOUNT = "below the path of a mounted application, the application answers"
_ALIVE = "the text of a service that is not alive"
_PAGE = "the page is our own, at the root"

REASONS: dict[tuple[str, str], str] = {
    ("plain", "/text application/x-www-form-urlencoded b's=1'"): _TEXT,
    ("plain", "/text application/x-www-form-urlencoded b's=null'"): _TEXT,
    ("plain", "form without boundary"): _UNREADABLE,
    ("plain", "form that breaks off"): _UNREADABLE,
    ("plain", "gzip"): "bodies may be compressed",
    ("plain", "/add/ b'{\"a\": 1}'"): _SLASH,
    ("plain", "/floats b'{\"x\": NaN}'"): _NAN,
    ("plain", "/floats b'{\"x\": Infinity}'"): _NAN,
    ("plain", "/floats b'{\"x\": 1e400}'"): _NAN,
    ("plain", "/not_a_number b'{}'"): _NAN,
    ("plain", "deep"): _DEEP,
    ("plain", "deeper than any"): _DEEP,
    ("plain", "/root_text text/plain b''"): _EMPTY,
    ("plain", "/root_text application/json b''"): _EMPTY,
    ("plain", "/root_text untyped b''"): _EMPTY,
    ("plain", "/root_array b''"): _NOT_NUMBERS,
    ("plain", "/root_array b'{\"x\": [1]}'"): _NOT_NUMBERS,
    ("plain", "/root_int b'x'"): _UNREADABLE,
    ("plain", "/spec_out b'{}'"): "output_spec takes what fits the model, not only an instance of it",
    ("plain", "/array b'{\"x\": null}'"): _NOT_NUMBERS,
    ("plain", "/root_file form (('f', 'a.txt', None, b'abc'),)"): "a whole-body file may be a part of a form",
    (
        "plain",
        "/both form (('f', 'a.txt', None, b'abc'), ('n', None, None, b'4'), ('note', None, None, b'12'))",
    ): _TEXT,
    ("plain", "a range of a file"): _RANGE,
    ("plain", "a range outside"): _RANGE,
    ("plain", '/crunch/submit b\'{"n": "x"}\''): _TASK,
    ("plain", "submit broken JSON"): _TASK,
    ("around", "/v1/inner_error b'{}'"): "an error of a dependency is not wrapped a second time",
    ("around", "GET /livez"): _HEALTH,
    ("around", "GET /readyz"): _HEALTH,
    ("around", "GET /healthz"): _HEALTH,
    ("around", "GET /v1"): _SLASH,
    ("around", "GET /v1/"): _PAGE,
    ("heavy", "/frame b'{\"df\": 3}'"): "the text of a 400",
    ("heavy", "/frame b'{\"df\": null}'"): _NOT_NUMBERS,
    ("heavy", "/size b'{\"picture\": null}'"): _UNREADABLE,
    ("heavy", "GET /api/none"): _MOUNT,
    ("heavy", "GET /api"): _MOUNT,
    ("heavy", "/mean b'{\"x\": []}'"): _NAN,
    ("limits", "GET /livez"): _ALIVE,
    ("limits", "GET /healthz"): _ALIVE,
}

LINES: tuple[tuple[bytes, bytes], ...] = (
    # A stream's type is that of its items, also where ContentType is noted on it.
    (rb'\{"items":(\{"type":"string"\}),"type":"array"(,"is_stream":true)', rb'{"type":"string"\2'),
    # Mounted applications are listed, not each of their routes.
    (rb',"[^"]+":\{"mounted":true\}', b""),
)
