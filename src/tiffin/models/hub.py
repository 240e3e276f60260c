"""The Hugging Face hub by its plain HTTP API: ``hf://organisation/model[:revision]``, no package needed."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

import msgspec

from tiffin.errors import StorageError

_HOME = "https://huggingface.co"
_SECONDS = 30.0


class File(msgspec.Struct, frozen=True):
    """A file of a repository: its download address, its path, bytes, and what changes with its content."""

    address: str
    path: str
    size: int
    tag: str


def files(uri: str, environment: Mapping[str, str]) -> list[File]:
    """The files of a repository; raises StorageError."""
    repository, revision = _parts(uri)
    home = _home(environment)
    address = f"{home}/api/models/{repository}/tree/{urllib.parse.quote(revision, safe='')}?recursive=true"
    found: list[File] = []
    while address:
        listed, address = _page(address, uri, environment)
        for item in listed:
            if item.get("type") == "file":
                path = str(item["path"])
                where = f"{home}/{repository}/resolve/{urllib.parse.quote(revision, safe='')}"
                tag = str((item.get("lfs") or {}).get("oid") or item.get("oid", ""))
                found.append(File(f"{where}/{urllib.parse.quote(path)}", path, int(item["size"]), f"oid={tag}"))
    if not found:
        raise StorageError(f"there is no file at {uri}", hint="check the spelling of the repository")
    return found


def headers(environment: Mapping[str, str]) -> dict[str, str]:
    """What says who asks: ``HF_TOKEN``."""
    token = environment.get("HF_TOKEN", "")
    return {"authorization": f"Bearer {token}"} if token else {}


def host(environment: Mapping[str, str]) -> str:
    """The hub's host name; ``HF_ENDPOINT`` names another hub."""
    return urllib.parse.urlsplit(_home(environment)).hostname or ""


def _home(environment: Mapping[str, str]) -> str:
    return environment.get("HF_ENDPOINT", _HOME).rstrip("/")


def _parts(uri: str) -> tuple[str, str]:
    text = uri.partition("://")[2].strip("/")
    repository, _, revision = text.partition(":")
    names = repository.split("/")
    if len(names) != 2 or not all(names) or ".." in names:
        raise StorageError(
            f"expected hf://ORGANISATION/MODEL or hf://ORGANISATION/MODEL:REVISION, found {uri}",
            hint="for example hf://sentence-transformers/all-MiniLM-L6-v2",
        )
    return "/".join(urllib.parse.quote(name) for name in names), revision or "main"


def _page(address: str, uri: str, environment: Mapping[str, str]) -> tuple[list[dict[str, Any]], str]:
    """One page of a listing, and the address of the next; empty at the end."""
    request = urllib.request.Request(address, headers=headers(environment))
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
            return json.load(answer), _next(answer.headers.get("Link", ""), address)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in (401, 403):
            raise StorageError(
                f"there is no permission to read {uri}, or there is no such model",
                hint="check the spelling; for a private or gated model set HF_TOKEN",
            ) from error
        if error.code == 404:
            raise StorageError(f"there is nothing at {uri}", hint="check the model's name and revision") from error
        raise StorageError(f"the hub answered {error.code} for {uri}", hint="try again later") from error
    except (OSError, ValueError, TypeError) as error:
        raise StorageError(
            f"{uri} cannot be reached: {error}", hint="check the network; HF_ENDPOINT names another hub"
        ) from error


def _next(link: str, address: str) -> str:
    for part in link.split(","):
        target, _, relation = part.partition(";")
        if 'rel="next"' in relation:
            following = urllib.parse.urljoin(address, target.strip().strip("<>"))
            same = urllib.parse.urlsplit(following).netloc == urllib.parse.urlsplit(address).netloc
            return following if same else ""
    return ""
