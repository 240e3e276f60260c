"""Who may have a name: of deployments in one namespace, and of the objects they come to. Pure.

A deployment is known by its namespace and name, whatever kind it was written as, on one machine as on a cluster:
its objects, addresses and commands go by that. Of several with one name the one that was there first has it.
Kubernetes counts that in whole seconds: within one, it is the one that was looked after first.
"""

from __future__ import annotations

from collections.abc import Iterable

from tiffin.errors import SpecError
from tiffin.kube.manifests import Manifest

REASON = "NameTaken"


class NameTaken(SpecError):
    """Something else has the name already."""


def holder(document: Manifest, others: Iterable[Manifest]) -> Manifest | None:
    """Which of ``others``, of the same namespace and name, has the name; ``None``: ``document`` has it.

    Args:
        document: What somebody wrote, as the API server has it.
        others: Those of other kinds; what is being deleted has its name until it is gone.
    """
    first = min((document, *others), key=_age)
    return None if first is document else first


def _age(document: Manifest) -> tuple[str, bool, str]:
    # Times are RFC 3339 in UTC, whose order is that of their text; uids make the rest a fixed order.
    metadata = document["metadata"]
    return str(metadata.get("creationTimestamp") or "9"), not _has_it(document), str(metadata.get("uid") or "")


def _has_it(document: Manifest) -> bool:
    """Whether a status was written for it that says something else than that its name is taken."""
    status = document.get("status") or {}
    conditions = status.get("conditions") or ()
    return bool(status) and all(one.get("reason") != REASON for one in conditions if isinstance(one, dict))


def taken_by(first: Manifest) -> NameTaken:
    """What to say to whoever wrote a second one."""
    metadata = first["metadata"]
    return NameTaken(
        f"expected one deployment of a name in a namespace, found that {first['kind']} {metadata['name']} has it",
        hint="give one of the two another name, or put it into another namespace; nothing was changed",
    )


def occupied(manifest: Manifest) -> NameTaken:
    """What to say where an object that belongs to nobody, or to somebody else, has the name of ``manifest``."""
    metadata = manifest["metadata"]
    return NameTaken(
        f"expected to make {manifest['kind']} {metadata['name']}, found one that belongs to something else",
        hint="delete it if nobody needs it, or give this deployment another name; nothing of it was changed",
    )
