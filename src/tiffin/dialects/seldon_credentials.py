"""``envSecretRefName``: rclone's variables in a Secret, as the address and credentials Tiffin fetches with.

Seldon downloads with rclone. A remote is called what stands before ``://`` in ``modelUri`` and is described by
variables ``RCLONE_CONFIG_<REMOTE>_<OPTION>``.
"""

from __future__ import annotations

from collections.abc import Mapping

from tiffin.dialects import secret_uses
from tiffin.dialects.fields import Fields, describe
from tiffin.dialects.secret_uses import SecretUse

Secrets = Mapping[str, Mapping[str, str]] | None
"""Secrets of the deployment's namespace, by name: their values in plain text. ``None``: only pods read them."""

_S3 = {
    "ACCESS_KEY_ID": "AWS_ACCESS_KEY_ID",
    "SECRET_ACCESS_KEY": "AWS_SECRET_ACCESS_KEY",
    "SESSION_TOKEN": "AWS_SESSION_TOKEN",
    "ENDPOINT": "AWS_ENDPOINT_URL",
    "REGION": "AWS_DEFAULT_REGION",
}
_GCS = {"SERVICE_ACCOUNT_FILE": "GOOGLE_APPLICATION_CREDENTIALS"}
_SILENT = ("TYPE", "PROVIDER", "ENV_AUTH", "ANONYMOUS", "ACL", "BUCKET_ACL", "NO_CHECK_BUCKET")


def of(graph: Fields, uri: str, secrets: Secrets) -> tuple[str, dict[str, str]]:
    """The address of a model as Tiffin fetches it, and the credentials for that; warns of what is not used."""
    name = graph.text("envSecretRefName")
    if not name:
        return uri, {}
    if secrets is None:
        return uri, secret_uses.written([SecretUse(kind="rclone", secret=name)])
    if name not in secrets:
        hint = f"the Secret {describe(name)} is not among the files read; credentials come from the shell"
        graph.warn("envSecretRefName", hint, "local")
        return uri, {}
    found, credentials, unused = convert(uri, secrets[name])
    if unused:
        graph.warn("envSecretRefName", f"{', '.join(unused)} of the Secret {describe(name)} is not used")
    return found, credentials


def convert(uri: str, values: Mapping[str, str]) -> tuple[str, dict[str, str], list[str]]:
    """The address, the credentials and the names of variables that say nothing here."""
    remote, separator, rest = uri.partition("://")
    prefix = f"RCLONE_CONFIG_{remote.upper()}_"
    options = {key.removeprefix(prefix): value for key, value in values.items() if key.startswith(prefix)}
    unused = sorted(key for key in values if not key.startswith(prefix))
    kind = options.get("TYPE", {"s3": "s3", "gs": "google cloud storage"}.get(remote, ""))
    table = {"s3": _S3, "google cloud storage": _GCS, "gcs": _GCS}.get(kind)
    if not separator or table is None:
        return uri, {}, sorted(values)
    credentials = {}
    for option, value in sorted(options.items()):
        if option in table:
            credentials[table[option]] = _endpoint(value) if option == "ENDPOINT" else value
        elif option not in _SILENT:
            unused.append(prefix + option)
    if kind == "s3" and "AWS_ACCESS_KEY_ID" not in credentials and options.get("ENV_AUTH", "") != "true":
        credentials["awsAnonymousCredential"] = "true"
    return f"{'s3' if table is _S3 else 'gs'}://{rest}", credentials, unused


def _endpoint(value: str) -> str:
    """Seldon takes a bare host for https."""
    return value if "://" in value else f"https://{value}"
