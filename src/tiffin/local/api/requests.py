"""What a request says, checked: parameters, bodies, names."""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from tiffin.errors import DecodeError, NoSuchDeployment, TooLarge
from tiffin.kits.names import is_domain

MAX_BODY_BYTES = 8_388_608
"""A file of the largest size that is read (1 MiB) fits, even when JSON escapes every byte of it."""

LARGEST_VERSION = 2**63 - 1
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_TRUE, _FALSE = frozenset(("true", "1", "")), frozenset(("false", "0"))

Kind = TypeVar("Kind")


def key(request: web.Request) -> str:
    """``namespace/name`` of the path; what cannot be a name is not found."""
    namespace, name = request.match_info["namespace"], request.match_info["name"]
    for text in (namespace, name):
        if not _NAME.fullmatch(text):
            raise NoSuchDeployment(f"there is no deployment {name!a} in namespace {namespace!a}")
    return f"{namespace}/{name}"


def flag(request: web.Request, name: str) -> bool:
    """A query parameter that is true or false; false when absent."""
    text = request.query.get(name, "false").lower()
    if text not in _TRUE | _FALSE:
        raise DecodeError(f"expected true or false, found {text[:40]!a}", at=name)
    return text in _TRUE


def number(request: web.Request, name: str, *, most: int = LARGEST_VERSION) -> int | None:
    """A query parameter that is a whole number from 0; ``None`` when absent or empty."""
    return whole(request.query.get(name, ""), name, most=most)


def whole(text: str, name: str, *, most: int = LARGEST_VERSION) -> int | None:
    """The number that a text says."""
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and int(text) <= most):
        raise DecodeError(f"expected a whole number from 0 to {most}, found {text[:40]!a}", at=name)
    return int(text)


def version(request: web.Request) -> int | None:
    """The resource version that the caller saw: a parameter, or an ``If-Match`` header."""
    found = number(request, "resourceVersion")
    if found is None and (tag := request.headers.get("If-Match", "").strip().strip('"')) not in ("", "*"):
        return whole(tag, "If-Match")
    return found


async def body(request: web.Request) -> bytes:
    """The whole body; raises TooLarge."""
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise TooLarge(
            f"expected a body of at most {MAX_BODY_BYTES} bytes, found more",
            hint="deployment files have at most 1 MiB; models are named by their address, not sent",
        ) from None


async def decoded(request: web.Request, kind: type[Kind]) -> Kind:
    """The JSON body as a value of a type; raises what ``failures`` answers with 400."""
    return msgspec.json.decode(await body(request), type=kind)


def accepts(request: web.Request, media: str) -> bool:
    """Whether the caller asked for this media type by name."""
    return media in request.headers.get("Accept", "")


def document(data: bytes) -> str:
    """A body that is a document, as text."""
    text = data.decode("utf-8-sig")
    if not text.strip():
        raise DecodeError("expected a document, found an empty body")
    return text


def domain(text: str) -> str:
    """What host names are to end in; empty stays empty."""
    if text and not is_domain(text):
        raise DecodeError(f"expected the end of host names, found {text[:80]!a}", at="domain")
    return text


def metadata_of(value: Any) -> dict[str, Any]:
    """The ``metadata`` of a document, when it has one."""
    found = value.get("metadata") if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}
