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
    ContainerSource,
    Deployment,
    Logger,
    ModelSource,
    Parameter,
    Resources,
    Route,
    ServiceSource,
    SpecWarning,
    Variant,
)
from tiffin.spec.description import EndpointDescription, ServiceDescription
from tiffin.spec.pod import Pod
from tiffin.spec.policy import Policy
from tiffin.spec.recording import Record, Recording, Sampling, Spool
from tiffin.spec.replica import Limits, Listen, ReplicaSpec
from tiffin.spec.rollout import Gate, Rollout, Step
from tiffin.spec.scaling import Measure, Scaling, Stabilization, Windows
from tiffin.spec.traffic import Jwt, Match, Rule, Sticky, Traffic
from tiffin.spec.views import Target, for_target, warnings_for

__all__ = [
    "Artefact",
    "Batching",
    "ClassSource",
    "Component",
    "ContainerSource",
    "Deployment",
    "EndpointDescription",
    "Gate",
    "Jwt",
    "Limits",
    "Listen",
    "Logger",
    "Match",
    "Measure",
    "ModelSource",
    "Parameter",
    "Pod",
    "Policy",
    "Record",
    "Recording",
    "ReplicaSpec",
    "Resources",
    "Rollout",
    "Route",
    "Rule",
    "Sampling",
    "Scaling",
    "ServiceDescription",
    "ServiceSource",
    "SpecWarning",
    "Spool",
    "Stabilization",
    "Step",
    "Sticky",
    "Target",
    "Traffic",
    "Variant",
    "Windows",
    "for_target",
    "warnings_for",
]
