"""For the tests of people who write services: a real replica in the test's own process.

    def test_it_knows_a_setosa():
        with tiffin.testing.serve(Iris) as server:
            answer = server.post("/predict", json={"features": [[5.1, 3.5, 1.4, 0.2]]})
            assert answer.json() == [0]

What answers is what ``tiffin serve`` runs, in a thread: requests cross a socket, inputs are checked, errors have
their statuses. The service's code runs in the test's process, so that what a test patches is patched.
"""

from __future__ import annotations

import contextlib
import http.client
import json as json_module
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tiffin.errors import PlatformError

if TYPE_CHECKING:
    from tiffin.runtime.application import Application
    from tiffin.service.definition import Service
    from tiffin.spec import ReplicaSpec

START_SECONDS = 60.0
STOP_SECONDS = 10.0


@dataclass(frozen=True)
class Answer:
    """A whole answer. ``headers`` are by lower-case name; of several of one name the last is kept."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes

    @property
    def text(self) -> str:
        """The body as UTF-8; UnicodeDecodeError if it is none."""
        return self.body.decode()

    def json(self) -> Any:
        """The body read as JSON; ValueError if it is none."""
        return json_module.loads(self.body)


class Server:
    """A service that is being served; ``url`` is ``http://127.0.0.1:PORT``.

    Args:
        url: Where.
        timeout: Seconds a call of this object waits for an answer.
    """

    def __init__(self, url: str, timeout: float = 30.0) -> None:
        self.url = url
        self.timeout = timeout

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request on a connection of its own; no status is an exception."""
        place = urlsplit(self.url)
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=self.timeout)
        with contextlib.closing(connection):
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            lines = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, lines, response.read())

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        """A GET request."""
        return self.request("GET", path, None, headers)

    def post(
        self, path: str, *, json: Any = None, data: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """A POST request with a JSON body, or with ``data`` as it is."""
        if data is None:
            data = json_module.dumps({} if json is None else json).encode()
            headers = {"content-type": "application/json", **(headers or {})}
        return self.request("POST", path, data, headers)


@contextlib.contextmanager
def serve(
    target: Service[Any] | str | Path, *, working_dir: str | Path = ".", timeout: float = 30.0
) -> Iterator[Server]:
    """Serve on a free port of the loopback interface until the block ends.

    Args:
        target: A class decorated with ``@service`` (a new instance is made, and its hooks run), or what
            ``tiffin serve`` takes: ``module:Class``, a model file, a project's directory.
        working_dir: Where a target that is text or a path is looked for.
        timeout: Seconds the Server's own calls wait for an answer.

    Raises:
        ServiceError: the service cannot be served, or its start failed.
        SpecError: the target is nothing that can be served.
    """
    from tiffin.runtime.listening import address_of, bind
    from tiffin.runtime.worker import Worker

    with _application(target, Path(working_dir)) as (spec, application):
        sockets = bind(spec.listen)
        is_ready = threading.Event()
        worker = Worker(spec, application, sockets, on_ready=is_ready.set)

        def run() -> None:
            try:
                worker.run()
            finally:
                is_ready.set()

        thread = threading.Thread(target=run, name="tiffin.testing", daemon=True)
        thread.start()
        try:
            started = is_ready.wait(START_SECONDS)
            if worker.failure is not None:
                raise worker.failure
            if not started or not thread.is_alive():
                raise PlatformError(f"expected the service to start within {START_SECONDS:g} s, it did not")
            yield Server(address_of(sockets[0]), timeout)
        finally:
            worker.drain()
            thread.join(STOP_SECONDS)
            for sock in sockets:
                sock.close()


@contextlib.contextmanager
def _application(target: Any, directory: Path) -> Iterator[tuple[ReplicaSpec, Application]]:
    from tiffin.runtime import target as targets
    from tiffin.runtime.applications import application_of
    from tiffin.runtime.service_application import ServiceApplication
    from tiffin.service.definition import Service
    from tiffin.spec import Artefact, ServiceSource

    if isinstance(target, Service):
        source = ServiceSource(artefact=Artefact("."), target=target.import_string)
        spec = _spec(target.name, source, Path.cwd())
        with _fresh(target):
            yield spec, ServiceApplication(spec, target)
        return
    found = targets.resolve(str(target), directory.resolve())
    if found.path is None:
        raise PlatformError(f"expected something on this machine, found {target}", hint="download it first")
    spec = _spec(found.name, found.source, found.path)
    yield spec, application_of(spec)


def _spec(name: str, source: Any, path: Path) -> ReplicaSpec:
    from tiffin.spec import Component, Limits, ReplicaSpec

    component = Component(source=source)
    # A test that ends with calls in hand has failed already.
    limits = Limits(drain_seconds=1.0)
    return ReplicaSpec(
        deployment=name,
        model_name=name,
        component=component,
        path=str(path),
        limits=limits,
        tasks="sqlite://:memory:",  # never those of a service that runs here
    )


@contextlib.contextmanager
def _fresh(service: Service[Any]) -> Iterator[None]:
    """New instances inside, and the process's facts as they were outside, so that tests do not meet."""
    from tiffin.service import context

    facts = dict(vars(context.server_context))
    services = list(service.all_services().values())
    states = [dict(found.context.state) for found in services]
    for found in services:
        found.forget()
    try:
        yield
    finally:
        for found, state in zip(services, states, strict=True):
            found.forget()
            found.context.state.clear()
            found.context.state.update(state)
        vars(context.server_context).update(facts)
