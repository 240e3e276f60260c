"""What is observed of a deployment, in the words of the system its file was written for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from tiffin.dialects import kserve, kserve_defaults, kserve_status, seldon_status
from tiffin.plan.state import DeploymentStatus
from tiffin.spec import Deployment

RENDERERS: dict[str, Callable[[Deployment, DeploymentStatus], dict[str, Any]]] = {
    "kserve": kserve_status.render,
    "seldon": seldon_status.render,
}
"""By ``Deployment.dialect``; a dialect without words of its own has those of ``DeploymentStatus``."""


def native_status(deployment: Deployment, status: DeploymentStatus) -> dict[str, Any]:
    """The ``status`` as the deployment's own system would show it, as plain JSON values."""
    render = RENDERERS.get(deployment.dialect)
    if render is None:
        return {_camel(key): value for key, value in msgspec.to_builtins(status).items()}
    return render(deployment, status)


def native_document(document: Mapping[str, Any]) -> dict[str, Any]:
    """A document as the system it is for would keep it and show it again, with what that adds by itself."""
    if document.get("kind") == kserve.KIND and document.get("apiVersion") in kserve.API_VERSIONS:
        return kserve_defaults.defaulted(document)
    return dict(document)


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)
