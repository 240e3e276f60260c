"""Tiffin itself, with its defaults: one replica, no gateway."""

from __future__ import annotations

import sys
from pathlib import Path

NAME = "tiffin"
DESCRIPTION = "tiffin serve, defaults"


def command(model: Path, port: int) -> list[str]:
    """The command that serves ``model`` on 127.0.0.1:``port`` under /v2/models/{stem of the file}."""
    return [sys.executable, "-m", "tiffin", "serve", str(model), "--name", model.stem, "--port", str(port)]
