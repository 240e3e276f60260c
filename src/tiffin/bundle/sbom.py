"""The bill of materials of a bundle: CycloneDX 1.6 in JSON, the same bytes for the same bundle. Pure.

It has no time and no serial number, and names neither the bundle's tag nor its digest: those come later.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from tiffin.bundle.manifest import PinnedModel
from tiffin.bundle.requirements import Pinned

_ALGORITHMS = {"sha256": "SHA-256", "sha384": "SHA-384", "sha512": "SHA-512", "md5": "MD5", "sha1": "SHA-1"}


def document(
    *, name: str, builder: str, python: str, packages: Sequence[Pinned], models: Sequence[PinnedModel]
) -> bytes:
    """The document as text.

    Args:
        name: of what is served.
        builder: ``tiffin/0.1.0``.
        python: ``3.11``.
        packages: what the environment is locked to, or pinned to by hand.
        models: what the bundle needs from the model store.
    """
    tool, _, version = builder.partition("/")
    components = [_package(package) for package in packages] + [_model(model) for model in models]
    components.sort(key=lambda component: str(component["bom-ref"]))
    found = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {"type": "application", "bom-ref": "bundle", "name": name},
            "tools": {"components": [{"type": "application", "name": tool, "version": version}]},
            "properties": [{"name": "tiffin:python", "value": python}],
        },
        "components": components,
        "dependencies": [
            {"ref": "bundle", "dependsOn": [component["bom-ref"] for component in components]},
            *({"ref": component["bom-ref"]} for component in components),
        ],
    }
    return json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"


def _package(package: Pinned) -> dict[str, Any]:
    name = re.sub(r"[-_.]+", "-", package.name).lower()
    reference = f"pkg:pypi/{quote(name)}@{quote(package.version, safe='.!-_')}"
    found: dict[str, Any] = {
        "type": "library",
        "bom-ref": reference,
        "name": name,
        "version": package.version,
        "purl": reference,
    }
    # Several hashes are those of several files for one version: of these none is the component's own.
    known = [hash.partition(":") for hash in package.hashes]
    if len(known) == 1 and known[0][0] in _ALGORITHMS:
        found["hashes"] = [{"alg": _ALGORITHMS[known[0][0]], "content": known[0][2]}]
    elif known:
        found["properties"] = [{"name": "tiffin:file-hash", "value": hash} for hash in sorted(package.hashes)]
    return found


def _model(model: PinnedModel) -> dict[str, Any]:
    name, _, version = model.tag.replace("@", ":").rpartition(":")
    found: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": f"model:{model.tag}",
        "name": name or model.tag,
    }
    if name:
        found["version"] = version
    if len(model.digest) == 64:
        found["hashes"] = [{"alg": "SHA-256", "content": model.digest}]
    if model.source:
        found["properties"] = [{"name": "tiffin:source", "value": model.source}]
    return found
