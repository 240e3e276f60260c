"""Words to write structural schemas in: what a field holds, and rules between fields."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tiffin.kube.manifests import Manifest

Schema = dict[str, Any]

KEPT = "x-kubernetes-preserve-unknown-fields"
RULES = "x-kubernetes-validations"
LABELS = {"app.kubernetes.io/part-of": "tiffin", "app.kubernetes.io/managed-by": "tiffin-install"}


def text(**more: Any) -> Schema:
    return {"type": "string", **more}


def choice(*names: str) -> Schema:
    return {"type": "string", "enum": list(names)}


def whole(least: int | None = None, most: int | None = None) -> Schema:
    bounds = {"minimum": least, "maximum": most}
    return {"type": "integer", **{name: bound for name, bound in bounds.items() if bound is not None}}


def flag() -> Schema:
    return {"type": "boolean"}


def anything() -> Schema:
    """Whatever is there, kept."""
    return {KEPT: True}


def kept(properties: Mapping[str, Schema] | None = None, *, required: Iterable[str] = ()) -> Schema:
    """A mapping that keeps what is not named here."""
    return fields(properties or {}, required=required) | {KEPT: True}


def fields(
    properties: Mapping[str, Schema], *, required: Iterable[str] = (), rules: Iterable[Schema] = ()
) -> Schema:
    """A mapping of known fields; the server refuses or drops others."""
    found: Schema = {"type": "object"}
    if properties:
        found["properties"] = dict(properties)
    if names := list(required):
        found["required"] = names
    if said := list(rules):
        found[RULES] = said
    return found


def items(of: Schema, *, most: int | None = None, least: int | None = None) -> Schema:
    bounds = {"maxItems": most, "minItems": least}
    return {"type": "array", "items": of, **{name: bound for name, bound in bounds.items() if bound is not None}}


def table(of: Schema) -> Schema:
    """A mapping whose keys are the author's own."""
    return {"type": "object", "additionalProperties": of}


def texts() -> Schema:
    return table(text())


def rule(expression: str, message: str) -> Schema:
    """What must hold, in CEL, and what is said where it does not."""
    return {"rule": expression, "message": message}


def present(name: str) -> str:
    """CEL: whether a field of ``self`` is there."""
    return f"has(self.{name})"


def count(names: Iterable[str]) -> str:
    """CEL: how many of these fields of ``self`` are there."""
    return "[" + ", ".join(map(present, names)) + "].filter(x, x).size()"


# ---- parts of Kubernetes' own objects


def variables() -> Schema:
    """``env`` of a container, with what KServe refuses in every one."""
    return items(kept({"name": text(minLength=1, **{"not": {"enum": ["PYTHONPATH"]}})}, required=("name",)))


def container(*, required: Iterable[str] = ("name",)) -> Schema:
    """A container as it is, but for its name, image and variables."""
    named = {"name": text(), "image": text(), "env": variables(), "resources": anything()}
    return kept(named, required=required)


# ---- definitions


def column(name: str, path: str, kind: str = "string", **more: Any) -> Schema:
    """A column of ``kubectl get``."""
    return {"name": name, "type": kind, "jsonPath": path, **more}


AGE = column("Age", ".metadata.creationTimestamp", "date")


def version(
    name: str,
    root: Schema,
    *,
    columns: Iterable[Schema] = (),
    is_stored: bool = True,
    subresources: Mapping[str, Any] | None = None,
) -> Schema:
    found = {"name": name, "served": True, "storage": is_stored, "schema": {"openAPIV3Schema": root}}
    if subresources is None:
        subresources = {"status": {}}
    if subresources:
        found["subresources"] = dict(subresources)
    return found | {"additionalPrinterColumns": [*columns, AGE]}


def root(spec: Schema, *, name: str = "", about: str = "") -> Schema:
    """The whole object around a ``spec``; ``name`` is the pattern of its name."""
    metadata: Schema = {"type": "object"}
    if name:
        metadata["properties"] = {"name": text(pattern=name)}
    found = fields(
        {"apiVersion": text(), "kind": text(), "metadata": metadata, "spec": spec, "status": kept()},
        required=("spec",),
    )
    return found | ({"description": about} if about else {})


def definition(
    group: str,
    kind: str,
    versions: Iterable[Schema],
    *,
    plural: str = "",
    short: Iterable[str] = (),
    categories: Iterable[str] = (),
    is_namespaced: bool = True,
) -> Manifest:
    """A CustomResourceDefinition."""
    plural = plural or f"{kind.lower()}s"
    names: Schema = {
        "kind": kind,
        "listKind": f"{kind}List",
        "plural": plural,
        "singular": plural.removesuffix("s"),
    }
    if named := list(short):
        names["shortNames"] = named
    if shown := list(categories):
        names["categories"] = shown
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}", "labels": dict(LABELS)},
        "spec": {
            "group": group,
            "names": names,
            "scope": "Namespaced" if is_namespaced else "Cluster",
            "versions": list(versions),
        },
    }
