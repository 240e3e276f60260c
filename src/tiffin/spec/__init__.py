"""The one typed description of what should run; every dialect becomes this, every target starts from it.

Lives here: ``Deployment`` and its parts, the checks that need nothing else, and ``ReplicaSpec``, the order a
target gives to one replica. Next door: ``dialects`` (files in), ``gateway`` and ``local`` (specs out).
Nothing here knows which system a file came from.
"""

from tiffin.spec.deployment import (
    Artefact,
    Batching,
    ClassSource,
    Component,
    Deployment,
    ModelSource,
    Parameter,
    Resources,
    Route,
    ServiceSource,
    SpecWarning,
)
from tiffin.spec.description import EndpointDescription, ServiceDescription
from tiffin.spec.replica import Limits, Listen, ReplicaSpec

__all__ = [
    "Artefact",
    "Batching",
    "ClassSource",
    "Component",
    "Deployment",
    "EndpointDescription",
    "Limits",
    "Listen",
    "ModelSource",
    "Parameter",
    "ReplicaSpec",
    "Resources",
    "Route",
    "ServiceDescription",
    "ServiceSource",
    "SpecWarning",
]
