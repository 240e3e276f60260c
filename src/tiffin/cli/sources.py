"""What ``-f`` names, as the controller takes it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from tiffin.errors import SpecError
from tiffin.plan.objects import Source
from tiffin.spec import Deployment

MOST_BYTES = 1_048_576


def sources(files: Sequence[str]) -> list[Source]:
    """A source for each; raises SpecError for one that is not there, or standard input that is too long."""
    if not files:
        raise SpecError("expected a file", at="-f", hint="for example -f iris.yaml, or -f - for standard input")
    return [_stdin() if file == "-" else _path(file) for file in files]


def read(found: Sequence[Source], *, domain: str = "") -> list[Deployment]:
    """The deployments of the sources, read here."""
    from tiffin import dialects
    from tiffin.dialects import routes

    written, _ = dialects.read_all(found, domain=domain or routes.DOMAIN)
    return [deployment for deployment, _ in written]


def _path(file: str) -> Source:
    path = os.path.abspath(os.path.expanduser(file))
    if not os.path.exists(path):
        raise SpecError("expected a file or directory, found nothing", place=file)
    return Source(path=path)


def _stdin() -> Source:
    data = sys.stdin.buffer.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise SpecError(f"expected at most {MOST_BYTES} bytes, found more", place="standard input")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecError(f"expected UTF-8 text: {error.reason}", place="standard input") from None
    if not text.strip():
        raise SpecError("expected a document, found nothing", place="standard input")
    return Source(text=text, file="standard input", base=os.getcwd())
