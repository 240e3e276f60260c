"""What a replica serves: a set of endpoints, found by path, with the errors in the style of its protocol."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from tiffin.errors import MethodNotAllowed, TiffinError, UnknownRoute
from tiffin.protocol.reply import Reply
from tiffin.runtime.exchange import Endpoint
from tiffin.runtime.metrics import Metrics
from tiffin.runtime.tensor_models import Models


class Application(Protocol):
    """A thing a worker can hold.

    Life, in order: ``load`` (in a thread of its own: imports, opens, warms up), ``start`` (on the event loop),
    ``stop`` (after draining).
    """

    @property
    def server_header(self) -> bytes:
        """The value of the ``server`` header; empty for none."""

    def endpoints(self) -> Iterable[Endpoint]:
        """Every endpoint known so far; all of them after ``load``. Those known before keep their order."""

    def render_error(self, path: str, error: TiffinError) -> Reply:
        """An error in the style of the protocol that ``path`` belongs to."""

    def use(self, metrics: Metrics, worker: int = 0) -> None:
        """Where to count, and which worker this is, from 0; called before ``load``."""

    def load(self) -> None:
        """Load and warm up; raises AuthorError. When it returns, the replica is ready."""

    async def start(self) -> None:
        """Bind to the running event loop."""

    async def stop(self) -> None:
        """Let go of threads and user resources."""

    def tensor_models(self) -> Models:
        """What answers tensors, by name; asked once it was started. Empty where nothing does."""

    async def is_ready(self) -> bool:
        """Asked by ``/readyz`` while the replica is ready: false turns it unready for now."""

    async def is_alive(self) -> bool:
        """Asked by ``/healthz`` and ``/livez``."""


class RouteTable:
    """Endpoints by exact path: a replica knows the names of what it serves, so nothing is matched by pattern.

    What has no path of its own goes to the endpoint with the longest prefix, if there are any of that kind.
    """

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self.endpoints = list(endpoints)
        self._exact: dict[str, dict[str, Endpoint]] = {}
        self._below: list[Endpoint] = []
        for index, endpoint in enumerate(self.endpoints):
            endpoint.index = index
            if endpoint.below is None:
                self._exact.setdefault(endpoint.template, {})[endpoint.method] = endpoint
            else:
                self._below.append(endpoint)
        # The longest prefix first; of two with the same one, the one for a single method.
        self._below.sort(key=lambda endpoint: (-len(endpoint.below or ""), endpoint.method == "*"))

    def find(self, method: str, path: str) -> Endpoint:
        """The endpoint, or UnknownRoute / MethodNotAllowed."""
        methods = self._exact.get(path, _NO_METHODS)
        endpoint = methods.get(method)
        if endpoint is None and method == "HEAD":
            endpoint = methods.get("GET")
        if endpoint is None and self._below:
            endpoint = self._under(method, path)
        if endpoint is not None:
            return endpoint
        if not methods:
            raise UnknownRoute(f"there is nothing at {path!r}")
        raise MethodNotAllowed(
            f"{path!r} takes {' or '.join(sorted(methods))}, found {method}", allow=tuple(sorted(methods))
        )

    def _under(self, method: str, path: str) -> Endpoint | None:
        for endpoint in self._below:
            below = endpoint.below or ""
            is_inside = path.startswith(below) and path[len(below) : len(below) + 1] in ("", "/")
            if is_inside and endpoint.method in ("*", method):
                return endpoint
        return None


_NO_METHODS: dict[str, Endpoint] = {}
