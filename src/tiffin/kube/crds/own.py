"""Tiffin's own kind, from the table that parses its file."""

from __future__ import annotations

from tiffin.dialects.tiffin_fields import API_VERSIONS, DEPLOYMENT, KIND
from tiffin.kube.crds.forms import RULES, Schema, column, definition, root, rule, version
from tiffin.kube.crds.structural import structural
from tiffin.kube.manifests import Manifest

GROUP = API_VERSIONS[0].partition("/")[0]
PLURAL = "tiffindeployments"
"""Not ``deployments``: whoever types ``kubectl get deployments`` means those of Kubernetes."""
SHORT = ("tiffin", "tfn")

_COLUMNS = (
    column("URL", ".status.url"),
    column("Ready", ".status.conditions[?(@.type=='Ready')].status"),
    column("Reason", ".status.conditions[?(@.type=='Ready')].reason"),
    column("Revision", ".status.revision", priority=1),
)


def definitions() -> tuple[Manifest, ...]:
    """``tiffin.dev`` Deployment."""
    versions = [version(one.partition("/")[2], _root(), columns=_COLUMNS) for one in API_VERSIONS]
    return (definition(GROUP, KIND, versions, plural=PLURAL, short=SHORT, categories=("all",)),)


def _root() -> Schema:
    shape = DEPLOYMENT.schema()["properties"]
    name = structural(shape["metadata"]["properties"]["name"])["pattern"]
    found = root(structural(shape["spec"]), name=name, about="What is served, and how.")
    found["properties"]["spec"].setdefault(RULES, []).append(
        rule(
            "!has(self.variants) || self.variants.all(name, !(name in ['main', 'stable', 'canary'])"
            " && (!has(self.variant) || name != self.variant))",
            "expected variants with names of their own: main, stable and canary mean others",
        )
    )
    return found
