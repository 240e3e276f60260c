"""Which application serves a component."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from tiffin.errors import ServiceError, TiffinError
from tiffin.protocol.reply import Reply
from tiffin.runtime import phases
from tiffin.runtime.application import Application
from tiffin.runtime.exchange import Endpoint
from tiffin.runtime.metrics import Metrics
from tiffin.runtime.tensor_models import Models
from tiffin.spec import ClassSource, ContainerSource, ModelSource, ReplicaSpec, ServiceSource

log = logging.getLogger(__name__)


def application_of(spec: ReplicaSpec) -> Application:
    """The application for the component's source; only what it needs is imported."""
    match spec.component.source:
        case ModelSource():
            from tiffin.runtime.model_application import ModelApplication

            return ModelApplication(spec)
        case ClassSource():
            return _class_application(spec)
        case ServiceSource() as source:
            return ImportedApplication(spec, source)
        case ContainerSource() as source:
            if not source.command:
                raise ServiceError(f"the container {source.image} cannot run in a replica process")
            from tiffin.runtime.kserve_application import KServeApplication

            return KServeApplication(spec)


class ImportedApplication:
    """A service or plain class, imported by ``load``: what its module does may take long, or fail."""

    def __init__(self, spec: ReplicaSpec, source: ServiceSource) -> None:
        self._spec = spec
        self._source = source
        self._metrics: Metrics | None = None
        self._worker = 0
        self._inner: Application | None = None

    @property
    def server_header(self) -> bytes:
        """That of the application, once there is one."""
        return self._inner.server_header if self._inner is not None else b"tiffin"

    def endpoints(self) -> Iterable[Endpoint]:
        """None before ``load``."""
        return self._inner.endpoints() if self._inner is not None else ()

    def render_error(self, path: str, error: TiffinError) -> Reply:
        """In the application's style; before there is one, in that of services."""
        if self._inner is not None:
            return self._inner.render_error(path, error)
        from tiffin.protocol import named_json

        return named_json.error_reply(error)

    def use(self, metrics: Metrics, worker: int = 0) -> None:
        """Kept for the application."""
        self._metrics = metrics
        self._worker = worker

    def load(self) -> None:
        """Import, see what it is, and load that."""
        assert self._metrics is not None
        inner = _service_application(self._spec, self._source)
        phases.start.end("import")
        inner.use(self._metrics, self._worker)
        inner.load()
        phases.start.end("load")
        self._inner = inner

    async def start(self) -> None:
        """Bind the application to the loop."""
        assert self._inner is not None
        await self._inner.start()

    async def stop(self) -> None:
        """Stop the application, if it came to be."""
        if self._inner is not None:
            await self._inner.stop()

    def tensor_models(self) -> Models:
        """Those of the application."""
        assert self._inner is not None
        return self._inner.tensor_models()

    async def is_ready(self) -> bool:
        """What the application says."""
        return self._inner is not None and await self._inner.is_ready()

    async def is_alive(self) -> bool:
        """What the application says; importing is living."""
        return self._inner is None or await self._inner.is_alive()


def _class_application(spec: ReplicaSpec) -> Application:
    from tiffin.runtime.class_application import ClassApplication

    return ClassApplication(spec)


def _service_application(spec: ReplicaSpec, source: ServiceSource) -> Application:
    """``module:Name`` says nothing of what Name is: a service, or a plain class, is known once it is imported."""
    from tiffin.dialects import seldon_images
    from tiffin.runtime.service_application import ServiceApplication
    from tiffin.service import loading, seldon_compat
    from tiffin.service.definition import Service

    seldon_compat.provide()
    try:
        found = loading.load(source.target, Path(spec.path))
    except ServiceError as error:
        for note in getattr(error, "__notes__", ()):
            log.error("%s", note)
        raise
    if isinstance(found, Service):
        return ServiceApplication(spec, found)
    plain, name = ClassSource(artefact=source.artefact, target=source.target), spec.model_name
    if unit := os.environ.get("PREDICTIVE_UNIT_ID", ""):
        # In a container of Seldon's, which calls the model by the name of its node.
        plain, name = seldon_images.told(plain, os.environ), unit
    component = msgspec.structs.replace(spec.component, source=plain)
    spec = msgspec.structs.replace(spec, component=component, protocol="seldon", model_name=name)
    return _class_application(spec)
