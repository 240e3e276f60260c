"""The image that Kubernetes runs: Tiffin alone, with what loads saved models and fetches them.

One image is the operator, the activator, the replicas of saved models and what fetches artefacts, so that a node
keeps one set of layers for all of them. It is made as any image of a bundle; this bundle has no sources.
"""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path

import tiffin
from tiffin.bundle import Bundle
from tiffin.bundle.manifest import SOURCE, Manifest
from tiffin.image import own

EXTRAS = (
    "sklearn", "skops", "xgboost", "lightgbm", "onnx", "s3", "gcs", "http", "huggingface", "grpc", "kubernetes",
    "oci", "sign",
)  # fmt: skip
"""What its replicas load, fetch and speak, and what the operator needs."""

NAME = f"tiffin/runtime:{tiffin.__version__}"
_NAMED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_EXTRA = re.compile(r"""extra\s*==\s*['"]([^'"]+)['"]""")


def bundle(place: Path, *, python: str = "") -> Bundle:
    """A bundle of nothing but Tiffin; ``place`` is an empty directory for its sources.

    Its packages have the versions that are installed here, where they are.
    """
    (place / SOURCE).mkdir(parents=True, exist_ok=True)
    manifest = Manifest(
        kind="program",
        target="python -m tiffin",
        python=python or f"{sys.version_info.major}.{sys.version_info.minor}",
        requirements="\n".join([f"{own.NAME}[{','.join(EXTRAS)}]", *pinned(EXTRAS)]) + "\n",
    )
    return Bundle(digest=manifest.digest, manifest=manifest, path=place, tags=(NAME,))


def pinned(extras: tuple[str, ...]) -> list[str]:
    """``name==version`` of what the extras ask for directly and is installed here, sorted."""
    here = own.installed()
    versions = {_normal(name): version for name, version in here.items()}
    found = set()
    for line in metadata.requires(own.NAME) or ():
        if (extra := _EXTRA.search(line)) is None or extra[1] not in extras:
            continue
        if (named := _NAMED.match(line)) and _normal(named[0]) in versions and _normal(named[0]) != own.NAME:
            found.add(f"{named[0]}=={versions[_normal(named[0])]}")
    return sorted(found)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
