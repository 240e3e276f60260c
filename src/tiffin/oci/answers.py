"""What registries say when they refuse, and what may be shown of addresses and errors. Pure."""

from __future__ import annotations

import re

import msgspec


class _Problem(msgspec.Struct):
    code: str = ""
    message: str = ""


class _Problems(msgspec.Struct):
    errors: list[_Problem] = []


def problems(body: bytes) -> tuple[set[str], str]:
    """The codes of an error answer, and its first message to be shown."""
    try:
        found = msgspec.json.decode(body[:65536], type=_Problems).errors
    except msgspec.MsgspecError:
        return set(), ""
    codes = {problem.code for problem in found}
    first = next((f"{problem.code}: {problem.message}" for problem in found if problem.message), "")
    return codes, f", {first[:200]}" if first else ""


def cause(error: BaseException) -> str:
    """The innermost reason, without addresses of objects."""
    while error.__cause__ is not None or error.__context__ is not None:
        error = error.__cause__ or error.__context__ or error
    text = getattr(error, "strerror", None) or str(error)
    return re.sub(r"<[^>]*>:? ?", "", text) or type(error).__name__


def shown(url: str) -> str:
    """An address without its query, which may hold a signature or a state."""
    return url.partition("?")[0]
