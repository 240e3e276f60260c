"""The addresses of models in an InferenceService."""

from __future__ import annotations

import posixpath
import re

from tiffin.dialects import kserve_credentials, secret_uses
from tiffin.dialects.fields import LATER, Fields
from tiffin.dialects.kserve_context import Context
from tiffin.spec import Artefact

MOUNT = "/mnt/models"
_SCHEMES = ("gs", "s3", "pvc", "file", "https", "http", "hdfs", "webhdfs", "oci", "oci+native", "oci+fetch", "hf")
_SCHEMES_OWN = ("model",)
"""The local model store: Tiffin reads it, KServe does not."""
_SCHEMES_LATER = ("pvc", "modelscope")
_ON_CLUSTERS = ("pvc",)
_ABSOLUTE = re.compile(r"/.*")


def check(fields: Fields, name: str, uri: str) -> str:
    """The address, when Tiffin can read it; ``name`` is the field that holds it."""
    scheme, separator, _ = uri.partition("://")
    if not separator:
        return uri
    if scheme in _SCHEMES_LATER:
        hint = "copy the model to a path, https://, s3:// or gs://"
        if scheme not in _ON_CLUSTERS:
            raise fields.error(name, f"{scheme}:// {LATER}", hint)
        fields.reader.refuse_here(fields.at(name), f"{scheme}:// {LATER}", hint)
    if scheme not in (*_SCHEMES, *_SCHEMES_OWN):
        prefixes = ", ".join(f"{known}://" for known in _SCHEMES)
        raise fields.error(
            name,
            f"storageUri, must be one of: [{prefixes}] or match https://{{}}.blob.core.windows.net/{{}}/{{}} or "
            f"be an absolute or relative local path. StorageUri [{uri}] is not supported",
        )
    return uri


def of_model(model: Fields, component: Fields, context: Context) -> tuple[dict[str, Artefact], dict[str, str]]:
    """What the model's ``storageUri``, ``storage`` or the component's ``storageUris`` name: artefacts by the
    directory where a container would see them, and the credentials.
    """
    storage = model.mapping("storage")
    uri = model.text("storageUri")
    model.miss("storage")
    model.miss("storageUri")
    _confidential(model, uri)
    several = mounts(component, context, uri)
    if storage is not None:
        uri, credentials = kserve_credentials.of_storage(storage, context, uri)
        component.accept("serviceAccountName", "serviceAccount")
        name = "storage" if not model.has("storageUri") else "storageUri"
        if not uri.startswith(f"{secret_uses.ADDRESS}://") or name == "storageUri":
            uri = check(model, name, uri)
        return {MOUNT: Artefact(uri=uri, base=context.base)}, credentials
    credentials = kserve_credentials.of_account(component, context)
    if uri:
        return {MOUNT: Artefact(uri=check(model, "storageUri", uri), base=context.base)}, credentials
    return several, credentials


def mounts(component: Fields, context: Context, uri: str = "") -> dict[str, Artefact]:
    """``storageUris`` of a component; ``uri`` is the ``storageUri`` that may not stand beside them."""
    entries = component.mappings("storageUris")
    if entries and uri:
        raise component.error("storageUris", "Setting both StorageURI and StorageURIs is not supported.")
    found: dict[str, Artefact] = {}
    for entry in entries:
        address, path = entry.text("uri"), entry.text("mountPath", MOUNT)
        if not address:
            entry.miss("uri")
            raise entry.error("uri", "storage URI cannot be empty")
        if path == "/":
            raise entry.error("mountPath", "storage path cannot be empty")
        if not _ABSOLUTE.fullmatch(path):
            raise entry.error("mountPath", f"storage path must be absolute: {path}")
        if ".." in path:
            message = f"storage path cannot contain '..' for security reasons: {path}"
            raise entry.error("mountPath", message)
        if path in found:
            raise entry.error("mountPath", f"two artefacts are for {path}")
        found[path] = Artefact(uri=check(entry, "uri", address), base=context.base)
    if len(found) > 1 and posixpath.commonpath(list(found)) == "/":
        paths = " ".join(found)
        message = "storage paths must have a common parent directory. "
        message += f"Current paths: [{paths}] have no common parent beyond root"
        raise component.error("storageUris", message)
    return found


def _confidential(model: Fields, uri: str) -> None:
    section = model.mapping("confidential")
    if section is None:
        return
    enabled, resource = section.flag("enabled"), section.text("resourceId")
    if not enabled:
        return
    if not uri:
        raise section.error("", "confidential model serving requires storageUri to be set")
    if resource and not re.fullmatch(r"kbs:///[\w-]+/[\w-]+/[\w.-]+", resource, re.ASCII):
        raise section.error("resourceId", "expected kbs:///repository/type/tag")
    raise model.error("confidential", f"encrypted models {LATER}")
