"""Where things are in an image that Tiffin makes."""

from __future__ import annotations

PREFIX = "opt/tiffin"
"""The virtual environment, without a leading slash as members of layers have it."""

HOME = "home/tiffin"
BUNDLE = f"{HOME}/bundle"
START = f"{HOME}/start.json"
PYTHON = f"/{PREFIX}/bin/python"
USER = 1034
"""That of BentoML's images, so that volumes which were made for those fit."""

GROUP = 0
"""Any user that a platform chooses is in root's group, and may write where that may (OpenShift's rule)."""

PORT = 3000


def site(python: str) -> str:
    """The directory of installed packages."""
    return f"{PREFIX}/lib/python{python}/site-packages"
