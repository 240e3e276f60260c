"""Where the credentials for an artefact come from, in KServe's order, as variables for whoever fetches it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from tiffin.dialects import secret_uses
from tiffin.dialects.fields import Fields
from tiffin.dialects.kserve_context import PREFIX, SECRET, Context
from tiffin.dialects.resources import Resources, Secret, ServiceAccount
from tiffin.dialects.secret_uses import SecretUse

IRSA = "eks.amazonaws.com/role-arn"
STORAGE_SECRET = "storage-config"

# Variable, annotation of the secret, key of the secret, key of the config map.
_S3_OPTIONS = (
    ("S3_VERIFY_SSL", "s3-verifyssl", "S3_VERIFY_SSL", "s3VerifySSL"),
    ("awsAnonymousCredential", "s3-useanoncredential", "awsAnonymousCredential", "s3UseAnonymousCredential"),
    ("AWS_DEFAULT_REGION", "s3-region", "AWS_DEFAULT_REGION", "s3Region"),
    ("S3_USER_VIRTUAL_BUCKET", "s3-usevirtualbucket", "S3_USER_VIRTUAL_BUCKET", "s3UseVirtualBucket"),
    ("S3_USE_ACCELERATE", "s3-useaccelerate", "S3_USE_ACCELERATE", "s3UseAccelerate"),
    ("AWS_CA_BUNDLE", "s3-cabundle", "AWS_CA_BUNDLE", "s3CABundle"),
)
_GCS_FILE = "gcloud-application-credentials.json"
_AZURE = ("AZURE_SUBSCRIPTION_ID", "AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET",
          "AZURE_STORAGE_ACCESS_KEY", "AZURE_ACCESS_TOKEN", "AZURE_ACCESS_EXPIRES_ON_SECONDS",
          "AZURE_ACCOUNT_NAME", "AZURE_SERVICE_URL")  # fmt: skip
_AZURE_OLD = {name: name.replace("AZURE_", "AZ_") for name in _AZURE[:4]}
_MODELSCOPE = "MODELSCOPE_API_TOKEN"

# Variables by the keys of an entry of the secret `storage-config`.
_STORED_S3 = {
    "endpoint_url": "AWS_ENDPOINT_URL",
    "access_key_id": "AWS_ACCESS_KEY_ID",
    "secret_access_key": "AWS_SECRET_ACCESS_KEY",
    "region": "AWS_DEFAULT_REGION",
    "ca_bundle": "AWS_CA_BUNDLE",
    "verify_ssl": "S3_VERIFY_SSL",
    "anonymous": "awsAnonymousCredential",
}


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The part ``credentials`` of KServe's config map, with the values of its manifest."""

    s3: dict[str, str] = {}
    access_key: tuple[str, ...] = ("AWS_ACCESS_KEY_ID", "awsAccessKeyID")
    secret_key: tuple[str, ...] = ("AWS_SECRET_ACCESS_KEY", "awsSecretAccessKey")
    gcs_file: str = _GCS_FILE
    storage_secret: str = STORAGE_SECRET
    annotation: str = SECRET


def settings(resources: Resources) -> Settings:
    """From the config map ``inferenceservice-config`` in the namespace ``kserve``, where there is one."""
    config = resources.config_map("kserve", "inferenceservice-config")
    try:
        written: Any = json.loads(config.data.get("credentials", "{}")) if config else {}
    except ValueError:
        written = {}
    if not isinstance(written, dict):
        return Settings()
    s3, gcs = _texts(written.get("s3")), _texts(written.get("gcs"))
    top = _texts(written)
    usual = Settings()
    return Settings(
        s3=s3,
        access_key=(s3["s3AccessKeyIDName"],) if s3.get("s3AccessKeyIDName") else usual.access_key,
        secret_key=(s3["s3SecretAccessKeyName"],) if s3.get("s3SecretAccessKeyName") else usual.secret_key,
        gcs_file=gcs.get("gcsCredentialFileName") or usual.gcs_file,
        storage_secret=top.get("storageSpecSecretName") or usual.storage_secret,
        annotation=top.get("storageSecretNameAnnotation") or usual.annotation,
    )


def _texts(value: Any) -> dict[str, str]:
    return {key: each for key, each in value.items() if isinstance(each, str)} if isinstance(value, dict) else {}


def of_account(fields: Fields, context: Context) -> dict[str, str]:
    """The credentials of a component's service account; ``fields`` are the component's.

    An account that is not known leaves it to the environment, with a warning if it was named.

    Raises:
        SpecError: the account, or the annotation, names a secret that is not there.
    """
    named = fields.text("serviceAccountName") or fields.text("serviceAccount")
    config = settings(context.resources)
    account = context.resources.service_account(context.namespace, named or "default")
    if context.resources.on_cluster:
        return secret_uses.written(_uses(account, context, config))
    if account is None:
        if named:
            name = "serviceAccountName" if fields.has("serviceAccountName") else "serviceAccount"
            message = f"no ServiceAccount {named} is known here; credentials come from the environment"
            fields.warn(name, message, "local")
        chosen = context.annotations.get(config.annotation)
        return _of_secret(_secret(fields, context, chosen), config) if chosen else {}
    found = _s3_options(account.annotations, {}, config) if IRSA in account.annotations else {}
    chosen = context.annotations.get(config.annotation)
    for name in (chosen,) if chosen else account.secrets:
        found |= _of_secret(_secret(fields, context, name), config)
    return found


