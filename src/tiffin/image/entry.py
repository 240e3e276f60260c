"""The first process of an image: what to start for the words after the image's name.

Imports the standard library only. No words, ``serve`` or options alone serve the bundle; anything else is a
command, as in BentoML's images. The command replaces this process, so that signals reach it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

PLACE = "/home/tiffin/start.json"
DEFAULT_PORT = "3000"
_SERVE = ("serve", "serve-http", "start-http-server")
_PROGRAMS = ("tiffin", "bentoml")
_PORTS = ("PORT", "BENTOML_PORT", "TIFFIN_PORT")


def port(environment: Mapping[str, str]) -> str:
    """The port to listen on: ``PORT``, else BentoML's or Tiffin's variable, else 3000."""
    return next((value for name in _PORTS if (value := environment.get(name, "").strip())), DEFAULT_PORT)


def command(start: Mapping[str, Any], words: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """The command line to run. Pure.

    Args:
        start: the record of the image: ``kind``, ``target``, ``arguments`` and ``directory``.
        words: what was given after the image's name.
        environment: the variables of the container.
    """
    rest = list(words)
    if rest and rest[0] in _PROGRAMS:
        rest.pop(0)
        if not rest or rest[0] not in _SERVE:
            return [sys.executable, "-m", "tiffin", *rest]
    if rest and rest[0] in _SERVE:
        rest.pop(0)
        # `serve .` and `serve $BENTO_PATH` mean what the image has, which is named below.
        if rest and rest[0] in (".", start["directory"], environment.get("BENTO_PATH")):
            rest.pop(0)
    elif rest and not rest[0].startswith("-"):
        return rest
    if start["kind"] == "program":
        return [*start["target"], *(rest or start["arguments"])]
    target = [] if rest and not rest[0].startswith("-") else [*start["target"]]
    return [
        *(sys.executable, "-m", "tiffin", "serve", *target),
        *("--working-dir", start["directory"], "--host", "0.0.0.0", "--port", port(environment), *rest),
    ]


def main() -> None:
    """Become the command."""
    with open(PLACE, encoding="utf-8") as file:
        start = json.load(file)
    words = command(start, sys.argv[1:], os.environ)
    # A program reads PORT itself; the others are told.
    os.environ.setdefault("PORT", port(os.environ))
    try:
        os.execvp(words[0], words)
    except OSError as error:
        sys.exit(f"error: cannot start {words[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
