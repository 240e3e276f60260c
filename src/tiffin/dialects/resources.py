"""The objects beside a deployment that it may refer to: runtimes, secrets, service accounts, config maps.

They come from documents in the same files, or from a store that kept them. Everything here is plain data that
msgspec writes and reads back, so a store can keep ``Resources`` as it is.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from typing import Protocol, TypeVar

import msgspec

from tiffin.dialects import kubernetes, runtimes
from tiffin.dialects.documents import Document, child
from tiffin.dialects.fields import NO_EFFECT, Fields, Reader
from tiffin.dialects.runtimes import Runtime
from tiffin.spec import SpecWarning


class Secret(msgspec.Struct, frozen=True, kw_only=True):
    """``data`` is decoded; bytes that are no text are left out, and named in a warning."""

    name: str
    namespace: str = "default"
    data: dict[str, str] = {}
    annotations: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"Secret({self.namespace}/{self.name})"


class ConfigMap(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    namespace: str = "default"
    data: dict[str, str] = {}


class ServiceAccount(msgspec.Struct, frozen=True, kw_only=True):
    """``secrets`` are the names of the secrets it may use, in their order."""

    name: str
    namespace: str = "default"
    secrets: tuple[str, ...] = ()
    annotations: dict[str, str] = {}


class Resources(msgspec.Struct, frozen=True, kw_only=True):
    """What deployments may refer to. ``a | b`` has both; where they name the same object, ``b``'s counts.

    ``on_cluster``: secrets are read by the pods that use them; ``secrets`` may have their annotations, without
    data.
    """

    runtimes: tuple[Runtime, ...] = ()
    secrets: tuple[Secret, ...] = ()
    service_accounts: tuple[ServiceAccount, ...] = ()
    config_maps: tuple[ConfigMap, ...] = ()
    on_cluster: bool = False

    def __or__(self, other: Resources) -> Resources:
        return Resources(
            runtimes=_later(self.runtimes, other.runtimes),
            secrets=_later(self.secrets, other.secrets),
            service_accounts=_later(self.service_accounts, other.service_accounts),
            config_maps=_later(self.config_maps, other.config_maps),
            on_cluster=self.on_cluster or other.on_cluster,
        )

    def __bool__(self) -> bool:
        return bool(self.runtimes or self.secrets or self.service_accounts or self.config_maps)

    def secret(self, namespace: str, name: str) -> Secret | None:
        return _find(self.secrets, namespace, name)

    def config_map(self, namespace: str, name: str) -> ConfigMap | None:
        return _find(self.config_maps, namespace, name)

    def service_account(self, namespace: str, name: str) -> ServiceAccount | None:
        return _find(self.service_accounts, namespace, name)


class _HasName(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def namespace(self) -> str: ...


_Named = TypeVar("_Named", bound=_HasName)


def _find(found: Iterable[_Named], namespace: str, name: str) -> _Named | None:
    return next((item for item in found if (item.namespace, item.name) == (namespace, name)), None)


def _later(first: Iterable[_Named], second: Iterable[_Named]) -> tuple[_Named, ...]:
    return tuple({(item.namespace, item.name): item for item in (*first, *second)}.values())


# ---- documents


KINDS = {
    ("v1", "Secret"),
    ("v1", "ConfigMap"),
    ("v1", "ServiceAccount"),
    *((version, kind) for version in runtimes.API_VERSIONS for kind in runtimes.KINDS),
}
"""The ``apiVersion`` and ``kind`` of documents that are resources."""


def read(document: Document, kind: str) -> tuple[Resources, tuple[SpecWarning, ...]]:
    """One document of a kind named in ``KINDS``.

    Raises:
        SpecError: it does not say what an object of its kind must.
    """
    reader = Reader(document, "")
    root = reader.root()
    root.accept("apiVersion", "kind", "status")
    if kind in runtimes.KINDS:
        found = Resources(runtimes=(runtimes.read(root, is_cluster=kind == "ClusterServingRuntime"),))
    elif kind == "Secret":
        found = Resources(secrets=(_secret(root),))
    elif kind == "ConfigMap":
        found = Resources(config_maps=(_config_map(root),))
    else:
        found = Resources(service_accounts=(_service_account(root),))
    return found, reader.finish()


def _secret(root: Fields) -> Secret:
    metadata = kubernetes.metadata(root, is_dotted=True)
    root.accept("type", "immutable")
    data = {}
    for key, value in root.text_map("data").items():
        try:
            data[key] = base64.b64decode("".join(value.split()), validate=True).decode()
        except UnicodeDecodeError:
            root.reader.warn(child(root.at("data"), key), f"is not text; it {NO_EFFECT}", "local")
        except (binascii.Error, ValueError):
            message = "expected base64, found something else"
            raise root.reader.error(
                child(root.at("data"), key), message, "write it under stringData as it is"
            ) from None
    data |= root.text_map("stringData")
    return Secret(name=metadata.name, namespace=metadata.namespace, data=data, annotations=metadata.annotations)


def _config_map(root: Fields) -> ConfigMap:
    metadata = kubernetes.metadata(root, is_dotted=True)
    root.accept("immutable")
    root.ignore(("binaryData",), NO_EFFECT, "local")
    return ConfigMap(name=metadata.name, namespace=metadata.namespace, data=root.text_map("data"))


def _service_account(root: Fields) -> ServiceAccount:
    metadata = kubernetes.metadata(root, is_dotted=True)
    root.ignore(("imagePullSecrets",), NO_EFFECT, "local")
    root.accept("automountServiceAccountToken")
    names = []
    for secret in root.mappings("secrets"):
        names.append(secret.text("name", required=True))
        secret.accept("apiVersion", "fieldPath", "kind", "namespace", "resourceVersion", "uid")
    return ServiceAccount(
        name=metadata.name,
        namespace=metadata.namespace,
        secrets=tuple(names),
        annotations=metadata.annotations,
    )
