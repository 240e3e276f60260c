"""Which settings a file system is opened with: variables named as KServe's storage initialiser names them."""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping
from typing import Any

import msgspec

from tiffin.errors import StorageError

_FALSE = ("0", "false", "no", "off")
_AZURE = {
    "account_name": ("AZURE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT_NAME"),
    "account_key": ("AZURE_STORAGE_ACCESS_KEY", "AZURE_STORAGE_ACCOUNT_KEY"),
    "tenant_id": ("AZURE_TENANT_ID", "AZ_TENANT_ID"),
    "client_id": ("AZURE_CLIENT_ID", "AZ_CLIENT_ID"),
    "client_secret": ("AZURE_CLIENT_SECRET", "AZ_CLIENT_SECRET"),
    "connection_string": ("AZURE_STORAGE_CONNECTION_STRING",),
}
AZURE_HOSTS = (".blob.core.windows.net", ".file.core.windows.net")


def options_of(scheme: str, uri: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """What the file system of ``scheme`` is opened with; raises StorageError for settings it cannot read."""
    if scheme in ("s3", "s3a"):
        return s3_options(environment)
    if scheme in ("http", "https"):
        return _http_options(uri, environment)
    if scheme in ("gs", "gcs"):
        return _gcs_options(environment)
    if scheme in ("abfs", "az"):
        return _azure_options(environment)
    return {}


def s3_options(env: Mapping[str, str]) -> dict[str, Any]:
    """Keys, endpoint, region, and the switches ``S3_USE_HTTPS``, ``S3_VERIFY_SSL``, ``awsAnonymousCredential``."""
    client: dict[str, Any] = {}
    https = env.get("S3_USE_HTTPS", "1").lower() not in _FALSE
    endpoint = env.get("AWS_ENDPOINT_URL") or env.get("S3_ENDPOINT")
    if endpoint:
        client["endpoint_url"] = endpoint if "://" in endpoint else f"{'https' if https else 'http'}://{endpoint}"
    if env.get("S3_VERIFY_SSL", "1").lower() in _FALSE:
        client["verify"] = False
    elif bundle := env.get("AWS_CA_BUNDLE"):
        client["verify"] = bundle
    if region := env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION"):
        client["region_name"] = region
    s3: dict[str, Any] = {}
    if env.get("S3_USER_VIRTUAL_BUCKET", "0").lower() not in _FALSE:
        s3["addressing_style"] = "virtual"
    if env.get("S3_USE_ACCELERATE", "0").lower() not in _FALSE:
        s3["use_accelerate_endpoint"] = True
    options: dict[str, Any] = {"client_kwargs": client, "use_ssl": https}
    if s3:
        options["config_kwargs"] = {"s3": s3}
    if env.get("awsAnonymousCredential", "").lower() not in ("", *_FALSE):  # KServe's spelling
        return options | {"anon": True}
    if env.get("AWS_ACCESS_KEY_ID") and env.get("AWS_SECRET_ACCESS_KEY"):
        options |= {"key": env["AWS_ACCESS_KEY_ID"], "secret": env["AWS_SECRET_ACCESS_KEY"]}
        if env.get("AWS_SESSION_TOKEN"):
            options["token"] = env["AWS_SESSION_TOKEN"]
    return options


def _http_options(uri: str, env: Mapping[str, str]) -> dict[str, Any]:
    import aiohttp

    # The whole of a large model takes longer than aiohttp's five minutes; silence is what is bounded.
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60)
    host = urllib.parse.urlsplit(uri).hostname or ""
    options: dict[str, Any] = {"client_kwargs": {"timeout": timeout, "trust_env": True}}
    if headers := env.get(f"{host}-headers"):
        try:
            options["headers"] = msgspec.json.decode(headers, type=dict[str, str])
        except (msgspec.DecodeError, msgspec.ValidationError):
            raise StorageError(f"expected a JSON object of strings in the variable {host}-headers") from None
    return options


def _gcs_options(env: Mapping[str, str]) -> dict[str, Any]:
    """``GOOGLE_APPLICATION_CREDENTIALS``: a file, or (from a Secret) what is in it."""
    found = env.get("GOOGLE_APPLICATION_CREDENTIALS", "").strip()
    if not found.startswith("{"):
        return {"token": found} if found else {}
    try:
        return {"token": msgspec.json.decode(found, type=dict[str, Any])}
    except (msgspec.DecodeError, msgspec.ValidationError):
        raise StorageError("expected the JSON of a service account in GOOGLE_APPLICATION_CREDENTIALS") from None


def _azure_options(env: Mapping[str, str]) -> dict[str, Any]:
    found = {}
    for option, names in _AZURE.items():
        value = next((env[name] for name in names if env.get(name)), "")
        if value:
            found[option] = value
    return found if len(found) > 1 or "connection_string" in found else found | {"anon": True}


def azure_address(uri: str) -> tuple[str, str] | None:
    """``abfs://container/path`` and the account, of ``https://account.blob.core.windows.net/container/path``."""
    parts = urllib.parse.urlsplit(uri)
    host = parts.hostname or ""
    if parts.scheme != "https" or not host.endswith(AZURE_HOSTS[0]):
        return None
    return f"abfs://{parts.path.lstrip('/')}", host.partition(".")[0]
