"""The page at ``/``: one self-contained document, whose scripts and styles are ours and stand in it.

It asks nobody but the replica that gave it: its content security policy lets it do nothing else. So it works
behind any prefix, without a network, and on a phone.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import html
from importlib import resources

import msgspec

from tiffin.protocol.reply import Reply
from tiffin.runtime.page.description import PageDescription

_SCRIPTS = ("elements.js", "fields.js", "requests.js", "answers.js", "page.js")
_HTML = b"text/html; charset=utf-8"


def page(description: PageDescription) -> Reply:
    """The page as an answer, with its policy."""
    script, style, document = _parts()
    # In a script element only "</" and "<!--" could end it; JSON may write "<" otherwise.
    data = msgspec.json.encode(description).decode().replace("<", "\\u003c")
    for name, text in (
        ("title", html.escape(description.name)),
        ("style", style),
        ("description", data),
        ("script", script),
    ):
        document = document.replace("{{" + name + "}}", text, 1)
    return Reply(200, document.encode(), _HTML, _headers())


@functools.cache
def _parts() -> tuple[str, str, str]:
    """Script, style and document."""
    here = resources.files(__name__)
    script = "\n".join((here / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    return (
        script,
        (here / "page.css").read_text(encoding="utf-8"),
        (here / "page.html").read_text(encoding="utf-8"),
    )


@functools.cache
def _headers() -> tuple[tuple[bytes, bytes], ...]:
    script, style, _ = _parts()
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; connect-src 'self'; "
        "img-src 'self' data: blob:; media-src blob:; form-action 'none'; base-uri 'none'; frame-ancestors 'self'"
    )
    return (
        (b"content-security-policy", policy.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"cache-control", b"no-cache"),
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
