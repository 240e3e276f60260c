"""Which application serves a component."""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from tiffin.errors import ServiceError
from tiffin.runtime.application import Application
from tiffin.spec import ClassSource, ModelSource, ReplicaSpec, ServiceSource

log = logging.getLogger(__name__)


def application_of(spec: ReplicaSpec) -> Application:
    """The application for the component's source; only what it needs is imported.

    Raises:
        ServiceError: the service cannot be imported.
    """
    match spec.component.source:
        case ModelSource():
            from tiffin.runtime.model_application import ModelApplication

            return ModelApplication(spec)
        case ClassSource():
            return _class_application(spec)
        case ServiceSource() as source:
            return _service_application(spec, source)


def _class_application(spec: ReplicaSpec) -> Application:
    from tiffin.runtime.class_application import ClassApplication

    return ClassApplication(spec)


def _service_application(spec: ReplicaSpec, source: ServiceSource) -> Application:
    """``module:Name`` says nothing of what Name is: a service, or a plain class, is known once it is imported."""
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
    plain = ClassSource(artefact=source.artefact, target=source.target)
    component = msgspec.structs.replace(spec.component, source=plain)
    return _class_application(msgspec.structs.replace(spec, component=component, protocol="seldon"))
