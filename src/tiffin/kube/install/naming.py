"""What the installed objects are called."""

from __future__ import annotations

from tiffin.kube.manifests import Manifest

OPERATOR = "tiffin-operator"
ACTIVATOR = "tiffin-activator"
LEASE = "tiffin-operator"
SETTINGS = "tiffin-settings"
WEBHOOK = "tiffin-webhook"
CERTIFICATE = "tiffin-webhook-certificate"
"""The Secret with the webhook's certificate and the authority that signed it."""

NAME = "app.kubernetes.io/name"


def labels(component: str) -> dict[str, str]:
    """By which all that was installed is found, and what belongs to one program."""
    return {
        NAME: component,
        "app.kubernetes.io/part-of": "tiffin",
        "app.kubernetes.io/managed-by": "tiffin-install",
    }


def made(api_version: str, kind: str, name: str, namespace: str = "", *, component: str) -> Manifest:
    """The beginning of an object."""
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata | {"labels": labels(component)}}
