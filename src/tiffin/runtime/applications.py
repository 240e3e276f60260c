"""Which application serves a component."""

from __future__ import annotations

from tiffin.runtime.application import Application
from tiffin.spec import ClassSource, ModelSource, ReplicaSpec, ServiceSource


def application_of(spec: ReplicaSpec) -> Application:
    """The application for the component's source; only what it needs is imported."""
    source = spec.component.source
    match source:
        case ModelSource():
            from tiffin.runtime.model_application import ModelApplication

            return ModelApplication(spec)
        case ServiceSource():
            from tiffin.runtime.service_application import ServiceApplication

            return ServiceApplication(spec)
        case ClassSource():
            from tiffin.runtime.class_application import ClassApplication

            return ClassApplication(spec)
