"""What a component's pods say beyond what Tiffin decides itself, in Kubernetes' own words."""

from __future__ import annotations

from typing import Any

import msgspec


class Pod(msgspec.Struct, frozen=True, kw_only=True):
    """Passed through to a cluster; a target that has no pods warns of what is here.

    ``spec`` is a PodSpec as plain JSON, checked by the API server. Its container called ``main`` is the
    component's own: for a program it is the whole container, with its references to secrets and config maps as
    they were written; for a saved model or a service it is laid over the container that Tiffin writes (by key,
    as a strategic merge does). ``$(PREDICTOR_HOST)`` in its arguments stands for where the predictor is reached;
    the target fills it in. Other containers and init containers run beside it. ``labels`` and
    ``annotations`` are those of the pods. ``strategy`` is a Deployment's ``strategy``; ``disruption`` a
    PodDisruptionBudget's spec without its selector. ``is_read_only``: whether the model's files are mounted so.
    """

    main: str = "kserve-container"
    spec: dict[str, Any] = {}
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    strategy: dict[str, Any] = {}
    disruption: dict[str, Any] = {}
    progress_deadline_seconds: int | None = None
    is_read_only: bool = True
