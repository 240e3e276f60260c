"""Errors in the style of the Open Inference Protocol V2; without numpy, which those who answer may not have."""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from tiffin.errors import CallError, DecodeError, TiffinError
from tiffin.protocol.reply import Reply

GENERAL = "The model could not answer; see the server's log."


def error(problem: TiffinError) -> Reply:
    """``{"error": ...}`` with the status of the error; what is not the caller's to fix stays general."""
    text = str(problem) if isinstance(problem, CallError) else GENERAL
    return error_reply(problem.status, text)


def error_reply(status: int, text: str) -> Reply:
    """An error body of the protocol."""
    return Reply(status, orjson.dumps({"error": text}))


def unexpected_output(name: str, model: str, known: Iterable[str], at: str) -> DecodeError:
    """For an output that is asked for and not there, in KServe's words."""
    return DecodeError(
        f"Unexpected inference output {name[:64]!r} for model {model!r}; it has {', '.join(known)}", at=at
    )
