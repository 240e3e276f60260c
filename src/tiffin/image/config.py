"""The record of an image: how it is started, by whom, with what around it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from tiffin.bundle import Bundle
from tiffin.bundle.manifest import Provenance
from tiffin.image import places
from tiffin.image.base import Base
from tiffin.image.contents import Start
from tiffin.image.layers import Layer
from tiffin.kits.names import snake_case
from tiffin.oci.records import Platform

_SECOND = 1_000_000_000
"""Docker counts nanoseconds."""

ENTRY = [places.PYTHON, "-m", "tiffin.image.entry"]
_OCI = "org.opencontainers.image"
_OWN = "dev.tiffin"


def record(
    bundle: Bundle,
    base: Base,
    layers: Sequence[Layer],
    *,
    platform: Platform,
    python: str,
    start: Start,
    version: str,
    mtime: int = 0,
) -> dict[str, Any]:
    """The configuration blob of an image: image-spec's, with Docker's health check, which others ignore."""
    created = datetime.fromtimestamp(mtime, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    config: dict[str, Any] = {
        "User": str(places.USER),
        "ExposedPorts": {f"{places.PORT}/tcp": {}},
        "Env": [f"{name}={value}" for name, value in variables(bundle, base).items()],
        "Entrypoint": ENTRY,
        "WorkingDir": start.directory,
        "Labels": labels(bundle, base, version=version, created=created),
        "StopSignal": "SIGTERM",
        "Healthcheck": {
            "Test": ["CMD", *health(python, start)],
            "Interval": 10 * _SECOND,
            "Timeout": 5 * _SECOND,
            "StartPeriod": 60 * _SECOND,
            "Retries": 3,
        },
    }
    return {
        "created": created,
        "architecture": platform.architecture,
        "os": platform.os,
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [*base.diff_ids, *(layer.diff_id for layer in layers)]},
        "history": [
            *base.history,
            *({"created": created, "created_by": f"tiffin image: {layer.title}"} for layer in layers),
        ],
    }


def health(python: str, start: Start) -> list[str]:
    """The command that says whether the server is ready; starts in tens of milliseconds, as it imports little."""
    asked = ["--connect"] if start.kind == "program" else []
    return [places.PYTHON, "-I", "-S", f"/{places.site(python)}/tiffin/image/health.py", *asked]


def variables(bundle: Bundle, base: Base) -> dict[str, str]:
    """Variables of the base, Tiffin's and the author's, each above those before it."""
    found = base.variables
    path = found.get("PATH") or "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    found |= {
        "PATH": f"/{places.PREFIX}/bin:{path}",
        "LANG": found.get("LANG", "C.UTF-8"),
        "HOME": f"/{places.HOME}",
        "USER": "tiffin",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "TIFFIN_HOME": f"/{places.HOME}",
        "BENTO_PATH": f"/{places.BUNDLE}",
        "BENTOML_HOME": f"/{places.HOME}/bentoml",
        "BENTOML_CONTAINERIZED": "true",
    }
    return found | bundle.manifest.environment


def labels(bundle: Bundle, base: Base, *, version: str, created: str) -> dict[str, str]:
    """The author's labels, what OCI names, and what was made of what; no tag, as a bundle may have many."""
    provenance = bundle.manifest.provenance
    origin = provenance if isinstance(provenance, Provenance) else Provenance()
    description = bundle.manifest.description
    found = {
        f"{_OCI}.title": snake_case(bundle.target.rpartition(":")[2], "bundle"),
        f"{_OCI}.created": created,
        f"{_OCI}.revision": origin.commit,
        f"{_OCI}.source": origin.repository,
        f"{_OCI}.description": "" if description is msgspec.UNSET else str(description).partition("\n")[0],
        f"{_OCI}.base.name": base.origin,
        f"{_OCI}.base.digest": base.digest,
        f"{_OWN}.bundle": f"sha256:{bundle.digest}",
        f"{_OWN}.kind": bundle.kind,
        f"{_OWN}.target": bundle.target,
        f"{_OWN}.version": version,
    }
    return {key: value for key, value in found.items() if value} | bundle.manifest.labels
