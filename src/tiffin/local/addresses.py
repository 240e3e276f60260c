"""What a user types to reach a deployment: its URLs, and a curl line that works. Pure."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

import msgspec

from tiffin.spec import Deployment, Route


class Example(msgspec.Struct, frozen=True):
    """A request that a replica says it answers: its own path, headers, and a JSON body (``None``: a GET).

    ``is_complete`` is false when only its form is known, and the values are for the caller to fill in.
    """

    path: str
    headers: dict[str, str] = {}
    body: Any = None
    is_complete: bool = True


SELDON_FORM = Example("/api/v1.0/predictions", body={"data": {"ndarray": [[0.0]]}}, is_complete=False)
"""What every Seldon-style class takes the form of; the numbers are its author's."""


def base_url(host: str, port: int) -> str:
    """``http://127.0.0.1:8080``; a wildcard address is shown as one that can be typed."""
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}"


def urls(deployment: Deployment, base: str) -> list[str]:
    """Every URL, the ones without a host first."""
    port = base.rpartition(":")[2]
    anywhere = [base + route.path for route in deployment.routes if not route.hosts]
    named = [f"http://{host}:{port}{route.path}" for route in deployment.routes for host in route.hosts]
    return list(dict.fromkeys(anywhere + named))


def main_urls(deployment: Deployment, base: str) -> list[str]:
    """The few URLs worth printing: prefixes, and the first of each route's host names."""
    port = base.rpartition(":")[2]
    routes = [route for route in deployment.routes if not (route.component or route.variant or route.exact)]
    anywhere = [base + route.path for route in routes if not route.hosts]
    # Names as they are inside of a cluster, and those a system has beside its usual one, are rarely typed.
    hosts = [route for route in routes if route.hosts and route.hosts[0].count(".") > 1 and not route.shared]
    named = [f"http://{route.hosts[0]}:{port}{route.path}" for route in hosts]
    return list(dict.fromkeys(anywhere + named))


def best_url(deployment: Deployment, base: str, path: str) -> str | None:
    """Where the replica's own ``path`` is reached without a host name, as the deployment's system has it."""
    reaching = []
    for route in deployment.routes:
        outer = _outer(route, path)
        if outer is not None and not route.hosts:
            is_own = route.path == f"/{deployment.namespace}/{deployment.name}"
            is_part = bool(route.component or route.variant)
            reaching.append((is_part, is_own, route.exact, -len(route.path), base + outer))
    return min(reaching)[-1] if reaching else None


def curl(deployment: Deployment, base: str, example: Example | None) -> str | None:
    """A line to paste into a shell; without an example it asks whether the deployment is ready."""
    if example is None:
        url: str | None = f"{base}/{deployment.namespace}/{deployment.name}/readyz"
        example = Example("/readyz")
    else:
        url = best_url(deployment, base, example.path)
    if url is None:
        return None
    words = ["curl", url]
    for name, value in example.headers.items():
        words += ["-H", f"{name}: {value}"]
    if example.body is not None:
        if not any(name.lower() == "content-type" for name in example.headers):
            words += ["-H", "content-type: application/json"]
        words += ["-d", json.dumps(example.body, separators=(",", ":"), ensure_ascii=False)]
    return " ".join(shlex.quote(word) for word in words)


def example_of(answer: Mapping[str, Any] | None) -> Example | None:
    """What a replica answered to ``GET /tiffin/example``, when it is one."""
    try:
        return None if answer is None else msgspec.convert(answer, Example)
    except msgspec.ValidationError:
        return None


def _outer(route: Route, path: str) -> str | None:
    """The path a caller uses so that this route passes ``path`` on; ``None`` when it never does."""
    base = route.path.rstrip("/")
    inner = base if route.rewrite is None else route.rewrite.rstrip("/")
    if route.exact:
        return route.path if path == (route.path if route.rewrite is None else route.rewrite) else None
    if path == (inner or "/"):
        return base or "/"
    return base + path[len(inner) :] if path.startswith(inner + "/") else None