def _uses(account: ServiceAccount | None, context: Context, config: Settings) -> list[SecretUse]:
    """The secrets that the pods read; an account that is not there has none, as in KServe."""
    plain: dict[str, Any] = msgspec.to_builtins(config) if config != Settings() else {}
    found = []
    if account is not None and IRSA in account.annotations:
        found.append(SecretUse(kind="account", annotations=account.annotations, settings=plain))
    chosen = context.annotations.get(config.annotation)
    names = (chosen,) if chosen else () if account is None else account.secrets
    for name in names:
        secret = context.resources.secret(context.namespace, name)
        annotations = {} if secret is None else secret.annotations
        found.append(SecretUse(kind="kserve", secret=name, annotations=annotations, settings=plain))
    return found


def understood(use: SecretUse, data: Mapping[str, str]) -> dict[str, str]:
    """The variables that a secret, or the annotations of an account, give."""
    config = msgspec.convert(use.settings, type=Settings)
    if use.kind == "account":
        return _s3_options(use.annotations, {}, config)
    return _of_secret(Secret(name=use.secret, data=dict(data), annotations=use.annotations), config)


def _secret(fields: Fields, context: Context, name: str) -> Secret:
    secret = context.resources.secret(context.namespace, name)
    if secret is None:
        at = "serviceAccountName" if fields.has("serviceAccountName") else ""
        message = f'the secret "{name}" that holds credentials is not there'
        path = fields.at(at) if at else fields.path
        fields.reader.refuse_here(path, message, "put it in a file beside this one")
        return Secret(name=name)
    return secret


def _of_secret(secret: Secret, config: Settings) -> dict[str, str]:
    """What one secret gives, by the first kind that its keys show it to be."""
    data = secret.data
    key = next((name for name in config.secret_key if name in data), None)
    if key is not None:
        identity = next((data[name] for name in config.access_key if name in data), "")
        found = {"AWS_ACCESS_KEY_ID": identity, "AWS_SECRET_ACCESS_KEY": data[key]}
        return found | _s3_options(secret.annotations, data, config)
    if config.gcs_file in data:
        return {"GOOGLE_APPLICATION_CREDENTIALS": data[config.gcs_file]}
    if any(name in data for name in ("AZ_CLIENT_ID", "AZURE_CLIENT_ID", "AZURE_ACCESS_TOKEN")):
        return _azure(data)
    if "AZURE_STORAGE_ACCESS_KEY" in data:
        return {name: data[name] for name in ("AZURE_STORAGE_ACCESS_KEY", "AZURE_ACCOUNT_NAME") if name in data}
    if "https-host" in data:
        return {f"{data['https-host']}-headers": _headers(data["headers"])} if "headers" in data else {}
    if "HDFS_NAMENODE" in data:
        return dict(data)
    return {name: data[name] for name in ("HF_TOKEN", _MODELSCOPE) if name in data}


def _azure(data: Mapping[str, str]) -> dict[str, str]:
    found = {}
    for name in _AZURE:
        value = data.get(name) or data.get(_AZURE_OLD.get(name, ""), "")
        if value:
            found[name] = value
    return found


def _headers(text: str) -> str:
    """Headers as KServe's secrets hold them, ``Name: value`` in lines or a JSON object, as JSON."""
    if text.lstrip().startswith("{"):
        return text
    pairs = (line.partition(":") for line in text.splitlines() if ":" in line)
    return json.dumps({name.strip(): value.strip() for name, _, value in pairs})


def _s3_options(annotations: Mapping[str, str], data: Mapping[str, str], config: Settings) -> dict[str, str]:
    """Annotations count before the secret's data, and these before the config map."""

    def value(annotation: str, key: str, setting: str) -> str:
        return annotations.get(PREFIX + annotation) or data.get(key) or config.s3.get(setting, "")

    found = {}
    endpoint = value("s3-endpoint", "S3_ENDPOINT", "s3Endpoint")
    if endpoint:
        https = value("s3-usehttps", "S3_USE_HTTPS", "s3UseHttps")
        scheme, separator, host = endpoint.partition("://")
        if not separator:
            scheme, host = "http" if https == "0" else "https", endpoint
        if https:
            found["S3_USE_HTTPS"] = https
        found |= {"S3_ENDPOINT": host, "AWS_ENDPOINT_URL": f"{scheme}://{host}"}
    for variable, annotation, key, setting in _S3_OPTIONS:
        if written := value(annotation, key, setting):
            found[variable] = written
    return found


# ---- storage:


