"""Vectors of requests and expected answers, and how an answer is compared.

A vector is ``{"name", "request": {"method", "path", "headers"?, "json" | "text" | "base64"?},
"expect": {"status", "headers"?, "json" | "text" | "base64"?}}``. Expected headers, and objects in expected JSON,
name what must be there; more may be. ``{"$matches": "regex"}`` stands for a text the expression is found in.

The server serves a scikit-learn classifier of the iris data under the name ``iris``: for the first flower of
the data set ([5.1, 3.5, 1.4, 0.2]) it answers 0, for the 101st ([6.3, 3.3, 6.0, 2.5]) it answers 2.
"""

from __future__ import annotations

import base64
import http.client
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

VECTORS = Path(__file__).parent / "vectors"


def vectors(protocol: str) -> list[dict[str, Any]]:
    """The vectors of ``v2``, ``v1`` or ``seldon``."""
    found: list[dict[str, Any]] = json.loads((VECTORS / f"{protocol}.json").read_text())
    return found


def protocols() -> list[str]:
    """Those there are vectors for."""
    return sorted(file.stem for file in VECTORS.glob("*.json"))


def problems(url: str, vector: dict[str, Any]) -> list[str]:
    """Ask the server at ``url``; what is wrong with its answer, empty when nothing is."""
    parts = urlsplit(url)
    request, expect = vector["request"], vector["expect"]
    connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port, timeout=10)
    try:
        path = parts.path.rstrip("/") + request["path"]
        connection.request(request["method"], path, _body(request), request.get("headers", {}))
        response = connection.getresponse()
        status, headers, body = response.status, response.headers, response.read()
    finally:
        connection.close()
    found = []
    if status != expect["status"]:
        found.append(f"status: expected {expect['status']}, found {status}")
    for name, value in expect.get("headers", {}).items():
        if headers.get(name) != value:
            found.append(f"header {name}: expected {value!r}, found {headers.get(name)!r}")
    if "text" in expect and body.decode() != expect["text"]:
        found.append(f"body: expected {expect['text']!r}, found {body!r}")
    if "base64" in expect and body != base64.b64decode(expect["base64"]):
        found.append(f"body: expected {base64.b64decode(expect['base64'])!r}, found {body!r}")
    if "json" in expect:
        try:
            found += differences(expect["json"], json.loads(body), "body")
        except ValueError:
            found.append(f"body: expected JSON, found {body[:200]!r}")
    return found


def _body(request: dict[str, Any]) -> bytes | None:
    if "json" in request:
        return json.dumps(request["json"]).encode()
    if "base64" in request:
        return base64.b64decode(request["base64"])
    return request["text"].encode() if "text" in request else None


def differences(expected: Any, found: Any, at: str) -> list[str]:
    """Where ``found`` is not what was expected."""
    if isinstance(expected, dict) and set(expected) == {"$matches"}:
        if isinstance(found, str) and re.search(expected["$matches"], found):
            return []
        return [f"{at}: expected a text with {expected['$matches']!r}, found {found!r}"]
    if isinstance(expected, dict) and isinstance(found, dict):
        wrong = [f"{at}: expected {name!r}, found none" for name in expected if name not in found]
        for name in expected.keys() & found.keys():
            wrong += differences(expected[name], found[name], f"{at}.{name}")
        return wrong
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        return [
            line
            for index, (one, other) in enumerate(zip(expected, found, strict=True))
            for line in differences(one, other, f"{at}[{index}]")
        ]
    same = expected == found and isinstance(expected, bool) == isinstance(found, bool)
    return [] if same else [f"{at}: expected {expected!r}, found {found!r}"]
