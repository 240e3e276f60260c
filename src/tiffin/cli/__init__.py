"""The ``tiffin`` command: one module per command, imported when it is asked for.

``table.COMMANDS`` names them. A command is a function with annotated parameters (typer's style), whose
docstring is its help. Data goes to stdout, everything else to stderr (``output``); a TiffinError that leaves
a command is printed as ``error:`` and ``hint:``, and becomes the exit code: 0 done, 1 failed, 2 wrong
usage, 3 could not start.
"""

from __future__ import annotations

from tiffin.cli.frame import kubectl, main

__all__ = ["kubectl", "main"]
