"""Secrets that are read where an artefact is fetched, and not before: which, and how each is to be understood.

On one machine a reader looks into the secrets beside a file, and ``credentials`` of a source are their values.
On a cluster (``Resources.on_cluster``) nobody but the pod that fetches needs to see them: there ``credentials``
is the one variable ``TIFFIN_CREDENTIALS``, the JSON of a list of ``SecretUse``. The pod mounts those secrets,
and makes of them what a reader would have made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec

VARIABLE = "TIFFIN_CREDENTIALS"
DIRECTORY = "/var/run/tiffin/secrets"
"""A secret is mounted in the directory of its name below this one."""
ADDRESS = "storage"
"""The scheme of an address that is known once a secret can be read: ``storage://path``."""


class SecretUse(msgspec.Struct, frozen=True, kw_only=True):
    """One secret, and what is made of it.

    ``kserve``: of a service account, its kind is known by its keys; ``annotations`` are the secret's.
    ``account``: no secret, but the ``annotations`` of the account itself. ``storage``: entries of
    ``storage-config``, of which ``key`` is wanted, with ``parameters`` above it and ``type`` from them.
    ``rclone``: Seldon's variables for the remote that stands before ``://`` in the artefact's address.
    ``settings`` are those of KServe's config map.
    """

    kind: Literal["kserve", "account", "storage", "rclone"]
    secret: str = ""
    key: str = ""
    annotations: dict[str, str] = {}
    parameters: dict[str, str] = {}
    settings: dict[str, Any] = {}


Read = Callable[[str], Mapping[str, str]]
"""The data of a secret, by its name; raises when it is not there."""


def written(uses: Sequence[SecretUse]) -> dict[str, str]:
    """``credentials`` of a source that is fetched on a cluster."""
    return {VARIABLE: msgspec.json.encode(list(uses)).decode()} if uses else {}


def read(credentials: Mapping[str, str]) -> list[SecretUse]:
    """What ``written`` wrote; nothing where it did not.

    Raises:
        ValueError: the variable holds something else.
    """
    text = credentials.get(VARIABLE, "")
    if not text:
        return []
    try:
        return msgspec.json.decode(text, type=list[SecretUse])
    except msgspec.MsgspecError as error:
        raise ValueError(f"expected a list of secrets in {VARIABLE}: {error}") from None


def resolved(uri: str, uses: Sequence[SecretUse], data: Read) -> tuple[str, dict[str, str]]:
    """An artefact's address, and the variables for whoever fetches it.

    Raises:
        ValueError: a secret does not say what is needed of it; ``str`` is for whoever reads the pod's status.
    """
    from tiffin.dialects import kserve_credentials, seldon_credentials

    found: dict[str, str] = {}
    for use in uses:
        if use.kind == "rclone":
            uri, variables, _ = seldon_credentials.convert(uri, data(use.secret))
        elif use.kind == "storage":
            uri, variables = kserve_credentials.stored(uri, data(use.secret), use)
        else:
            variables = kserve_credentials.understood(use, data(use.secret) if use.secret else {})
        found |= variables
    if uri.startswith(f"{ADDRESS}://"):
        raise ValueError("unable to determine storage type")
    return uri, found