def of_storage(storage: Fields, context: Context, uri: str) -> tuple[str, dict[str, str]]:
    """The address and the credentials that ``storage: {key, path, parameters}`` describes.

    ``uri`` is the ``storageUri`` beside it, or empty. Raises SpecError with KServe's words.
    """
    key, path = storage.text("key"), storage.text("path")
    parameters = storage.text_map("parameters", scalars=True)
    storage.ignore(("schemaPath",), "is not read: the model says what it takes")
    storage.finish()
    if uri and not uri.startswith(("s3://", "hdfs://", "webhdfs://")):
        raise storage.error(
            "",
            "storageUri, must be one of: [s3://, hdfs://, webhdfs://] or match "
            "https://{}.blob.core.windows.net/{}/{} or be an absolute or relative local path. "
            f"StorageUri [{uri}] is not supported",
        )
    kind = parameters.get("type", "")
    if kind and kind not in ("s3", "hdfs", "webhdfs"):
        message = (
            f"storage.spec.type, must be one of: [s3://, hdfs://, webhdfs://]. storage.spec.type [{kind}] is "
        )
        raise storage.error("parameters", message + "not supported")
    if context.resources.on_cluster:
        config = settings(context.resources)
        name = context.annotations.get(config.annotation, config.storage_secret)
        use = SecretUse(kind="storage", secret=name, key=key, parameters=parameters)
        return uri or f"{secret_uses.ADDRESS}://{path.lstrip('/')}", secret_uses.written([use])
    entry = _entry(storage, context, key, kind)
    try:
        return _addressed(uri, path, entry, parameters)
    except _Undetermined as error:
        at = (
            "key"
            if error.field == "type" and key
            else "parameters"
            if error.field == "bucket" and parameters
            else ""
        )
        raise storage.error(at, str(error), error.hint) from None


class _Undetermined(ValueError):
    """The entry and the parameters do not say where the model is. ``field`` is what is missing or wrong."""

    def __init__(self, field: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.field = field
        self.hint = hint


def _addressed(
    uri: str, path: str, entry: Mapping[str, str], parameters: Mapping[str, str]
) -> tuple[str, dict[str, str]]:
    """The address and the credentials that an entry, and parameters above it, describe."""
    kind = parameters.get("type", "") or entry.get("type", "")
    if kind and kind not in ("s3", "hdfs", "webhdfs"):
        message = f"storage type must be one of [s3, hdfs, webhdfs]. storage type [{kind}] is not supported"
        raise _Undetermined("type", message)
    if not kind:
        raise _Undetermined("", "unable to determine storage type", "write parameters: {type: s3}")
    values = {**entry, **parameters}
    if not uri:
        bucket = values.get("bucket", "")
        if kind == "s3" and not bucket:
            message = f"format [{kind}] requires a bucket but one wasn't found in storage data or parameters"
            raise _Undetermined("bucket", message)
        uri = f"s3://{bucket}/{path.lstrip('/')}" if kind == "s3" else f"{kind}://{path}"
    if kind != "s3":
        return uri, {name: value for name, value in values.items() if name not in ("type", "bucket")}
    return uri, {variable: values[name] for name, variable in _STORED_S3.items() if values.get(name)}


def stored(uri: str, data: Mapping[str, str], use: SecretUse) -> tuple[str, dict[str, str]]:
    """The address and the credentials that a mounted storage secret gives.

    Raises:
        ValueError: it has no such entry, or the entry does not say where the model is; with KServe's words.
    """
    entry = _chosen(data, use.key, use.parameters.get("type", ""), use.secret)
    scheme, _, path = uri.partition("://")
    return _addressed("" if scheme == secret_uses.ADDRESS else uri, path, entry, use.parameters)


def _entry(storage: Fields, context: Context, key: str, kind: str) -> dict[str, str]:
    """The entry of the storage secret: the one of that key, or else the default one, which may be missing."""
    config = settings(context.resources)
    name = context.annotations.get(config.annotation, config.storage_secret)
    secret = context.resources.secret(context.namespace, name)
    if secret is None:
        if key:
            message = f'can\'t read storage secret {name}: secrets "{name}" not found'
            raise storage.error("key", message, "put the Secret in a file beside this one")
        return {}
    try:
        return _chosen(secret.data, key, kind, name)
    except ValueError as error:
        raise storage.error("key", str(error)) from None


def _chosen(data: Mapping[str, str], key: str, kind: str, name: str) -> dict[str, str]:
    """The entry of that key, or the default one of a kind, which may be missing."""
    if key and key not in data:
        raise ValueError(f"specified storage key {key} not found in storage secret {name}")
    key = key or (f"default_{kind}" if kind else "default")
    try:
        entry = json.loads(data.get(key, "{}"))
    except ValueError:
        entry = None
    if not isinstance(entry, dict) or not all(isinstance(value, str) for value in entry.values()):
        raise ValueError(
            f"invalid json encountered in key {key} of storage secret {name}: expected an object of strings"
        )
    return entry
