"""Addresses: which file system reads them, with which settings, and what its errors mean."""

from __future__ import annotations

import contextlib
import errno
import json
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

import msgspec

from tiffin.errors import MissingExtra, StorageError, TiffinError
from tiffin.models import access, hub

NOT_YET = {
    "pvc": "a volume claim of Kubernetes",
    "hdfs": "Hadoop",
    "webhdfs": "Hadoop",
    "modelscope": "ModelScope",
    "git": "a git repository",
}
_HINTS = {
    "pvc": "name the directory the claim would be mounted from, as a path or file:///...",
}
_EXTRAS = {"http": "http", "https": "http", "s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
_PACKAGES = {"abfs": "adlfs", "az": "adlfs"}


class Entry(msgspec.Struct, frozen=True):
    """One remote file: its address for the file system, its path below the artefact, bytes and version tag.

    ``tag`` is empty when the server says nothing that would change with the content.
    """

    address: str
    path: str
    size: int | None
    tag: str


def scheme_of(uri: str) -> str:
    """``s3`` of ``s3://...``; empty for a plain path."""
    scheme, separator, _ = uri.partition("://")
    return scheme.lower() if separator else ""


def shown(uri: str) -> str:
    """The address without what may be secret: user, password, and query (signatures)."""
    if "://" not in uri:
        return uri
    parts = urllib.parse.urlsplit(uri)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"


def refuse_unsupported(uri: str) -> None:
    """Raise StorageError, by name, for addresses that other systems take and Tiffin does not yet."""
    scheme = scheme_of(uri)
    kind = NOT_YET.get(scheme)
    if kind is None and scheme in ("http", "https") and urllib.parse.urlsplit(uri).path.endswith(".git"):
        kind = "a git repository"
    if kind:
        usual = "download it yourself and name the file or directory, or use s3://, gs://, https:// or file://"
        raise StorageError(
            f"{shown(uri)} is {kind}, which Tiffin does not read",
            hint=_HINTS.get(scheme.partition("+")[0], usual),
        )
    if "::" in uri:
        raise StorageError(f"expected one address, found a chain of them: {shown(uri)}")


def open_filesystem(uri: str, environment: Mapping[str, str]) -> Any:
    """The fsspec file system of an address; raises MissingExtra or StorageError.

    ``environment`` has the credentials and settings, see ``access``.
    """
    import fsspec

    scheme = scheme_of(uri)
    if scheme == "hf":
        # Its files are fetched over HTTP, each by an address of its own.
        own = {f"{hub.host(environment)}-headers": json.dumps(hub.headers(environment))}
        return open_filesystem(f"https://{hub.host(environment)}/", {**environment, **own})
    azure = access.azure_address(uri)
    if azure is not None:
        scheme, environment = "abfs", {"AZURE_ACCOUNT_NAME": azure[1], **environment}
    options = {
        "use_listings_cache": False,
        "skip_instance_cache": True,
        **access.options_of(scheme, uri, environment),
    }
    try:
        return fsspec.filesystem(scheme, **options)
    except ImportError as error:
        extra = _EXTRAS.get(scheme)
        raise MissingExtra(
            f"{shown(uri)} cannot be read: {error}",
            hint=f"pip install {_PACKAGES.get(scheme, 'the package it names')}"
            if extra is None
            else f"pip install 'tiffin[{extra}]'",
        ) from error
    except ValueError as error:
        known = "file://, https://, s3://, gs://"
        raise StorageError(f"expected an address such as {known}, found {shown(uri)}: {error}") from error


def entries(filesystem: Any, uri: str, environment: Mapping[str, str]) -> list[Entry]:
    """The files at an address: one, or all below a directory or prefix, sorted."""
    if scheme_of(uri) == "hf":
        return [
            Entry(file.address, _relative(file.path, "", uri), file.size, file.tag)
            for file in hub.files(uri, environment)
        ]
    azure = access.azure_address(uri)
    if azure is not None:
        uri = azure[0]
    if scheme_of(uri) in ("http", "https"):
        found = filesystem.info(uri)
        return [Entry(uri, name_of(uri), found.get("size"), _tag(found))]
    root = filesystem._strip_protocol(uri)
    files = {name: info for name, info in filesystem.find(root, detail=True).items() if not _is_marker(name, info)}
    if not files:
        raise FileNotFoundError(uri)
    if list(files) == [root]:
        return [Entry(root, name_of(uri), files[root].get("size"), _tag(files[root]))]
    prefix = root.rstrip("/") + "/"
    return [
        Entry(name, _relative(name, prefix, uri), info.get("size"), _tag(info))
        for name, info in sorted(files.items())
    ]


def name_of(uri: str) -> str:
    """The last part of an address's path, without query; ``model`` when there is none."""
    path = urllib.parse.unquote(urllib.parse.urlsplit(uri).path) if scheme_of(uri) in ("http", "https") else uri
    name = PurePosixPath(path.replace("\\", "/").rstrip("/")).name
    return name if name not in ("", ".", "..") else "model"


@contextlib.contextmanager
def told(uri: str) -> Iterator[None]:
    """Turn what file systems raise into StorageError with a hint."""
    try:
        yield
    except TiffinError:
        raise
    except OSError as error:
        raise _from_os_error(error, uri) from error
    except Exception as error:
        raise _from_cause(error, uri) from error


def _tag(info: dict[str, Any]) -> str:
    for key in ("ETag", "etag", "md5Hash", "content_md5", "Content-MD5", "generation", "Last-Modified"):
        if info.get(key):
            return f"{key}={info[key]}"
    for key in ("LastModified", "updated", "mtime", "created", "modified"):
        if info.get(key):
            return f"{key}={info[key]}"
    return ""


def _is_marker(name: str, info: dict[str, Any]) -> bool:
    """Empty objects that consoles make to show a directory."""
    return name.endswith("/") or info.get("type") == "directory"


def _relative(name: str, prefix: str, uri: str) -> str:
    path = PurePosixPath(name.removeprefix(prefix))
    if not name.startswith(prefix) or path.is_absolute() or ".." in path.parts:
        raise StorageError(f"{shown(uri)} holds a file that would land outside of its directory: {name!r}")
    return str(path)


def _from_os_error(error: OSError, uri: str) -> StorageError:
    cause = error.__cause__
    if isinstance(error, FileNotFoundError) and cause is not None and not isinstance(cause, FileNotFoundError):
        # fsspec says "not found" for whatever went wrong with the first request; the cause knows.
        found = _from_cause(cause, uri)
        if _status(cause) != 404:
            return found
    if isinstance(error, FileNotFoundError):
        return StorageError(
            f"there is nothing at {shown(uri)}", hint="check the spelling, and that the bucket or host has it"
        )
    if isinstance(error, PermissionError):
        return _forbidden(uri)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(
            f"the disk is full while {shown(uri)} is stored", hint="make room, or set another cache"
        )
    return _from_cause(error, uri)


def _from_cause(error: BaseException, uri: str) -> StorageError:
    name, status = type(error).__name__, _status(error)
    if status in (401, 403) or name in ("NoCredentialsError", "PartialCredentialsError"):
        return _forbidden(uri)
    if status == 404:
        return StorageError(f"there is nothing at {shown(uri)}", hint="check the spelling")
    if status:
        return _passing(
            StorageError(f"the server of {shown(uri)} answered {status}", hint="try again later"), status >= 500
        )
    if (
        "Connect" in name
        or "Timeout" in name
        or "DNS" in name
        or isinstance(error, (TimeoutError, ConnectionError))
    ):
        host = shown(uri).partition("://")[2].partition("/")[0]
        hint = f"check the network, the proxy settings and the name {host}; for S3 also AWS_ENDPOINT_URL"
        return _passing(StorageError(f"{shown(uri)} cannot be reached: {error}", hint=hint))
    # aiohttp says so of a body that ended before it was whole.
    is_cut = "Payload" in name or "IncompleteRead" in name
    return _passing(StorageError(f"{shown(uri)} cannot be read: {name}: {error}"), is_cut)


def _passing(error: StorageError, is_so: bool = True) -> StorageError:
    """The error, marked as one that another attempt may not meet."""
    error.retryable = is_so
    return error


def _status(error: BaseException) -> int | None:
    """The HTTP status an error of aiohttp or botocore carries."""
    answer = getattr(error, "response", None)
    if isinstance(answer, dict):
        status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:
        status = getattr(error, "status", None)
    return status if isinstance(status, int) else None


def _forbidden(uri: str) -> StorageError:
    hints = {
        "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (public buckets: awsAnonymousCredential=true)",
        "gs": "set GOOGLE_APPLICATION_CREDENTIALS to the file of a service account",
    }
    scheme = scheme_of(uri).replace("s3a", "s3").replace("gcs", "gs")
    return StorageError(
        f"there is no permission to read {shown(uri)}", hint=hints.get(scheme, "check the permissions")
    )
